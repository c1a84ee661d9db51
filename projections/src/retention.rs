//! Retention: what is older than its age leaves the tables. An age becomes a sequence of the log, the
//! horizon, and what is gone is said by horizons alone; so a rebuild, which folds the whole log, gives
//! the same rows when it then does the same (docs/retention.md).
//!
//! The log itself is not aged: ledgers, keys and policies have their beginning there.

mod horizon;
mod role;

use std::time::Duration;

use async_nats::jetstream;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

pub(crate) use horizon::Horizons;
pub use role::run_retention;

use crate::connect::in_schema;
use crate::fill::{self, FillError};
use crate::{Projections, ids, partitions};

/// Ended runs that one statement takes away.
const RUNS_AT_ONCE: i64 = 500;
/// Sequences that a round moves the horizon of a partitioned table within a partition, where rows have
/// to be deleted one by one. Whole partitions have no such bound.
const STEP: u64 = 200_000;

/// How old rows may become; for ever where an age is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Runs since their end, with all that belongs to them; model calls and alerts.
    pub runs: Option<Duration>,
    /// Audit entries, once they are archived.
    pub audit: Option<Duration>,
}

impl RetentionPolicy {
    /// True where everything is kept.
    pub fn keeps_all(&self) -> bool {
        self.runs.is_none() && self.audit.is_none()
    }
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of runs from before this sequence are gone.
    pub runs_before: u64,
    /// Model calls from before this sequence are gone.
    pub calls_before: u64,
    /// Audit entries from before this sequence are gone.
    pub audit_before: u64,
    /// Whether audit entries are older than they may become and stay, since nobody has archived them.
    pub audit_waits: bool,
    /// Runs that this round took away.
    pub runs: u64,
    /// Partitions that it dropped.
    pub partitions: u64,
}

/// Takes away what is older than its age at `now`. A projector may be at work all the while.
///
/// # Errors
/// [`FillError::Busy`] while a rebuild or another round is under way, else what is away.
pub async fn prune(
    projections: &Projections,
    js: &jetstream::Context,
    stream: &str,
    policy: &RetentionPolicy,
    now: OffsetDateTime,
) -> Result<Pruned, FillError> {
    let (address, schema) = (&projections.address, projections.schema());
    let _alone = fill::lock(address, schema).await?;
    let mut db = PgConnection::connect_with(&in_schema(address, schema)).await?;
    let mut horizons = Horizons::read(&mut db).await?;
    let mut pruned = Pruned::default();
    if let Some(age) = policy.runs {
        let aged = horizon::at(projections, js, stream, now - age).await?;
        horizons.runs = horizons.runs.max(aged);
        let whole = partitions::whole_before(&mut db, "llm_calls", aged).await?;
        horizons.calls = step(horizons.calls, aged, whole);
    }
    if let Some(age) = policy.audit {
        let aged = horizon::at(projections, js, stream, now - age).await?;
        let archived = horizon::archived(&mut db, aged).await?;
        pruned.audit_waits = archived < aged;
        let whole = partitions::whole_before(&mut db, "audit_logs", archived).await?;
        horizons.audit = step(horizons.audit, archived, whole);
    }
    apply(&mut db, &horizons, &mut pruned).await?;
    Ok(pruned)
}

/// The next horizon: as far as it goes in whole partitions, else a step.
fn step(before: u64, wanted: u64, whole: u64) -> u64 {
    wanted
        .min(before.saturating_add(STEP).max(whole))
        .max(before)
}

/// Brings new tables, which hold all that the log gives, to the horizons of the live ones.
pub(crate) async fn follow(new: &mut PgConnection, horizons: &Horizons) -> sqlx::Result<()> {
    apply(new, horizons, &mut Pruned::default()).await
}

