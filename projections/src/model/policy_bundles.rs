//! `policy_bundles`: which bundles a tenant has, and which one decides. Rare events: they are
//! written one after another, in the order of the log.

use nexus_events::policy::{BUILTIN, PolicyEvent};
use nexus_events::{Tenant, Timestamp};
use serde_json::json;
use sqlx::PgConnection;

use crate::fold::At;
use crate::text;

/// What a batch changes.
#[derive(Debug, Default)]
pub(crate) struct PolicyBundles {
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    tenant: Tenant,
    event: PolicyEvent,
    user: Option<String>,
    at: Timestamp,
    seq: u64,
}

impl PolicyBundles {
    pub(crate) fn policy(&mut self, at: &At<'_>, event: &PolicyEvent) {
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
            match &change.event {
                PolicyEvent::BundlePublished(published) => {
                    sqlx::query!(
                        "INSERT INTO policy_bundles (tenant, digest, active, published_at,
                             published_by, modules, data, seq)
                         VALUES ($1, $2, false, $3, $4, $5, $6, $7)
                         ON CONFLICT (tenant, digest) DO NOTHING",
                        change.tenant.as_str(),
                        text::name(&published.digest),
                        text::at(change.at),
                        change.user.as_deref(),
                        text::json(&published.modules),
                        text::json(&published.data),
                        text::seq(change.seq),
                    )
                    .execute(&mut *db)
                    .await?;
                }
                PolicyEvent::BundleActivated(activated) => {
                    activate(db, change, &text::name(&activated.digest)).await?;
                }
                PolicyEvent::BundleShadowed(shadowed) => {
                    shadow(db, change, shadowed.digest.as_deref()).await?;
                }
            }
        }
        Ok(())
    }
}

/// Makes one bundle the only active one. Published and activated by one commit have one sequence,
/// so that the guard lets an equal one pass.
async fn activate(db: &mut PgConnection, change: &Change, digest: &str) -> sqlx::Result<()> {
    let (tenant, seq) = (change.tenant.as_str(), text::seq(change.seq));
    if digest == BUILTIN {
        builtin(db, change).await?;
    }
    sqlx::query!(
        "UPDATE policy_bundles SET
             active = (digest = $2),
             activated_at = CASE WHEN digest = $2 THEN $3 ELSE activated_at END,
             activated_by = CASE WHEN digest = $2 THEN $4 ELSE activated_by END,
             seq = $5
         WHERE tenant = $1 AND (active OR digest = $2) AND seq <= $5",
        tenant,
        digest,
        text::at(change.at),
        change.user.as_deref(),
        seq,
    )
    .execute(&mut *db)
    .await?;
    Ok(())
}

/// Puts one bundle in shadow and takes the other out, or only that.
async fn shadow(db: &mut PgConnection, change: &Change, digest: Option<&str>) -> sqlx::Result<()> {
    if digest == Some(BUILTIN) {
        builtin(db, change).await?;
    }
    sqlx::query!(
        "UPDATE policy_bundles SET in_shadow = COALESCE(digest = $2, false), seq = $3
         WHERE tenant = $1 AND (in_shadow OR digest = $2) AND seq <= $3",
        change.tenant.as_str(),
        digest.map(text::name),
        text::seq(change.seq),
    )
    .execute(&mut *db)
    .await?;
    Ok(())
}

/// The bundle that ships with the platform gets a row when the log first names it.
async fn builtin(db: &mut PgConnection, change: &Change) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO policy_bundles (tenant, digest, active, modules, data, seq)
         VALUES ($1, $2, false, $3, $4, $5) ON CONFLICT (tenant, digest) DO NOTHING",
        change.tenant.as_str(),
        BUILTIN,
        json!({}),
        json!(""),
        text::seq(change.seq),
    )
    .execute(&mut *db)
    .await?;
    Ok(())
}
