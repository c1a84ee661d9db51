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
    /// Requests that may be made with it in a minute; what the gateway allows every key where absent.
    pub requests_per_minute: Option<u64>,
    /// Tokens that may be spent with it in a minute: the budget of the key.
    pub tokens_per_minute: Option<u64>,
    /// Runs that may be in flight with it at a time: the same.
    pub runs: Option<u64>,
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
            "SELECT k.id, k.name, k.user_id, k.roles, k.groups, k.created_at, k.created_by,
                    k.expires_at, k.rotated_at, k.previous_until, k.revoked_at, k.revoked_by, k.seq,
                    k.requests_per_minute,
                    (SELECT b.limit_tokens FROM budgets b WHERE b.tenant = k.tenant
                         AND b.scope_kind = 'key' AND b.scope_id = k.id::text
                         AND b.budget_window = 'minute') AS tokens_per_minute,
                    (SELECT b.limit_runs FROM budgets b WHERE b.tenant = k.tenant
                         AND b.scope_kind = 'key' AND b.scope_id = k.id::text
                         AND b.budget_window = 'lifetime') AS runs
             FROM api_keys k WHERE k.tenant = $1 ORDER BY k.created_at DESC, k.id LIMIT $2",
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
                requests_per_minute: row.requests_per_minute.map(unsigned),
                tokens_per_minute: row.tokens_per_minute.map(unsigned),
                runs: row.runs.map(unsigned),
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
