//! The audit log: who did what, when, to what, and why it was allowed. Lists have the newest first,
//! exports the oldest.

use nexus_events::{Tenant, Timestamp};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Cursor, Page, PageRequest, QueryError, timestamp, unsigned};
use crate::audit::{AuditRow, VERSION, read_hash};
use crate::{Projections, ids, text};

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

/// An entry as the table has it.
struct Columns {
    tenant: String,
    id: Uuid,
    user_id: String,
    action: String,
    resource_type: String,
    resource_id: Option<String>,
    reason: Option<String>,
    details: Option<Value>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    created_at: OffsetDateTime,
    seq: i64,
    number: i64,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl Columns {
    fn row(self) -> Result<AuditRow, QueryError> {
        let unreadable = |what: String| QueryError::Unreadable {
            table: "audit_logs",
            what,
        };
        let (_, position) = ids::position_of(self.id);
        let address = self.ip_address.as_deref().map(str::parse).transpose();
        Ok(AuditRow {
            v: VERSION,
            tenant: (self.tenant.parse()).map_err(|_| unreadable("a tenant".to_owned()))?,
            number: unsigned(self.number),
            seq: unsigned(self.seq),
            position,
            id: self.id,
            user_id: self.user_id,
            action: self.action,
            resource_type: self.resource_type,
            resource_id: self.resource_id,
            reason: self.reason,
            details: self.details.unwrap_or(Value::Null),
            ip_address: address.map_err(|_| unreadable("an address".to_owned()))?,
            user_agent: self.user_agent,
            created_at: timestamp(self.created_at),
            prev_hash: read_hash(&self.prev_hash)?,
            hash: read_hash(&self.hash)?,
        })
    }
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
        let rows = sqlx::query_as!(
            Columns,
            r#"SELECT tenant, id, user_id, action, resource_type, resource_id, reason, details,
                 host(ip_address) AS ip_address, user_agent, created_at, seq, number, prev_hash, hash
             FROM audit_logs
             WHERE tenant = $1 AND id < $2
               AND ($3::text IS NULL OR user_id = $3)
               AND ($4::text IS NULL OR action = $4
                    OR (right($4, 1) = '.' AND starts_with(action, $4)))
               AND ($5::text IS NULL OR resource_type = $5)
               AND ($6::text IS NULL OR resource_id = $6)
               AND ($7::timestamptz IS NULL OR created_at >= $7)
               AND ($8::timestamptz IS NULL OR created_at < $8)
             ORDER BY id DESC LIMIT $9"#,
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
        let rows: Vec<AuditRow> = rows
            .into_iter()
            .map(Columns::row)
            .collect::<Result<_, _>>()?;
        Ok(Page::cut(rows, page, |row| {
            let (seq, position) = ids::position_of(row.id);
            Cursor {
                seq: seq.cast_signed(),
                position: position.cast_signed(),
            }
        }))
    }

    /// Up to `limit` entries after a sequence and position, the oldest first: a piece of the chain
    /// where nothing is filtered.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn audit_after(
        &self,
        tenant: &Tenant,
        filter: &AuditFilter,
        after: Option<(u64, u32)>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, QueryError> {
        let after = after.map_or(Uuid::nil(), |(seq, position)| {
            ids::of_position(seq, position)
        });
        let rows = sqlx::query_as!(
            Columns,
            r#"SELECT tenant, id, user_id, action, resource_type, resource_id, reason, details,
                 host(ip_address) AS ip_address, user_agent, created_at, seq, number, prev_hash, hash
             FROM audit_logs
             WHERE tenant = $1 AND id > $2
               AND ($3::text IS NULL OR user_id = $3)
               AND ($4::text IS NULL OR action = $4
                    OR (right($4, 1) = '.' AND starts_with(action, $4)))
               AND ($5::text IS NULL OR resource_type = $5)
               AND ($6::text IS NULL OR resource_id = $6)
               AND ($7::timestamptz IS NULL OR created_at >= $7)
               AND ($8::timestamptz IS NULL OR created_at < $8)
             ORDER BY id LIMIT $9"#,
            tenant.as_str(),
            after,
            filter.user.as_deref().map(text::name),
            filter.action.as_deref().map(text::name),
            filter.resource_type.as_deref().map(text::name),
            filter.resource_id.as_deref().map(text::name),
            filter.since.map(Timestamp::to_datetime),
            filter.until.map(Timestamp::to_datetime),
            i64::from(limit),
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(Columns::row).collect()
    }
}