/// Says first what is gone, and then takes it away: whoever dies in between is finished by the next.
async fn apply(
    db: &mut PgConnection,
    horizons: &Horizons,
    pruned: &mut Pruned,
) -> sqlx::Result<()> {
    horizons.write(db).await?;
    pruned.runs_before = horizons.runs;
    pruned.calls_before = horizons.calls;
    pruned.audit_before = horizons.audit;
    if horizons.runs > 0 {
        pruned.runs += runs(db, horizons.runs).await?;
        beside_runs(db, horizons.runs).await?;
    }
    if horizons.calls > 0 {
        pruned.partitions += partitions::drop_before(db, "llm_calls", horizons.calls).await?;
        execute(db, "DELETE FROM llm_calls WHERE seq < $1", horizons.calls).await?;
    }
    if horizons.audit > 0 {
        pruned.partitions += partitions::drop_before(db, "audit_logs", horizons.audit).await?;
        sqlx::query(
            "DELETE FROM audit_logs a USING audit_heads h WHERE a.tenant = h.tenant AND a.id < $1",
        )
        .bind(ids::of_position(horizons.audit, 0))
        .execute(db)
        .await?;
    }
    Ok(())
}

/// Runs that have ended, with what was said and called in them.
async fn runs(db: &mut PgConnection, before: u64) -> sqlx::Result<u64> {
    let mut all = 0;
    loop {
        let gone: i64 = sqlx::query_scalar(
            "WITH old AS (
                 SELECT id, tenant FROM agent_runs
                 WHERE first_seq < $1 AND seq < $1 AND completed_at IS NOT NULL LIMIT $2
             ), gone AS (
                 DELETE FROM agent_runs r USING old WHERE r.id = old.id AND r.tenant = old.tenant
                 RETURNING r.tenant, r.id, r.session_id
             ), said AS (
                 DELETE FROM messages m USING gone WHERE m.tenant = gone.tenant
                     AND m.session_id = gone.session_id AND m.run_id = gone.id
             ), called AS (
                 DELETE FROM tool_calls t USING gone
                 WHERE t.tenant = gone.tenant AND t.run_id = gone.id
             ), asked AS (
                 DELETE FROM approvals a USING gone
                 WHERE a.tenant = gone.tenant AND a.run_id = gone.id
             )
             SELECT count(*) FROM gone",
        )
        .bind(crate::text::seq(before))
        .bind(RUNS_AT_ONCE)
        .fetch_one(&mut *db)
        .await?;
        all += gone.unsigned_abs();
        if gone < RUNS_AT_ONCE {
            return Ok(all);
        }
    }
}

/// Sessions that nobody used since and that have no runs any more, what was only counted for a session
/// or a run, and alerts.
async fn beside_runs(db: &mut PgConnection, before: u64) -> sqlx::Result<()> {
    let sessions = "DELETE FROM sessions s WHERE s.first_seq < $1 AND s.seq < $1 AND NOT EXISTS (
            SELECT 1 FROM agent_runs r WHERE r.tenant = s.tenant AND r.session_id = s.id)";
    let counts = "DELETE FROM budgets WHERE scope_kind IN ('session', 'run') AND NOT limited
            AND reserved_runs = 0 AND reserved_tokens = 0 AND seq < $1";
    let alerts = "DELETE FROM budget_alerts WHERE seq < $1";
    for statement in [sessions, counts, alerts] {
        execute(db, statement, before).await?;
    }
    Ok(())
}

async fn execute(db: &mut PgConnection, statement: &'static str, seq: u64) -> sqlx::Result<()> {
    sqlx::query(statement)
        .bind(crate::text::seq(seq))
        .execute(db)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_partitions_go_at_once_and_the_rest_in_steps() {
        assert_eq!(step(0, 10_000, 0), 10_000);
        assert_eq!(step(0, 10_000_000, 0), STEP);
        assert_eq!(step(0, 10_000_000, 8_388_608), 8_388_608);
        assert_eq!(step(8_388_608, 10_000_000, 8_388_608), 8_388_608 + STEP);
        // A longer age, or a clock that was set back, brings nothing back.
        assert_eq!(step(500, 100, 0), 500);
    }
}
