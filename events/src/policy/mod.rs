//! A tenant's policy: which bundles exist, which one decides, and which one is tried in its shadow.

mod answer;
mod backtest;
mod duty;
mod lifecycle;
mod redact;
mod shadow;

pub use answer::{DryDecision, Explained, Explanation};
pub use backtest::{BacktestReport, Change, MOST_CHANGES, Outcome};
pub use duty::{ApprovalRequirement, Obligations, OnDoubt, SecretsDuty};
pub use lifecycle::{activate, publish, roll_back, set_shadow};
pub use redact::redact;
pub use shadow::{Difference, ShadowDecided};

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, AggregateKind, Position, events};
use crate::body::Body;

/// Names the bundle that ships with the platform, active until another one is.
pub const BUILTIN: &str = "builtin";
/// Activations that are remembered: so many times in a row can be rolled back.
const MOST_HISTORY: usize = 64;

events! {
    /// What a policy records.
    PolicyEvent {
        /// A bundle was compiled, tested and accepted.
        BundlePublished(BundlePublished) = "nexus.policy.bundle-published.v1",
        /// From here on it decides.
        BundleActivated(BundleActivated) = "nexus.policy.bundle-activated.v1",
        /// From here on it is asked beside the active one, and changes nothing.
        BundleShadowed(BundleShadowed) = "nexus.policy.bundle-shadowed.v1",
    }
}

/// A bundle was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BundlePublished {
    /// Digest over its modules and data, `sha256:<hex>`.
    pub digest: String,
    /// Files by path.
    pub modules: BTreeMap<String, Body>,
    /// Data document, as JSON text.
    pub data: Body,
}

/// From here on it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleActivated {
    /// Its digest, or [`BUILTIN`].
    pub digest: String,
    /// It decided before, and this one was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
}

/// From here on it is asked beside the active one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleShadowed {
    /// Its digest, or [`BUILTIN`]; absent when none is in shadow any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The state of a tenant's policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Accepted bundles by digest.
    pub bundles: BTreeMap<String, BundlePublished>,
    /// Digest of the active one; none means [`BUILTIN`].
    pub active: Option<String>,
    /// Digest of the one in shadow, or [`BUILTIN`].
    pub shadow: Option<String>,
    /// What was active before, the latest at the end.
    pub history: VecDeque<String>,
}

impl Policy {
    /// The active bundle; none means [`BUILTIN`].
    pub fn active_bundle(&self) -> Option<&BundlePublished> {
        self.active
            .as_ref()
            .and_then(|digest| self.bundles.get(digest))
    }

    /// Digest of the active one, or [`BUILTIN`].
    pub fn active_digest(&self) -> &str {
        self.active.as_deref().unwrap_or(BUILTIN)
    }

    /// Whether a bundle can be named.
    pub fn has(&self, digest: &str) -> bool {
        digest == BUILTIN || self.bundles.contains_key(digest)
    }

    fn activated(&mut self, activated: &BundleActivated) {
        if activated.instead_of.is_some() {
            self.history.pop_back();
        } else {
            self.history.push_back(self.active_digest().to_owned());
            if self.history.len() > MOST_HISTORY {
                self.history.pop_front();
            }
        }
        self.active = (activated.digest != BUILTIN).then(|| activated.digest.clone());
    }
}

impl Aggregate for Policy {
    const KIND: AggregateKind = AggregateKind::Policy;
    type Event = PolicyEvent;

    fn evolve(&mut self, event: &PolicyEvent, _: Position) {
        match event {
            PolicyEvent::BundlePublished(published) => {
                self.bundles
                    .insert(published.digest.clone(), published.clone());
            }
            PolicyEvent::BundleActivated(activated) => self.activated(activated),
            PolicyEvent::BundleShadowed(shadowed) => self.shadow.clone_from(&shadowed.digest),
        }
    }
}
