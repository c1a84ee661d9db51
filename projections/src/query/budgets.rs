//! Budgets: limits, what is reserved, what was spent, what remains, and who holds it.

use std::fmt;
use std::str::FromStr;

use nexus_events::ledger::{Account, Amounts, Limits, Scope, Window};
use nexus_events::{ReservationId, RunId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{InvalidCursor, Page, PageRequest, QueryError, json, timestamp, unsigned, unsigned32};
use crate::Projections;
use crate::text::scope_key;

/// A scope in a window, as it stands at the time of the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetRow {
    /// Whose.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// False where nobody set limits: the row only counts.
    pub limited: bool,
    /// The limits; an absent unit is unlimited.
    pub limits: Limits,
    /// What is held now.
    pub reserved: Amounts,
    /// What was spent in the window that is running, since limits were set.
    pub spent: Amounts,
    /// What is left of each limit, held amounts taken off; an absent unit is unlimited.
    pub remaining: Limits,
    /// What was ever spent; only counted in the row for the lifetime.
    pub total: Amounts,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Sequence of the commit that last changed it.
    pub seq: u64,
}

/// A reservation that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReservationRow {
    /// The reservation.
    pub id: ReservationId,
    /// Who holds it.
    pub run_id: RunId,
    /// In which turn.
    pub turn: u32,
    /// Every scope that it counts in.
    pub scopes: Vec<Scope>,
    /// What is held.
    pub amounts: Amounts,
    /// Since when.
    pub since: Timestamp,
    /// When it goes back by itself.
    pub expires_at: Timestamp,
}

/// Everything about one scope's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetStanding {
    /// A row for each window that has limits, and the lifetime's where anything was counted.
    pub windows: Vec<BudgetRow>,
    /// What is held in the scope, the oldest first; the first 200.
    pub reservations: Vec<ReservationRow>,
}

struct Record {
    scope_kind: String,
    scope_id: String,
    budget_window: String,
    limited: bool,
    limit_tokens: Option<i64>,
    limit_cost_usd_micros: Option<i64>,
    limit_time_ms: Option<i64>,
    reserved_tokens: i64,
    reserved_cost_usd_micros: i64,
    reserved_time_ms: i64,
    spent_tokens: i64,
    spent_cost_usd_micros: i64,
    spent_time_ms: i64,
    window_number: i64,
    total_tokens: i64,
    total_cost_usd_micros: i64,
    total_time_ms: i64,
    updated_at: time::OffsetDateTime,
    seq: i64,
}

/// Which page of the budgets is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetPage {
    /// How many rows; as in [`PageRequest`].
    pub limit: Option<u32>,
    /// Where the page before this one ended.
    pub after: Option<BudgetCursor>,
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

    fn row(self, now: Timestamp) -> Result<BudgetRow, QueryError> {
        let unreadable = |what: &str| QueryError::Unreadable {
            table: "budgets",
            what: what.to_owned(),
        };
        let window = (Window::ALL.into_iter())
            .find(|window| window.as_str() == self.budget_window)
            .ok_or_else(|| unreadable(&self.budget_window))?;
        let account = Account {
            limits: Limits {
                tokens: self.limit_tokens.map(unsigned),
                cost_usd_micros: self.limit_cost_usd_micros.map(unsigned),
                time_ms: self.limit_time_ms.map(unsigned),
            },
            reserved: amounts(
                self.reserved_tokens,
                self.reserved_cost_usd_micros,
                self.reserved_time_ms,
            ),
            spent: amounts(
                self.spent_tokens,
                self.spent_cost_usd_micros,
                self.spent_time_ms,
            ),
            window_number: self.window_number,
        }
        .at(window, now);
        Ok(BudgetRow {
            scope: Scope::parse(&self.scope_kind, &self.scope_id)
                .ok_or_else(|| unreadable(&self.scope_kind))?,
            window,
            limited: self.limited,
            limits: account.limits,
            reserved: account.reserved,
            spent: account.spent,
            remaining: account.limits.left(account.used()),
            total: amounts(
                self.total_tokens,
                self.total_cost_usd_micros,
                self.total_time_ms,
            ),
            updated_at: timestamp(self.updated_at),
            seq: unsigned(self.seq),
        })
    }
}

