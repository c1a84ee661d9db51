//! `tools`: the versions that a tenant registered. Rare events: they are written one after another,
//! in the order of the log.

use nexus_events::tool::registry::{ToolState, ToolsEvent};
use nexus_events::{Tenant, Timestamp};
use sqlx::PgConnection;

use crate::fold::At;
use crate::text;

/// What a batch changes.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    tenant: Tenant,
    event: ToolsEvent,
    user: Option<String>,
    at: Timestamp,
    seq: u64,
}

impl Tools {
    pub(crate) fn tools(&mut self, at: &At<'_>, event: &ToolsEvent) {
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
                ToolsEvent::ToolRegistered(registered) => {
                    let definition = &registered.definition;
                    sqlx::query!(
                        "INSERT INTO tools (tenant, name, version, digest, kind, state, definition,
                             registered_at, registered_by, changed_at, changed_by, seq)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8, $9, $10)
                         ON CONFLICT (tenant, name, version) DO NOTHING",
                        change.tenant.as_str(),
                        text::name(&definition.name),
                        text::name(&definition.version),
                        text::name(&registered.digest),
                        definition.kind.name(),
                        ToolState::Active.as_str(),
                        text::clean(text::json(definition)),
                        text::at(change.at),
                        change.user.as_deref(),
                        text::seq(change.seq),
                    )
                    .execute(&mut *db)
                    .await?;
                }
                ToolsEvent::ToolDeprecated(retired) => {
                    let which = (&retired.name, &retired.version, &retired.reason);
                    retire(db, change, which, ToolState::Deprecated).await?;
                }
                ToolsEvent::ToolRemoved(retired) => {
                    let which = (&retired.name, &retired.version, &retired.reason);
                    retire(db, change, which, ToolState::Removed).await?;
                }
            }
        }
        Ok(())
    }
}

async fn retire(
    db: &mut PgConnection,
    change: &Change,
    (name, version, reason): (&String, &String, &Option<String>),
    state: ToolState,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE tools SET state = $4, reason = $5, changed_at = $6, changed_by = $7, seq = $8
         WHERE tenant = $1 AND name = $2 AND version = $3 AND seq < $8",
        change.tenant.as_str(),
        text::name(name),
        text::name(version),
        state.as_str(),
        reason.as_deref().map(text::owned),
        text::at(change.at),
        change.user.as_deref(),
        text::seq(change.seq),
    )
    .execute(db)
    .await?;
    Ok(())
}
