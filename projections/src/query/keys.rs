//! API keys of a tenant.

use nexus_events::{KeyId, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{QueryError, timestamp, unsigned};
use crate::Projections;

/// Keys that are listed at most.
const MOST: i64 = 1_000;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyRow {
    /// Its id, which is a part of it.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// Whoever has it acts as this user.
    pub user_id: String,
    /// In these roles.
    pub roles: Vec<String>,
    /// In these groups.
    pub groups: Vec<String>,
    /// `active`, `expired` or `revoked`.
    pub status: &'static str,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Option<String>,
    /// It may not be used after that.
    pub expires_at: Option<Timestamp>,
    /// When it last got another secret.
    pub rotated_at: Option<Timestamp>,
    /// The secret before that may be used until then.
    pub previous_until: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Sequence of the commit that last changed it.
    pub seq: u64,
}

impl Projections {
    /// A tenant's keys, the newest first, the first 1,000.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn api_keys(
        &self,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Result<Vec<KeyRow>, QueryError> {
        let rows = sqlx::query!(
            "SELECT id, name, user_id, roles, groups, created_at, created_by, expires_at,
                    rotated_at, previous_until, revoked_at, revoked_by, seq
             FROM api_keys WHERE tenant = $1 ORDER BY created_at DESC, id LIMIT $2",
            tenant.as_str(),
            MOST,
        )
        .fetch_all(&self.read)
        .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            let expires_at = row.expires_at.map(timestamp);
            keys.push(KeyRow {
                id: KeyId::new(row.id),
                name: row.name,
                user_id: row.user_id,
                roles: row.roles,
                groups: row.groups,
                status: match expires_at {
                    _ if row.revoked_at.is_some() => "revoked",
                    Some(end) if end <= now => "expired",
                    _ => "active",
                },
                created_at: timestamp(row.created_at),
                created_by: row.created_by,
                expires_at,
                rotated_at: row.rotated_at.map(timestamp),
                previous_until: row.previous_until.map(timestamp),
                revoked_at: row.revoked_at.map(timestamp),
                revoked_by: row.revoked_by,
                seq: unsigned(row.seq),
            });
        }
        Ok(keys)
    }
}
