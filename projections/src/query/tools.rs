//! The tools that a tenant registered.

use nexus_events::tool::registry::ToolState;
use nexus_events::tool::{ToolDefinition, ToolKind};
use nexus_events::{Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{QueryError, json, timestamp, unsigned};
use crate::Projections;

/// Versions that a list has at most.
const MOST: i64 = 2_048;

/// One version of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ToolRow {
    /// The tool.
    #[serde(flatten)]
    pub definition: ToolDefinition,
    /// Digest of its definition.
    pub digest: String,
    /// Whether it can be had.
    pub state: ToolState,
    /// Why it was deprecated or removed.
    pub reason: Option<String>,
    /// When it was registered; none for a tool that ships with the platform.
    pub registered_at: Option<Timestamp>,
    /// Who registered it.
    pub registered_by: Option<String>,
    /// When it was last changed: registered, deprecated or removed.
    pub changed_at: Option<Timestamp>,
    /// Who did.
    pub changed_by: Option<String>,
    /// Sequence of the commit that last changed it; 0 for a tool that ships with the platform.
    pub seq: u64,
}

impl ToolRow {
    /// Whether it ships with the platform.
    pub fn is_builtin(&self) -> bool {
        self.definition.kind == ToolKind::Builtin
    }
}

impl Projections {
    /// The versions of a tenant's tools, or of the one that is named; in the order of their
    /// registration.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn tools(
        &self,
        tenant: &Tenant,
        name: Option<&str>,
    ) -> Result<Vec<ToolRow>, QueryError> {
        let rows = sqlx::query!(
            "SELECT digest, state, reason, definition, registered_at, registered_by, changed_at,
                    changed_by, seq
             FROM tools WHERE tenant = $1 AND ($2::text IS NULL OR name = $2)
             ORDER BY name, registered_at, version LIMIT $3",
            tenant.as_str(),
            name,
            MOST,
        )
        .fetch_all(&self.read)
        .await?;
        let mut tools = Vec::with_capacity(rows.len());
        for row in rows {
            tools.push(ToolRow {
                definition: json("tools", row.definition)?,
                digest: row.digest,
                state: match row.state.as_str() {
                    "deprecated" => ToolState::Deprecated,
                    "removed" => ToolState::Removed,
                    _ => ToolState::Active,
                },
                reason: row.reason,
                registered_at: Some(timestamp(row.registered_at)),
                registered_by: row.registered_by,
                changed_at: Some(timestamp(row.changed_at)),
                changed_by: row.changed_by,
                seq: unsigned(row.seq),
            });
        }
        Ok(tools)
    }
}
