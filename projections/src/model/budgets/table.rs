//! The rows of `budgets`, read and written whole.

use std::collections::HashSet;

use nexus_events::ledger::{
    Account, Amounts, Limits, OnExhausted, Scope, Thresholds, Unit, Window,
};
use nexus_events::{RunId, Tenant};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Accounts, Row};
use crate::fold::col;
use crate::query::{timestamp, unsigned};
use crate::text;

/// A row as it is in the table.
pub(crate) struct Record {
    pub(crate) tenant: String,
    pub(crate) scope_kind: String,
    pub(crate) scope_id: String,
    pub(crate) budget_window: String,
    pub(crate) limited: bool,
    pub(crate) limit_tokens: Option<i64>,
    pub(crate) limit_cost_usd_micros: Option<i64>,
    pub(crate) limit_time_ms: Option<i64>,
    pub(crate) limit_tool_calls: Option<i64>,
    pub(crate) limit_runs: Option<i64>,
    pub(crate) reserved_tokens: i64,
    pub(crate) reserved_cost_usd_micros: i64,
    pub(crate) reserved_time_ms: i64,
    pub(crate) reserved_tool_calls: i64,
    pub(crate) reserved_runs: i64,
    pub(crate) spent_tokens: i64,
    pub(crate) spent_cost_usd_micros: i64,
    pub(crate) spent_time_ms: i64,
    pub(crate) spent_tool_calls: i64,
    pub(crate) spent_runs: i64,
    pub(crate) total_tokens: i64,
    pub(crate) total_cost_usd_micros: i64,
    pub(crate) total_time_ms: i64,
    pub(crate) total_tool_calls: i64,
    pub(crate) window_number: i64,
    pub(crate) on_exhausted: String,
    pub(crate) thresholds: Value,
    pub(crate) brought_by: Option<Uuid>,
    pub(crate) ended: bool,
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) seq: i64,
}

impl Record {
    /// The account that it holds, or what of it this program does not know.
    pub(crate) fn account(&self) -> Result<(Window, Account), String> {
        let window = (Window::ALL.into_iter())
            .find(|window| window.as_str() == self.budget_window)
            .ok_or_else(|| self.budget_window.clone())?;
        let on_exhausted = (OnExhausted::ALL.into_iter())
            .find(|rule| rule.as_str() == self.on_exhausted)
            .ok_or_else(|| self.on_exhausted.clone())?;
        let thresholds: Thresholds =
            serde_json::from_value(self.thresholds.clone()).map_err(|error| error.to_string())?;
        let account = Account {
            limits: Limits {
                tokens: self.limit_tokens.map(unsigned),
                cost_usd_micros: self.limit_cost_usd_micros.map(unsigned),
                time_ms: self.limit_time_ms.map(unsigned),
                tool_calls: self.limit_tool_calls.map(unsigned),
                runs: self.limit_runs.map(unsigned),
            },
            on_exhausted,
            thresholds,
            reserved: Amounts {
                tokens: unsigned(self.reserved_tokens),
                cost_usd_micros: unsigned(self.reserved_cost_usd_micros),
                time_ms: unsigned(self.reserved_time_ms),
                tool_calls: unsigned(self.reserved_tool_calls),
                runs: unsigned(self.reserved_runs),
            },
            spent: Amounts {
                tokens: unsigned(self.spent_tokens),
                cost_usd_micros: unsigned(self.spent_cost_usd_micros),
                time_ms: unsigned(self.spent_time_ms),
                tool_calls: unsigned(self.spent_tool_calls),
                runs: unsigned(self.spent_runs),
            },
            window_number: self.window_number,
            // Who was told what is the ledger's business; the alerts say it too.
            told: Amounts::default(),
            ended: self.ended,
        };
        Ok((window, account))
    }

