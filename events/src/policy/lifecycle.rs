//! What becomes of bundles: published, activated, tried in shadow, taken back.

use super::{BUILTIN, BundleActivated, BundlePublished, BundleShadowed, Policy, PolicyEvent};
use crate::error::DomainError;

/// Accepts a bundle that was compiled and tested; the same one again is no event.
pub fn publish(policy: &Policy, bundle: BundlePublished, then_activate: bool) -> Vec<PolicyEvent> {
    let digest = bundle.digest.clone();
    let mut events = vec![];
    if !policy.bundles.contains_key(&digest) {
        events.push(bundle.into());
    }
    if then_activate && policy.active_digest() != digest {
        events.extend(activation(policy, digest, None));
    }
    events
}

/// Decides by a bundle from here on; by the active one is no event.
///
/// # Errors
/// No such bundle was published.
pub fn activate(policy: &Policy, digest: &str) -> Result<Vec<PolicyEvent>, DomainError> {
    exists(policy, digest)?;
    if policy.active_digest() == digest {
        return Ok(vec![]);
    }
    Ok(activation(policy, digest.to_owned(), None))
}

/// Decides by the bundle that was active before this one; again, by the one before that.
///
/// # Errors
/// None was.
pub fn roll_back(policy: &Policy) -> Result<Vec<PolicyEvent>, DomainError> {
    let active = policy.active_digest();
    let Some(before) = policy.history.back() else {
        return Err(DomainError::WrongState {
            what: "policy bundle",
            id: active.to_owned(),
            state: "the first that was active".to_owned(),
            action: "be rolled back",
        });
    };
    Ok(activation(policy, before.clone(), Some(active.to_owned())))
}

/// Asks a bundle beside the active one from here on, or none.
///
/// # Errors
/// No such bundle was published, or it is the active one.
pub fn set_shadow(policy: &Policy, digest: Option<&str>) -> Result<Vec<PolicyEvent>, DomainError> {
    if let Some(digest) = digest {
        exists(policy, digest)?;
        if policy.active_digest() == digest {
            return Err(DomainError::WrongState {
                what: "policy bundle",
                id: digest.to_owned(),
                state: "active".to_owned(),
                action: "be its own shadow",
            });
        }
    }
    if policy.shadow.as_deref() == digest {
        return Ok(vec![]);
    }
    let digest = digest.map(str::to_owned);
    Ok(vec![BundleShadowed { digest }.into()])
}

/// What decides is no longer tried.
fn activation(policy: &Policy, digest: String, instead_of: Option<String>) -> Vec<PolicyEvent> {
    let leaves_shadow = policy.shadow.as_ref() == Some(&digest);
    let activated = BundleActivated { digest, instead_of };
    let none = BundleShadowed { digest: None };
    std::iter::once(activated.into())
        .chain(leaves_shadow.then(|| none.into()))
        .collect()
}

fn exists(policy: &Policy, digest: &str) -> Result<(), DomainError> {
    if digest == BUILTIN || policy.has(digest) {
        return Ok(());
    }
    Err(DomainError::NotFound {
        what: "policy bundle",
        id: digest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use std::collections::BTreeMap;

    use super::*;
    use crate::aggregate::{Aggregate, Position};

    fn bundle(digest: &str) -> BundlePublished {
        BundlePublished {
            digest: digest.into(),
            modules: BTreeMap::new(),
            data: "{}".into(),
        }
    }

    fn fold(policy: &mut Policy, events: Vec<PolicyEvent>) -> usize {
        let count = events.len();
        for event in events {
            policy.evolve(&event, Position::default());
        }
        count
    }

    /// With bundles `a`, `b` and `c`, none of them active.
    fn three() -> Policy {
        let mut policy = Policy::default();
        for digest in ["a", "b", "c"] {
            let events = publish(&policy, bundle(digest), false);
            assert_eq!(fold(&mut policy, events), 1);
        }
        policy
    }

    fn activated(policy: &mut Policy, digest: &str) {
        let events = activate(policy, digest).unwrap();
        fold(policy, events);
        assert_eq!(policy.active_digest(), digest);
    }

    fn rolled_back(policy: &mut Policy) -> String {
        let events = roll_back(policy).unwrap();
        fold(policy, events);
        policy.active_digest().to_owned()
    }

    #[test]
    fn only_a_published_bundle_is_activated_and_going_back_works() {
        let refused = activate(&Policy::default(), "a").unwrap_err();
        assert_eq!(refused.code(), "not_found");
        let mut policy = Policy::default();
        let events = publish(&policy, bundle("a"), true);
        fold(&mut policy, events);
        assert_eq!(policy.active_bundle(), Some(&bundle("a")));
        assert_eq!(publish(&policy, bundle("a"), true), vec![]);
        activated(&mut policy, BUILTIN);
        assert_eq!(policy.active_bundle(), None);
        assert_eq!(activate(&policy, BUILTIN).unwrap(), vec![]);
    }

    #[test]
    fn a_bundle_is_published_once_and_may_be_activated_later() {
        let mut policy = three();
        assert_eq!(policy.active_bundle(), None);
        let again = publish(&policy, bundle("b"), true);
        assert!(
            matches!(again[..], [PolicyEvent::BundleActivated(_)]),
            "{again:?}"
        );
        fold(&mut policy, again);
        assert_eq!(activate(&policy, "b").unwrap(), vec![]);
    }

    #[test]
    fn rolling_back_goes_through_what_was_active_to_the_first() {
        let mut policy = three();
        for digest in ["a", "b", "a", "c"] {
            activated(&mut policy, digest);
        }
        let back: Vec<_> = (0..4).map(|_| rolled_back(&mut policy)).collect();
        assert_eq!(back, ["a", "b", "a", BUILTIN]);
        assert_eq!(roll_back(&policy).unwrap_err().code(), "wrong_state");
        activated(&mut policy, "c");
        assert_eq!(rolled_back(&mut policy), BUILTIN);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut policy = three();
        for round in 0..200 {
            activated(&mut policy, ["a", "b"][round % 2]);
        }
        assert_eq!(policy.history.len(), super::super::MOST_HISTORY);
        assert_eq!(rolled_back(&mut policy), "a");
    }

    #[test]
    fn a_shadow_is_published_and_not_active_and_leaves_when_it_decides() {
        let mut policy = three();
        assert_eq!(set_shadow(&policy, None).unwrap(), vec![]);
        assert_eq!(
            set_shadow(&policy, Some("x")).unwrap_err().code(),
            "not_found"
        );
        let own = set_shadow(&policy, Some(BUILTIN)).unwrap_err();
        assert_eq!(own.code(), "wrong_state");
        let events = set_shadow(&policy, Some("a")).unwrap();
        assert_eq!(fold(&mut policy, events), 1);
        assert_eq!(policy.active_digest(), BUILTIN);
        assert_eq!(set_shadow(&policy, Some("a")).unwrap(), vec![]);
        activated(&mut policy, "b");
        assert_eq!(policy.shadow.as_deref(), Some("a"));
        activated(&mut policy, "a");
        assert_eq!(policy.shadow, None);
        let events = set_shadow(&policy, Some(BUILTIN)).unwrap();
        fold(&mut policy, events);
        let events = set_shadow(&policy, None).unwrap();
        fold(&mut policy, events);
        assert_eq!(policy.shadow, None);
    }
}
