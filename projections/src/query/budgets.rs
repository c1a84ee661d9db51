//! Budgets: limits, what is reserved, what was spent, what remains, who holds it and who waits.

use std::fmt;
use std::str::FromStr;

use nexus_events::ledger::{Amounts, Limits, OnExhausted, Scope, Thresholds, Window};
use nexus_events::{RunId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{InvalidCursor, Page, PageRequest, QueryError, ReservationRow, timestamp, unsigned};
use crate::Projections;
use crate::model::budgets::Record;
use crate::text::scope_key;

/// A scope in a window, as it stands at the time of the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetRow {
    /// Whose.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// False where no limits are in force: the row only counts, or is history.
    pub limited: bool,
    /// Its run has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The limits; an absent unit is unlimited.
    pub limits: Limits,
    /// What is held now; of `runs`, how many are in flight.
    pub reserved: Amounts,
    /// What was spent in the window that is running, since limits were set.
    pub spent: Amounts,
    /// What is left of each limit, held amounts taken off; an absent unit is unlimited.
    pub remaining: Limits,
    /// What was ever spent; only counted in the row for the lifetime.
    pub total: Amounts,
    /// What happens to a step that does not fit.
    pub on_exhausted: OnExhausted,
    /// Percentages of a limit at which spending is told.
    pub thresholds: Thresholds,
    /// The run that brought the limits, where nobody else set them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brought_by: Option<RunId>,
    /// When the window ends, and what was spent in it no longer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Sequence of the commit that last changed it.
    pub seq: u64,
}

/// Everything about one scope's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetStanding {
    /// A row for each window that has limits, and the lifetime's where anything was counted.
    pub windows: Vec<BudgetRow>,
    /// What is held in the scope, the oldest first; the first 200.
    pub reservations: Vec<ReservationRow>,
    /// Who waits for the scope's limits, in the order of their lines; the first 200.
    pub waiting: Vec<ReservationRow>,
}

/// Which page of the budgets is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetPage {
    /// How many rows; as in [`PageRequest`].
    pub limit: Option<u32>,
    /// Where the page before this one ended.
    pub after: Option<BudgetCursor>,
    /// Only scopes of this kind.
    pub kind: Option<&'static str>,
}

/// A place in the list of budgets: `<kind>:<id>:<window>`. Budgets have no place in the log that
/// stays, as each of their events moves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetCursor {
    kind: String,
    id: String,
    window: String,
}

impl fmt::Display for BudgetCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.id, self.window)
    }
}

impl FromStr for BudgetCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (kind, rest) = text.split_once(':').ok_or(InvalidCursor)?;
        let (id, window) = rest.rsplit_once(':').ok_or(InvalidCursor)?;
        if text.contains('\0') {
            return Err(InvalidCursor);
        }
        Ok(Self {
            kind: kind.into(),
            id: id.into(),
            window: window.into(),
        })
    }
}

impl Record {
    fn cursor(&self) -> BudgetCursor {
        BudgetCursor {
            kind: self.scope_kind.clone(),
            id: self.scope_id.clone(),
            window: self.budget_window.clone(),
        }
    }

    fn standing(self, now: Timestamp) -> Result<BudgetRow, QueryError> {
        let unreadable = |what: String| QueryError::Unreadable {
            table: "budgets",
            what,
        };
        let (window, account) = self.account().map_err(unreadable)?;
        let account = account.at(window, now);
        let scope = Scope::parse(&self.scope_kind, &self.scope_id)
            .ok_or_else(|| unreadable(self.scope_kind.clone()))?;
        Ok(BudgetRow {
            scope,
            window,
            limited: self.limited,
            ended: self.ended,
            limits: account.limits,
            reserved: account.reserved,
            spent: account.spent,
            remaining: account.limits.left(account.used()),
            total: self.total(),
            on_exhausted: account.on_exhausted,
            thresholds: account.thresholds,
            brought_by: self.brought_by.map(RunId::new),
            resets_at: window.next(now),
            updated_at: timestamp(self.updated_at),
            seq: unsigned(self.seq),
        })
    }
}

impl Projections {
    /// The budget of a scope at `now`, with who holds it and who waits for it. No rows: nothing was
    /// limited or counted.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn budget(
        &self,
        tenant: &Tenant,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<BudgetStanding, QueryError> {
        let windows = self.accounts(tenant, scope, now).await?;
        let (reservations, waiting) = self.reservations_in(tenant, scope).await?;
        Ok(BudgetStanding {
            windows,
            reservations,
            waiting,
        })
    }

    /// The windows of a scope alone.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn accounts(
        &self,
        tenant: &Tenant,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<Vec<BudgetRow>, QueryError> {
        let (kind, id) = scope_key(scope);
        let rows = sqlx::query_as!(
            Record,
            "SELECT tenant, scope_kind, scope_id, budget_window, limited, limit_tokens,
                limit_cost_usd_micros, limit_time_ms, limit_tool_calls, limit_runs,
                reserved_tokens, reserved_cost_usd_micros, reserved_time_ms, reserved_tool_calls,
                reserved_runs, spent_tokens, spent_cost_usd_micros, spent_time_ms,
                spent_tool_calls, spent_runs, total_tokens, total_cost_usd_micros, total_time_ms,
                total_tool_calls, window_number, on_exhausted, thresholds, brought_by, ended,
                updated_at, seq
             FROM budgets WHERE tenant = $1 AND scope_kind = $2 AND scope_id = $3
             ORDER BY budget_window",
            tenant.as_str(),
            kind,
            id,
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(|row| row.standing(now)).collect()
    }

    /// Every scope and window of a tenant that has limits, in the order of their names.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn budgets(
        &self,
        tenant: &Tenant,
        now: Timestamp,
        page: &BudgetPage,
    ) -> Result<Page<BudgetRow>, QueryError> {
        let after = page.after.clone().unwrap_or_default();
        let size = PageRequest {
            limit: page.limit,
            cursor: None,
        };
        let rows = sqlx::query_as!(
            Record,
            "SELECT tenant, scope_kind, scope_id, budget_window, limited, limit_tokens,
                limit_cost_usd_micros, limit_time_ms, limit_tool_calls, limit_runs,
                reserved_tokens, reserved_cost_usd_micros, reserved_time_ms, reserved_tool_calls,
                reserved_runs, spent_tokens, spent_cost_usd_micros, spent_time_ms,
                spent_tool_calls, spent_runs, total_tokens, total_cost_usd_micros, total_time_ms,
                total_tool_calls, window_number, on_exhausted, thresholds, brought_by, ended,
                updated_at, seq
             FROM budgets
             WHERE tenant = $1 AND limited
               AND (scope_kind, scope_id, budget_window) > ($2::text, $3::text, $4::text)
               AND ($6::text IS NULL OR scope_kind = $6)
             ORDER BY scope_kind, scope_id, budget_window LIMIT $5",
            tenant.as_str(),
            after.kind,
            after.id,
            after.window,
            size.fetch(),
            page.kind,
        )
        .fetch_all(&self.read)
        .await?;
        let more = rows.len() > size.rows();
        let last = rows
            .get(size.rows() - 1)
            .filter(|_| more)
            .map(Record::cursor);
        let items = rows
            .into_iter()
            .take(size.rows())
            .map(|row| row.standing(now));
        let next_cursor = last.map(|cursor| cursor.to_string());
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            next_cursor,
        })
    }
}