    /// What was ever spent.
    pub(crate) fn total(&self) -> Amounts {
        Amounts {
            tokens: unsigned(self.total_tokens),
            cost_usd_micros: unsigned(self.total_cost_usd_micros),
            time_ms: unsigned(self.total_time_ms),
            tool_calls: unsigned(self.total_tool_calls),
            runs: 0,
        }
    }

    fn row(self) -> Result<Row, String> {
        let (window, account) = self.account()?;
        let tenant: Tenant = self.tenant.parse().map_err(|_| self.tenant.clone())?;
        let kind = (Scope::KINDS.into_iter())
            .find(|kind| *kind == self.scope_kind)
            .ok_or_else(|| self.scope_kind.clone())?;
        Ok(Row {
            limited: self.limited,
            account,
            brought_by: self.brought_by.map(RunId::new),
            total: self.total(),
            updated_at: timestamp(self.updated_at),
            seq: unsigned(self.seq),
            changed: false,
            key: (tenant, kind, self.scope_id, window),
        })
    }
}

pub(super) async fn load(
    db: &mut PgConnection,
    scopes: &HashSet<(Tenant, &'static str, String)>,
) -> sqlx::Result<Accounts> {
    let mut accounts = Accounts::default();
    if scopes.is_empty() {
        return Ok(accounts);
    }
    let records = sqlx::query_as!(
        Record,
        "SELECT b.tenant, b.scope_kind, b.scope_id, b.budget_window, b.limited, b.limit_tokens,
                b.limit_cost_usd_micros, b.limit_time_ms, b.limit_tool_calls, b.limit_runs,
                b.reserved_tokens, b.reserved_cost_usd_micros, b.reserved_time_ms,
                b.reserved_tool_calls, b.reserved_runs, b.spent_tokens, b.spent_cost_usd_micros,
                b.spent_time_ms, b.spent_tool_calls, b.spent_runs, b.total_tokens,
                b.total_cost_usd_micros, b.total_time_ms, b.total_tool_calls, b.window_number,
                b.on_exhausted, b.thresholds, b.brought_by, b.ended, b.updated_at, b.seq
         FROM UNNEST($1::text[], $2::text[], $3::text[]) AS u(tenant, kind, id)
         JOIN budgets b ON b.tenant = u.tenant AND b.scope_kind = u.kind AND b.scope_id = u.id",
        col(scopes, |(tenant, ..)| tenant.as_str()) as _,
        col(scopes, |(_, kind, _)| *kind) as _,
        col(scopes, |(.., id)| id.as_str()) as _,
    )
    .fetch_all(db)
    .await?;
    for record in records {
        let row = record
            .row()
            .map_err(|what| sqlx::Error::Decode(format!("budgets holds {what}").into()))?;
        accounts.rows.insert(row.key.clone(), row);
    }
    Ok(accounts)
}

pub(super) async fn store<'a>(
    db: &mut PgConnection,
    rows: impl Iterator<Item = &'a Row>,
) -> sqlx::Result<()> {
    let rows: Vec<&Row> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.iter().copied();
    let limit = |unit| {
        col(rows.clone(), |row| {
            row.account.limits.get(unit).map(text::amount)
        })
    };
    let amount =
        |of: fn(&Row) -> Amounts, unit| col(rows.clone(), |row| text::amount(of(row).get(unit)));
    let reserved = |row: &Row| row.account.reserved;
    let spent = |row: &Row| row.account.spent;
    let total = |row: &Row| row.total;
    sqlx::query!(
        "INSERT INTO budgets (
             tenant, scope_kind, scope_id, budget_window, limited, limit_tokens,
             limit_cost_usd_micros, limit_time_ms, limit_tool_calls, limit_runs, reserved_tokens,
             reserved_cost_usd_micros, reserved_time_ms, reserved_tool_calls, reserved_runs,
             spent_tokens, spent_cost_usd_micros, spent_time_ms, spent_tool_calls, spent_runs,
             total_tokens, total_cost_usd_micros, total_time_ms, total_tool_calls, window_number,
             on_exhausted, thresholds, brought_by, ended, updated_at, seq)
         SELECT * FROM UNNEST(
             $1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::int8[], $7::int8[],
             $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[],
             $14::int8[], $15::int8[], $16::int8[], $17::int8[], $18::int8[], $19::int8[],
             $20::int8[], $21::int8[], $22::int8[], $23::int8[], $24::int8[], $25::int8[],
             $26::text[], $27::jsonb[], $28::uuid[], $29::bool[], $30::timestamptz[], $31::int8[])
         ON CONFLICT (tenant, scope_kind, scope_id, budget_window) DO UPDATE SET
             limited = excluded.limited,
             limit_tokens = excluded.limit_tokens,
             limit_cost_usd_micros = excluded.limit_cost_usd_micros,
             limit_time_ms = excluded.limit_time_ms,
             limit_tool_calls = excluded.limit_tool_calls,
             limit_runs = excluded.limit_runs,
             reserved_tokens = excluded.reserved_tokens,
             reserved_cost_usd_micros = excluded.reserved_cost_usd_micros,
             reserved_time_ms = excluded.reserved_time_ms,
             reserved_tool_calls = excluded.reserved_tool_calls,
             reserved_runs = excluded.reserved_runs,
             spent_tokens = excluded.spent_tokens,
             spent_cost_usd_micros = excluded.spent_cost_usd_micros,
             spent_time_ms = excluded.spent_time_ms,
             spent_tool_calls = excluded.spent_tool_calls,
             spent_runs = excluded.spent_runs,
             total_tokens = excluded.total_tokens,
             total_cost_usd_micros = excluded.total_cost_usd_micros,
             total_time_ms = excluded.total_time_ms,
             total_tool_calls = excluded.total_tool_calls,
             window_number = excluded.window_number,
             on_exhausted = excluded.on_exhausted,
             thresholds = excluded.thresholds,
             brought_by = excluded.brought_by,
             ended = excluded.ended,
             updated_at = excluded.updated_at,
             seq = excluded.seq
         WHERE budgets.seq < excluded.seq",
        col(rows.clone(), |row| row.key.0.as_str()) as _,
        col(rows.clone(), |row| row.key.1) as _,
        col(rows.clone(), |row| row.key.2.as_str()) as _,
        col(rows.clone(), |row| row.key.3.as_str()) as _,
        &col(rows.clone(), |row| row.limited),
        limit(Unit::Tokens) as _,
        limit(Unit::CostUsdMicros) as _,
        limit(Unit::TimeMs) as _,
        limit(Unit::ToolCalls) as _,
        limit(Unit::Runs) as _,
        &amount(reserved, Unit::Tokens),
        &amount(reserved, Unit::CostUsdMicros),
        &amount(reserved, Unit::TimeMs),
        &amount(reserved, Unit::ToolCalls),
        &amount(reserved, Unit::Runs),
        &amount(spent, Unit::Tokens),
        &amount(spent, Unit::CostUsdMicros),
        &amount(spent, Unit::TimeMs),
        &amount(spent, Unit::ToolCalls),
        &amount(spent, Unit::Runs),
        &amount(total, Unit::Tokens),
        &amount(total, Unit::CostUsdMicros),
        &amount(total, Unit::TimeMs),
        &amount(total, Unit::ToolCalls),
        &col(rows.clone(), |row| row.account.window_number),
        col(rows.clone(), |row| row.account.on_exhausted.as_str()) as _,
        &col(rows.clone(), |row| text::json(&row.account.thresholds)),
        col(rows.clone(), |row| row.brought_by.map(RunId::uuid)) as _,
        &col(rows.clone(), |row| row.account.ended),
        &col(rows.clone(), |row| text::at(row.updated_at)),
        &col(rows.clone(), |row| text::seq(row.seq)),
    )
    .execute(db)
    .await?;
    Ok(())
}