pub(crate) fn amounts(tokens: i64, cost_usd_micros: i64, time_ms: i64) -> Amounts {
    Amounts {
        tokens: unsigned(tokens),
        cost_usd_micros: unsigned(cost_usd_micros),
        time_ms: unsigned(time_ms),
    }
}

impl Projections {
    /// The budget of a scope at `now`, with who holds it. No rows: nothing was limited or counted.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn budget(
        &self,
        tenant: &Tenant,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<BudgetStanding, QueryError> {
        let (kind, id) = scope_key(scope);
        let rows = sqlx::query_as!(
            Record,
            "SELECT scope_kind, scope_id, budget_window, limited, limit_tokens,
                    limit_cost_usd_micros, limit_time_ms, reserved_tokens,
                    reserved_cost_usd_micros, reserved_time_ms, spent_tokens,
                    spent_cost_usd_micros, spent_time_ms, window_number, total_tokens,
                    total_cost_usd_micros, total_time_ms, updated_at, seq
             FROM budgets WHERE tenant = $1 AND scope_kind = $2 AND scope_id = $3
             ORDER BY budget_window",
            tenant.as_str(),
            kind,
            id,
        )
        .fetch_all(&self.read)
        .await?;
        let windows = rows
            .into_iter()
            .map(|row| row.row(now))
            .collect::<Result<_, _>>()?;
        let reservations = self.reservations(tenant, scope).await?;
        Ok(BudgetStanding {
            windows,
            reservations,
        })
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
            "SELECT scope_kind, scope_id, budget_window, limited, limit_tokens,
                    limit_cost_usd_micros, limit_time_ms, reserved_tokens,
                    reserved_cost_usd_micros, reserved_time_ms, spent_tokens,
                    spent_cost_usd_micros, spent_time_ms, window_number, total_tokens,
                    total_cost_usd_micros, total_time_ms, updated_at, seq
             FROM budgets
             WHERE tenant = $1 AND limited
               AND (scope_kind, scope_id, budget_window) > ($2::text, $3::text, $4::text)
             ORDER BY scope_kind, scope_id, budget_window LIMIT $5",
            tenant.as_str(),
            after.kind,
            after.id,
            after.window,
            size.fetch(),
        )
        .fetch_all(&self.read)
        .await?;
        let more = rows.len() > size.rows();
        let last = rows
            .get(size.rows() - 1)
            .filter(|_| more)
            .map(Record::cursor);
        let items = rows.into_iter().take(size.rows()).map(|row| row.row(now));
        let next_cursor = last.map(|cursor| cursor.to_string());
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            next_cursor,
        })
    }

    async fn reservations(
        &self,
        tenant: &Tenant,
        scope: &Scope,
    ) -> Result<Vec<ReservationRow>, QueryError> {
        let rows = sqlx::query!(
            "SELECT id, run_id, turn, scopes, tokens, cost_usd_micros, time_ms, since, expires_at
             FROM reservations
             WHERE tenant = $1 AND status = 'held' AND scopes @> $2
             ORDER BY since, id LIMIT 200",
            tenant.as_str(),
            Value::from(vec![crate::text::json(scope)]),
        )
        .fetch_all(&self.read)
        .await?;
        let held = rows.into_iter().map(|row| {
            Ok(ReservationRow {
                id: ReservationId::new(row.id),
                run_id: RunId::new(row.run_id),
                turn: unsigned32(row.turn),
                scopes: json("reservations", row.scopes)?,
                amounts: amounts(row.tokens, row.cost_usd_micros, row.time_ms),
                since: timestamp(row.since),
                expires_at: timestamp(row.expires_at),
            })
        });
        held.collect()
    }
}
