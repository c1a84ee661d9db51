//! A tenant's policy: which bundles exist, and which one decides.

mod duty;

pub use duty::{ApprovalRequirement, Obligations};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, AggregateKind, Position, events};
use crate::body::Body;
use crate::error::DomainError;

/// Names the bundle that ships with the platform, active until another one is.
pub const BUILTIN: &str = "builtin";

events! {
    /// What a policy records.
    PolicyEvent {
        /// A bundle was compiled, tested and accepted.
        BundlePublished(BundlePublished) = "nexus.policy.bundle-published.v1",
        /// From here on it decides.
        BundleActivated(BundleActivated) = "nexus.policy.bundle-activated.v1",
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleActivated {
    /// Its digest, or [`BUILTIN`].
    pub digest: String,
}

/// The state of a tenant's policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Accepted bundles by digest.
    pub bundles: BTreeMap<String, BundlePublished>,
    /// Digest of the active one; none means [`BUILTIN`].
    pub active: Option<String>,
}

impl Policy {
    /// The active bundle; none means [`BUILTIN`].
    pub fn active_bundle(&self) -> Option<&BundlePublished> {
        self.active
            .as_ref()
            .and_then(|digest| self.bundles.get(digest))
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
            PolicyEvent::BundleActivated(activated) => {
                self.active = (activated.digest != BUILTIN).then(|| activated.digest.clone());
            }
        }
    }
}

/// Accepts a bundle that was compiled and tested; the same one again is no event.
pub fn publish(policy: &Policy, bundle: BundlePublished, then_activate: bool) -> Vec<PolicyEvent> {
    let digest = bundle.digest.clone();
    let mut events = vec![];
    if !policy.bundles.contains_key(&digest) {
        events.push(bundle.into());
    }
    if then_activate && policy.active.as_deref() != Some(digest.as_str()) {
        events.push(BundleActivated { digest }.into());
    }
    events
}

/// Decides by a bundle from here on; by the active one is no event.
///
/// # Errors
/// No such bundle was published.
pub fn activate(policy: &Policy, digest: &str) -> Result<Vec<PolicyEvent>, DomainError> {
    if digest != BUILTIN && !policy.bundles.contains_key(digest) {
        return Err(DomainError::NotFound {
            what: "policy bundle",
            id: digest.to_owned(),
        });
    }
    if policy.active.as_deref().unwrap_or(BUILTIN) == digest {
        return Ok(vec![]);
    }
    Ok(vec![
        BundleActivated {
            digest: digest.to_owned(),
        }
        .into(),
    ])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn fold(events: &[PolicyEvent]) -> Policy {
        let mut policy = Policy::default();
        for event in events {
            policy.evolve(event, Position::default());
        }
        policy
    }

    #[test]
    fn only_a_published_bundle_is_activated_and_going_back_works() {
        let bundle = BundlePublished {
            digest: "sha256:1".into(),
            modules: BTreeMap::new(),
            data: "{}".into(),
        };
        assert_eq!(
            activate(&Policy::default(), "sha256:1").unwrap_err().code(),
            "not_found"
        );
        let mut log = publish(&Policy::default(), bundle.clone(), true);
        assert_eq!(fold(&log).active_bundle(), Some(&bundle));
        assert_eq!(publish(&fold(&log), bundle, true), vec![]);
        log.extend(activate(&fold(&log), BUILTIN).unwrap());
        assert_eq!(fold(&log).active_bundle(), None);
        assert_eq!(activate(&fold(&log), BUILTIN).unwrap(), vec![]);
    }

    #[test]
    fn a_bundle_is_published_once_and_may_be_activated_later() {
        let bundle = BundlePublished {
            digest: "sha256:2".into(),
            modules: BTreeMap::new(),
            data: "{}".into(),
        };
        let mut log = publish(&Policy::default(), bundle.clone(), false);
        assert_eq!(log.len(), 1);
        assert_eq!(fold(&log).active_bundle(), None);
        let again = publish(&fold(&log), bundle, true);
        assert!(
            matches!(again[..], [PolicyEvent::BundleActivated(_)]),
            "{again:?}"
        );
        log.extend(activate(&fold(&log), "sha256:2").unwrap());
        assert_eq!(fold(&log).active.as_deref(), Some("sha256:2"));
        assert_eq!(activate(&fold(&log), "sha256:2").unwrap(), vec![]);
    }
}
