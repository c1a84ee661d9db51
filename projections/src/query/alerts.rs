//! Alerts: limits that are nearly used up, and calls that spent more than was held. The newest first.

use nexus_events::ledger::{Amounts, Scope, Unit, Window};
use nexus_events::{ReservationId, RunId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cursor, Page, PageRequest, QueryError, json, timestamp, unsigned};
use crate::{Projections, text};

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Spending reached a part of a limit.
    Threshold,
    /// A call spent more than was held for it.
    Overrun,
}

impl AlertKind {
    /// As in the table and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Overrun => "overrun",
        }
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AlertRow {
    /// What it is about.
    #[serde(flatten)]
    pub alert: Alert,
    /// When.
    pub created_at: Timestamp,
    /// Sequence of the commit that recorded it.
    pub seq: u64,
    #[serde(skip)]
    position: i32,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Alert {
    /// Spending reached a part of a limit.
    Threshold {
        /// Whose limit.
        scope: Scope,
        /// In which window.
        window: Window,
        /// Of what.
        unit: Unit,
        /// The part of the limit, in percent.
        percent: u8,
        /// The limit.
        limit: u64,
        /// What was spent.
        spent: u64,
    },
    /// A call spent more than was held for it.
    Overrun {
        /// The reservation.
        reservation_id: ReservationId,
        /// The run that spent; none for somebody outside.
        run_id: Option<RunId>,
        /// Whose run.
        user: Option<String>,
        /// Whose agent.
        agent: Option<String>,
        /// The model.
        model: Option<String>,
        /// What was spent beyond what was held.
        excess: Amounts,
    },
}

/// Which alerts; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// About this.
    pub kind: Option<AlertKind>,
    /// Thresholds of this scope.
    pub scope: Option<Scope>,
}

impl Projections {
    /// Alerts, the newest first.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn alerts(
        &self,
        tenant: &Tenant,
        filter: &AlertFilter,
        page: &PageRequest,
    ) -> Result<Page<AlertRow>, QueryError> {
        const TABLE: &str = "budget_alerts";
        let before = page.before();
        let scope = filter.scope.as_ref().map(text::scope_key).unzip();
        let rows = sqlx::query!(
            "SELECT seq, position, kind, created_at, scope_kind, scope_id, budget_window, unit,
                    percent, limit_amount, spent, reservation_id, run_id, user_id, agent, model,
                    excess
             FROM budget_alerts
             WHERE tenant = $1 AND (seq, position) < ($2, $3)
               AND ($4::text IS NULL OR kind = $4)
               AND ($5::text IS NULL OR (scope_kind = $5 AND scope_id = $6))
             ORDER BY seq DESC, position DESC LIMIT $7",
            tenant.as_str(),
            before.seq,
            before.position,
            filter.kind.map(AlertKind::as_str),
            scope.0,
            scope.1,
            page.fetch(),
        )
        .fetch_all(&self.read)
        .await?;
        let word = |word: Option<String>| Value::String(word.unwrap_or_default());
        let rows = rows.into_iter().map(|row| {
            let alert = match json(TABLE, Value::String(row.kind))? {
                AlertKind::Threshold => {
                    let kind = row.scope_kind.unwrap_or_default();
                    let scope = Scope::parse(&kind, &row.scope_id.unwrap_or_default());
                    Alert::Threshold {
                        scope: scope.ok_or(QueryError::Unreadable {
                            table: TABLE,
                            what: kind,
                        })?,
                        window: json(TABLE, word(row.budget_window))?,
                        unit: json(TABLE, word(row.unit))?,
                        percent: row
                            .percent
                            .and_then(|part| part.try_into().ok())
                            .unwrap_or(0),
                        limit: row.limit_amount.map_or(0, unsigned),
                        spent: row.spent.map_or(0, unsigned),
                    }
                }
                AlertKind::Overrun => Alert::Overrun {
                    reservation_id: ReservationId::new(row.reservation_id.unwrap_or_default()),
                    run_id: row.run_id.map(RunId::new),
                    user: row.user_id,
                    agent: row.agent,
                    model: row.model,
                    excess: json(TABLE, row.excess.unwrap_or_default())?,
                },
            };
            Ok(AlertRow {
                alert,
                created_at: timestamp(row.created_at),
                seq: unsigned(row.seq),
                position: row.position,
            })
        });
        let rows = rows.collect::<Result<Vec<AlertRow>, QueryError>>()?;
        Ok(Page::cut(rows, page, |row| Cursor {
            seq: row.seq.cast_signed(),
            position: row.position,
        }))
    }
}
