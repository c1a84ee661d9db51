//! The audit log: who did what, when, to what, and why it was allowed. The newest first.

use nexus_events::{Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Cursor, Page, PageRequest, QueryError, timestamp, unsigned};
use crate::{Projections, ids, text};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AuditRow {
    /// The entry.
    pub id: Uuid,
    /// Who acted; `system` where nobody did.
    pub user_id: String,
    /// What was done, such as `run.started`, `policy.denied` or `budget.limits_set`.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which.
    pub resource_id: Option<String>,
    /// Why: reasons, rules and bundle of a policy, figures of the ledger, the given reason.
    pub details: Value,
    /// When.
    pub created_at: Timestamp,
    /// Sequence of the commit that recorded it.
    pub seq: u64,
}

/// Which entries; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this user.
    pub user: Option<String>,
    /// This action, or with a final `.` all that begin so: `policy.`.
    pub action: Option<String>,
    /// To this kind of thing.
    pub resource_type: Option<String>,
    /// To this thing.
    pub resource_id: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl Projections {
    /// Entries of the audit log, the newest first.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn audit(
        &self,
        tenant: &Tenant,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRow>, QueryError> {
        let before = page.before();
        let rows = sqlx::query!(
            "SELECT id, user_id, action, resource_type, resource_id, details, created_at, seq
             FROM audit_logs
             WHERE tenant = $1 AND id < $2
               AND ($3::text IS NULL OR user_id = $3)
               AND ($4::text IS NULL OR action = $4
                    OR (right($4, 1) = '.' AND starts_with(action, $4)))
               AND ($5::text IS NULL OR resource_type = $5)
               AND ($6::text IS NULL OR resource_id = $6)
               AND ($7::timestamptz IS NULL OR created_at >= $7)
               AND ($8::timestamptz IS NULL OR created_at < $8)
             ORDER BY id DESC LIMIT $9",
            tenant.as_str(),
            ids::of_position(before.seq.cast_unsigned(), before.position.cast_unsigned()),
            filter.user.as_deref().map(text::name),
            filter.action.as_deref().map(text::name),
            filter.resource_type.as_deref().map(text::name),
            filter.resource_id.as_deref().map(text::name),
            filter.since.map(Timestamp::to_datetime),
            filter.until.map(Timestamp::to_datetime),
            page.fetch(),
        )
        .fetch_all(&self.read)
        .await?;
        let rows = rows.into_iter().map(|row| AuditRow {
            id: row.id,
            user_id: row.user_id,
            action: row.action,
            resource_type: row.resource_type,
            resource_id: row.resource_id,
            details: row.details.unwrap_or(Value::Null),
            created_at: timestamp(row.created_at),
            seq: unsigned(row.seq),
        });
        Ok(Page::cut(rows.collect(), page, |row| {
            let (seq, position) = ids::position_of(row.id);
            Cursor {
                seq: seq.cast_signed(),
                position: position.cast_signed(),
            }
        }))
    }
}
