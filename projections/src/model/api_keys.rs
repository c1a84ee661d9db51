//! `api_keys`: a tenant's keys, without what would let anybody use them. Rare events: they are
//! written one after another, in the order of the log.

use nexus_events::keys::KeyEvent;
use nexus_events::{Tenant, Timestamp};
use sqlx::PgConnection;

use crate::fold::At;
use crate::text;

/// What a batch changes.
#[derive(Debug, Default)]
pub(crate) struct ApiKeys {
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    tenant: Tenant,
    event: KeyEvent,
    user: Option<String>,
    at: Timestamp,
    seq: u64,
}

impl ApiKeys {
    pub(crate) fn keys(&mut self, at: &At<'_>, event: &KeyEvent) {
        self.changes.push(Change {
            tenant: at.tenant.clone(),
            event: event.clone(),
            user: at.actor.map(|actor| text::name(&actor.user)),
            at: at.time,
            seq: at.seq,
        });
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        for change in &self.changes {
            let (tenant, seq) = (change.tenant.as_str(), text::seq(change.seq));
            let (at, user) = (text::at(change.at), change.user.as_deref());
            match &change.event {
                KeyEvent::KeyCreated(key) => {
                    let names = |names: &[String]| -> Vec<String> {
                        names.iter().map(|name| text::name(name)).collect()
                    };
                    sqlx::query!(
                        "INSERT INTO api_keys (tenant, id, name, user_id, roles, groups, created_at,
                             created_by, expires_at, seq, requests_per_minute)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                         ON CONFLICT (tenant, id) DO NOTHING",
                        tenant,
                        key.key_id.uuid(),
                        text::name(&key.name),
                        text::name(&key.user),
                        &names(&key.roles),
                        &names(&key.groups),
                        at,
                        user,
                        key.expires_at.map(text::at),
                        seq,
                        key.requests_per_minute.map(i64::from),
                    )
                    .execute(&mut *db)
                    .await?;
                }
                KeyEvent::KeyRotated(rotated) => {
                    sqlx::query!(
                        "UPDATE api_keys SET rotated_at = $3, previous_until = $4, seq = $5
                         WHERE tenant = $1 AND id = $2 AND seq < $5",
                        tenant,
                        rotated.key_id.uuid(),
                        at,
                        text::at(rotated.previous_until),
                        seq,
                    )
                    .execute(&mut *db)
                    .await?;
                }
                KeyEvent::KeyRevoked(revoked) => {
                    sqlx::query!(
                        "UPDATE api_keys SET revoked_at = $3, revoked_by = $4, seq = $5
                         WHERE tenant = $1 AND id = $2 AND seq < $5",
                        tenant,
                        revoked.key_id.uuid(),
                        at,
                        user,
                        seq,
                    )
                    .execute(&mut *db)
                    .await?;
                }
            }
        }
        Ok(())
    }
}
