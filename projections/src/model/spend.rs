//! `spend`: what was settled, summed by day, user, agent and model.
//!
//! Sums are added to in the table: a row is one of few, and is changed by most batches. Summing up
//! model calls at query time was the alternative; it would pass over every call of a month to answer
//! what it cost, and know nothing of what was spent outside of runs.

use std::collections::HashMap;

use nexus_events::ledger::{Amounts, BudgetSettled};
use nexus_events::{ReservationId, Tenant};
use sqlx::PgConnection;
use time::Date;

use super::budgets::spender;
use super::reservations::{Held, Status};
use crate::fold::{At, Rows, col};
use crate::text;

/// What is summed up together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: Tenant,
    day: Date,
    user: String,
    agent: String,
    model: String,
}

/// Who spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spender {
    pub(crate) user: String,
    pub(crate) agent: String,
    pub(crate) model: String,
}

/// What a batch adds.
#[derive(Debug, Default)]
pub(crate) struct Spend {
    rows: Rows<Key, Row>,
    /// Whose the settlements of the batch were: a word about one is in the same commit.
    settled: HashMap<(Tenant, ReservationId), Spender>,
}

#[derive(Debug)]
struct Row {
    key: Key,
    calls: u64,
    amounts: Amounts,
    overruns: u64,
    late: u64,
    from_seq: u64,
    seq: u64,
}

impl Spend {
    pub(crate) fn settled(&mut self, at: &At<'_>, settled: &BudgetSettled, held: &Held) {
        let (user, agent) = spender(held);
        let model = held.model.as_deref().map(text::name).unwrap_or_default();
        let spender = Spender { user, agent, model };
        let spent = text::amounts(settled.spent);
        if spent.is_zero() {
            // Given back: there was no call.
            return;
        }
        let row = self.row(at, &spender);
        row.amounts = text::amounts(row.amounts.plus(spent));
        row.calls += u64::from(held.call.is_none());
        row.late += u64::from(held.status != Status::Held);
        let key = (at.tenant.clone(), settled.reservation_id);
        self.settled.insert(key, spender);
    }

    /// More was spent than was held; gives by whom.
    pub(crate) fn overrun(&mut self, at: &At<'_>, id: ReservationId) -> Option<Spender> {
        let spender = self.settled.get(&(at.tenant.clone(), id))?.clone();
        self.row(at, &spender).overruns += 1;
        Some(spender)
    }

    fn row(&mut self, at: &At<'_>, spender: &Spender) -> &mut Row {
        let key = Key {
            tenant: at.tenant.clone(),
            day: text::at(at.time).date(),
            user: spender.user.clone(),
            agent: spender.agent.clone(),
            model: spender.model.clone(),
        };
        let row = self.rows.entry(key.clone(), || Row {
            key,
            calls: 0,
            amounts: Amounts::default(),
            overruns: 0,
            late: 0,
            from_seq: at.seq,
            seq: at.seq,
        });
        row.seq = at.seq;
        row
    }

    #[cfg(test)]
    pub(crate) fn tokens(&self) -> u64 {
        self.rows.all().iter().map(|row| row.amounts.tokens).sum()
    }

    /// Adds to the rows that are there, and makes those that are not. The guard refuses what a row
    /// has passed.
    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let rows = self.rows.all();
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH u AS (
                 SELECT * FROM UNNEST($1::text[], $2::date[], $3::text[], $4::text[], $5::text[],
                     $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::int8[],
                     $12::int8[], $13::int8[], $14::int8[])
                   AS u(tenant, day, user_id, agent, model, calls, tool_calls, tokens,
                     cost_usd_micros, time_ms, overruns, late, from_seq, seq)
             ), added AS (
                 UPDATE spend s SET
                     calls = s.calls + u.calls,
                     tool_calls = least(s.tool_calls + u.tool_calls, $15),
                     tokens = least(s.tokens + u.tokens, $15),
                     cost_usd_micros = least(s.cost_usd_micros + u.cost_usd_micros, $15),
                     time_ms = least(s.time_ms + u.time_ms, $15),
                     overruns = s.overruns + u.overruns,
                     late = s.late + u.late,
                     seq = u.seq
                 FROM u
                 WHERE s.tenant = u.tenant AND s.day = u.day AND s.user_id = u.user_id
                   AND s.agent = u.agent AND s.model = u.model AND s.seq < u.from_seq
             )
             INSERT INTO spend (tenant, day, user_id, agent, model, calls, tool_calls, tokens,
                 cost_usd_micros, time_ms, overruns, late, seq)
             SELECT tenant, day, user_id, agent, model, calls, tool_calls, tokens,
                 cost_usd_micros, time_ms, overruns, late, seq
             FROM u
             ON CONFLICT (tenant, day, user_id, agent, model) DO NOTHING",
            col(rows, |row| row.key.tenant.as_str()) as _,
            &col(rows, |row| row.key.day),
            col(rows, |row| row.key.user.as_str()) as _,
            col(rows, |row| row.key.agent.as_str()) as _,
            col(rows, |row| row.key.model.as_str()) as _,
            &col(rows, |row| text::amount(row.calls)),
            &col(rows, |row| text::amount(row.amounts.tool_calls)),
            &col(rows, |row| text::amount(row.amounts.tokens)),
            &col(rows, |row| text::amount(row.amounts.cost_usd_micros)),
            &col(rows, |row| text::amount(row.amounts.time_ms)),
            &col(rows, |row| text::amount(row.overruns)),
            &col(rows, |row| text::amount(row.late)),
            &col(rows, |row| text::seq(row.from_seq)),
            &col(rows, |row| text::seq(row.seq)),
            text::MAX_AMOUNT,
        )
        .execute(db)
        .await?;
        Ok(())
    }
}
