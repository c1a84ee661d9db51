//! Policy bundles of a tenant.

use std::collections::BTreeMap;

use nexus_events::policy::{BUILTIN, Difference};
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
    /// It is asked beside the active one, and changes nothing.
    pub in_shadow: bool,
    /// How its answers in shadow compared, now or before; none where it never was.
    pub shadow: Option<ShadowCounts>,
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

/// How a bundle in shadow compared with those that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShadowCounts {
    /// It was asked so often.
    pub decisions: u64,
    /// And answered otherwise so often.
    pub differences: u64,
    /// By kind.
    pub by_kind: BTreeMap<Difference, u64>,
    /// When it was asked first.
    pub first_at: Timestamp,
    /// When it was asked last.
    pub last_at: Timestamp,
}

impl Projections {
    /// The bundles of a tenant, the newest first, the first 200; `builtin` is always among them.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn policy_bundles(&self, tenant: &Tenant) -> Result<Vec<BundleRow>, QueryError> {
        let rows = sqlx::query!(
            "SELECT digest, active, in_shadow, published_at, published_by, activated_at, activated_by,
                    modules, data, seq
             FROM policy_bundles WHERE tenant = $1
             ORDER BY published_at DESC NULLS LAST, digest LIMIT 200",
            tenant.as_str(),
        )
        .fetch_all(&self.read)
        .await?;
        let mut shadows = self.policy_shadows(tenant).await?;
        let mut bundles = Vec::with_capacity(rows.len() + 1);
        for row in rows {
            bundles.push(BundleRow {
                shadow: shadows.remove(&row.digest),
                digest: row.digest,
                active: row.active,
                in_shadow: row.in_shadow,
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

    async fn policy_shadows(
        &self,
        tenant: &Tenant,
    ) -> Result<BTreeMap<String, ShadowCounts>, QueryError> {
        let rows = sqlx::query!(
            "SELECT bundle, decisions, differences, would_allow, would_deny, would_ask,
                    other_approval, other_obligations, failed, first_at, last_at
             FROM policy_shadows WHERE tenant = $1 ORDER BY last_at DESC LIMIT 1000",
            tenant.as_str(),
        )
        .fetch_all(&self.read)
        .await?;
        let counts = rows.into_iter().map(|row| {
            let by_kind = [
                (Difference::WouldAllow, row.would_allow),
                (Difference::WouldDeny, row.would_deny),
                (Difference::WouldAsk, row.would_ask),
                (Difference::OtherApproval, row.other_approval),
                (Difference::OtherObligations, row.other_obligations),
                (Difference::Failed, row.failed),
            ];
            let counts = ShadowCounts {
                decisions: unsigned(row.decisions),
                differences: unsigned(row.differences),
                by_kind: (by_kind.into_iter())
                    .filter(|(_, count)| *count > 0)
                    .map(|(kind, count)| (kind, unsigned(count)))
                    .collect(),
                first_at: timestamp(row.first_at),
                last_at: timestamp(row.last_at),
            };
            (row.bundle, counts)
        });
        Ok(counts.collect())
    }
}

/// The bundle that ships with the platform, where the log never named it.
fn builtin(active: bool) -> BundleRow {
    BundleRow {
        digest: BUILTIN.to_owned(),
        in_shadow: false,
        shadow: None,
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
