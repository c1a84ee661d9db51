//! The entries against the log: the log is folded again into new tables beside the live ones, by the
//! very code that wrote those, and the entries of both are compared. It finds what a chain alone
//! cannot: a chain that was hashed anew from some entry on, and a log that was changed after its
//! entries were written.
//!
//! Folding the audit alone was the alternative. Who acted for the platform is known from the runs, so
//! that it would need most of the other tables in memory.

use async_nats::jetstream;
use nexus_events::Tenant;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::fill::{self, FillError, Filler, Progress};
use crate::source;
use crate::{Projections, ids, text};

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// First sequence of the log. Entries from before it cannot be compared.
    pub from_seq: u64,
    /// Sequence up to which the entries were compared.
    pub to_seq: u64,
    /// Entries that the log gives.
    pub entries: u64,
    /// The first difference of each tenant.
    pub differences: Vec<AuditDifference>,
}

/// An entry that is not what the log gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditDifference {
    /// Whose.
    pub tenant: String,
    /// Its sequence.
    pub seq: u64,
    /// Its place in its commit.
    pub position: u32,
    /// Where it is.
    pub side: Side,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// In the table and not in the log.
    Table,
    /// In the log and not in the table.
    Log,
    /// In both, and not the same.
    Both,
}

/// Columns that the log decides alone. Those of the chain depend on where the log begins.
const COLUMNS: [&str; 11] = [
    "user_id",
    "action",
    "resource_type",
    "resource_id",
    "reason",
    "details",
    "ip_address",
    "user_agent",
    "created_at",
    "seq",
    "tenant",
];

/// Compares the entries with what the log gives, of one tenant or of all. Nothing is changed, and a
/// projector may be at work all the while.
///
/// # Errors
/// [`FillError`].
pub async fn compare_audit(
    projections: &Projections,
    js: jetstream::Context,
    stream: &str,
    tenant: Option<&Tenant>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Compared, FillError> {
    let (address, live) = (&projections.address, projections.schema());
    let new = format!("{live}_verify");
    let mut db = fill::lock(address, live).await?;
    let begin = source::state(&js, stream).await.map_err(FillError::Log)?;
    let mut filler = Filler::start(address, &new, js, stream, progress).await?;
    let applied = sqlx::query_scalar!(r#"SELECT max(seq) AS "seq!" FROM checkpoints"#)
        .fetch_one(&projections.read)
        .await?;
    filler.to(applied.unsigned_abs()).await?;
    let gone: i64 =
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM retention WHERE name = 'audit'")
            .fetch_one(&projections.read)
            .await?;
    let range = (
        begin.first_sequence.max(gone.unsigned_abs()),
        filler.applied(),
    );
    let differences = differences(&mut db, (live, &new), range, tenant).await?;
    let entries = count(&mut db, &new, tenant).await?;
    drop(filler);
    fill::drop_schema(&mut db, &new).await?;
    Ok(Compared {
        from_seq: range.0,
        to_seq: range.1,
        entries,
        differences,
    })
}

async fn differences(
    db: &mut PgConnection,
    (live, new): (&str, &str),
    (from, to): (u64, u64),
    tenant: Option<&Tenant>,
) -> sqlx::Result<Vec<AuditDifference>> {
    let rows = |schema: &str| {
        format!(
            "(SELECT * FROM {schema}.audit_logs
              WHERE seq BETWEEN $1 AND $2 AND ($3::text IS NULL OR tenant = $3))"
        )
    };
    let row = |table: &str| COLUMNS.map(|column| format!("{table}.{column}")).join(", ");
    let query = format!(
        "SELECT DISTINCT ON (tenant) tenant, id, live, log FROM (
             SELECT coalesce(a.tenant, b.tenant) AS tenant, coalesce(a.id, b.id) AS id,
                 a.id IS NOT NULL AS live, b.id IS NOT NULL AS log
             FROM {} a FULL JOIN {} b ON a.tenant = b.tenant AND a.id = b.id
             WHERE a.id IS NULL OR b.id IS NULL OR ROW({}) IS DISTINCT FROM ROW({})
         ) d ORDER BY tenant, id",
        rows(live),
        rows(new),
        row("a"),
        row("b"),
    );
    let found = sqlx::query_as::<_, (String, Uuid, bool, bool)>(AssertSqlSafe(query))
        .bind(text::seq(from))
        .bind(text::seq(to))
        .bind(tenant.map(Tenant::as_str))
        .fetch_all(db)
        .await?;
    let difference = |(tenant, id, live, log)| {
        let (seq, position) = ids::position_of(id);
        let side = match (live, log) {
            (true, false) => Side::Table,
            (false, _) => Side::Log,
            (true, true) => Side::Both,
        };
        AuditDifference {
            tenant,
            seq,
            position,
            side,
        }
    };
    Ok(found.into_iter().map(difference).collect())
}

async fn count(db: &mut PgConnection, schema: &str, tenant: Option<&Tenant>) -> sqlx::Result<u64> {
    let query =
        format!("SELECT count(*) FROM {schema}.audit_logs WHERE $1::text IS NULL OR tenant = $1");
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(query))
        .bind(tenant.map(Tenant::as_str))
        .fetch_one(db)
        .await?;
    Ok(count.unsigned_abs())
}
