//! `budget_alerts`: limits that are nearly used up, and calls that spent more than was held. A row is
//! written once.

use nexus_events::ledger::{BudgetOverrun, ThresholdReached};
use nexus_events::{Tenant, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::spend::Spender;
use crate::fold::{At, col};
use crate::text;

/// The alerts that a batch brings.
#[derive(Debug, Default)]
pub(crate) struct BudgetAlerts {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    seq: u64,
    position: u32,
    at: Timestamp,
    what: What,
}

#[derive(Debug)]
enum What {
    Threshold(ThresholdReached),
    Overrun(BudgetOverrun, Option<Spender>),
}

impl Row {
    fn threshold(&self) -> Option<&ThresholdReached> {
        match &self.what {
            What::Threshold(reached) => Some(reached),
            What::Overrun(..) => None,
        }
    }

    fn overrun(&self) -> Option<&BudgetOverrun> {
        match &self.what {
            What::Overrun(overrun, _) => Some(overrun),
            What::Threshold(_) => None,
        }
    }

    fn spender(&self) -> Option<&Spender> {
        match &self.what {
            What::Overrun(_, spender) => spender.as_ref(),
            What::Threshold(_) => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.what {
            What::Threshold(_) => "threshold",
            What::Overrun(..) => "overrun",
        }
    }

    fn scope_id(&self) -> Option<String> {
        self.threshold()
            .map(|reached| text::scope_key(&reached.scope).1)
    }

    fn excess(&self) -> Option<Value> {
        self.overrun().map(|overrun| text::json(&overrun.excess))
    }

    fn run(&self) -> Option<Uuid> {
        self.overrun()?.run_id.map(|run| run.uuid())
    }
}

impl BudgetAlerts {
    pub(crate) fn threshold(&mut self, at: &At<'_>, reached: &ThresholdReached) {
        self.add(at, What::Threshold(reached.clone()));
    }

    pub(crate) fn overrun(&mut self, at: &At<'_>, overrun: &BudgetOverrun, by: Option<Spender>) {
        self.add(at, What::Overrun(overrun.clone(), by));
    }

    fn add(&mut self, at: &At<'_>, what: What) {
        self.rows.push(Row {
            tenant: at.tenant.clone(),
            seq: at.seq,
            position: at.position,
            at: at.time,
            what,
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let rows = &self.rows;
        if rows.is_empty() {
            return Ok(());
        }
        let limit = |row: &Row| row.threshold().map(|reached| text::amount(reached.limit));
        let spent = |row: &Row| row.threshold().map(|reached| text::amount(reached.spent));
        sqlx::query!(
            "INSERT INTO budget_alerts (tenant, seq, position, kind, created_at, scope_kind,
                 scope_id, budget_window, unit, percent, limit_amount, spent, reservation_id,
                 run_id, user_id, agent, model, excess)
             SELECT * FROM UNNEST($1::text[], $2::int8[], $3::int4[], $4::text[],
                 $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::text[], $10::int2[],
                 $11::int8[], $12::int8[], $13::uuid[], $14::uuid[], $15::text[], $16::text[],
                 $17::text[], $18::jsonb[])
             ON CONFLICT (tenant, seq, position) DO NOTHING",
            col(rows, |row| row.tenant.as_str()) as _,
            &col(rows, |row| text::seq(row.seq)),
            &col(rows, |row| text::small(row.position.into())),
            col(rows, |row| row.kind()) as _,
            &col(rows, |row| text::at(row.at)),
            col(rows, |row| row
                .threshold()
                .map(|reached| reached.scope.kind())) as _,
            col(rows, Row::scope_id) as _,
            col(rows, |row| row
                .threshold()
                .map(|reached| reached.window.as_str())) as _,
            col(rows, |row| row
                .threshold()
                .map(|reached| reached.unit.as_str())) as _,
            col(rows, |row| row
                .threshold()
                .map(|reached| i16::from(reached.percent))) as _,
            col(rows, limit) as _,
            col(rows, spent) as _,
            col(rows, |row| row
                .overrun()
                .map(|overrun| overrun.reservation_id.uuid())) as _,
            col(rows, Row::run) as _,
            col(rows, |row| row.spender().map(|by| by.user.as_str())) as _,
            col(rows, |row| row.spender().map(|by| by.agent.as_str())) as _,
            col(rows, |row| row.spender().map(|by| by.model.as_str())) as _,
            col(rows, Row::excess) as _,
        )
        .execute(db)
        .await?;
        Ok(())
    }
}
