//! Policy bundles of a tenant.

use std::collections::BTreeMap;

use nexus_events::policy::BUILTIN;
use nexus_events::{Body, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{QueryError, json, timestamp, unsigned};
use crate::Projections;

/// One bundle.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BundleRow {
    /// Digest over its modules and data, or `builtin`.
    pub digest: String,
    /// It decides now.
    pub active: bool,
    /// When it was accepted; none for `builtin`.
    pub published_at: Option<Timestamp>,
    /// Who published it.
    pub published_by: Option<String>,
    /// When it last began to decide.
    pub activated_at: Option<Timestamp>,
    /// Who activated it.
    pub activated_by: Option<String>,
    /// Files by path: a text, or `{"object","bytes"}`.
    pub modules: BTreeMap<String, Body>,
    /// Data document, as JSON text.
    pub data: Body,
    /// Sequence of the commit that last changed it; 0 for a `builtin` that nobody touched.
    pub seq: u64,
}

impl Projections {
    /// The bundles of a tenant, the newest first, the first 200; `builtin` is always among them.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn policy_bundles(&self, tenant: &Tenant) -> Result<Vec<BundleRow>, QueryError> {
        let rows = sqlx::query!(
            "SELECT digest, active, published_at, published_by, activated_at, activated_by,
                    modules, data, seq
             FROM policy_bundles WHERE tenant = $1
             ORDER BY published_at DESC NULLS LAST, digest LIMIT 200",
            tenant.as_str(),
        )
        .fetch_all(&self.read)
        .await?;
        let mut bundles = Vec::with_capacity(rows.len() + 1);
        for row in rows {
            bundles.push(BundleRow {
                digest: row.digest,
                active: row.active,
                published_at: row.published_at.map(timestamp),
                published_by: row.published_by,
                activated_at: row.activated_at.map(timestamp),
                activated_by: row.activated_by,
                modules: json("policy_bundles", row.modules)?,
                data: json("policy_bundles", row.data)?,
                seq: unsigned(row.seq),
            });
        }
        if !bundles.iter().any(|bundle| bundle.digest == BUILTIN) {
            bundles.push(builtin(!bundles.iter().any(|bundle| bundle.active)));
        }
        Ok(bundles)
    }
}

/// The bundle that ships with the platform, where the log never named it.
fn builtin(active: bool) -> BundleRow {
    BundleRow {
        digest: BUILTIN.to_owned(),
        active,
        published_at: None,
        published_by: None,
        activated_at: None,
        activated_by: None,
        modules: BTreeMap::new(),
        data: Body::default(),
        seq: 0,
    }
}
