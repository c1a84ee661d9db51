//! A decision on an input that somebody wrote, with all that helps to understand it.

use nexus_events::policy::{ApprovalRequirement, DryDecision};
use serde_json::Value as Json;

use super::bundle::Bundle;
use super::decision::Effect;
use super::input::Input;

/// What a bundle decides on `input`. As for a run, a denial that a second person's approval would
/// turn into permission is a question to people.
pub fn dry_decision(bundle: &Bundle, input: &Json) -> DryDecision {
    let decision = bundle.evaluate_json(input);
    let (allowed, approval) = match decision.effect {
        Effect::Allow => (true, None),
        Effect::RequireApproval(need) => (false, Some(need)),
        Effect::Deny if decision.error.is_some() => (false, None),
        Effect::Deny => (false, asks(bundle, input)),
    };
    DryDecision {
        allowed,
        approval,
        obligations: decision.obligations,
        reasons: decision.reasons,
        places: bundle.places_of(&decision.rules),
        rules: decision.rules,
        error: decision.error.map(|error| error.to_string()),
        bundle: decision.bundle_digest,
        duration_us: decision.duration_us,
    }
}

fn asks(bundle: &Bundle, input: &Json) -> Option<ApprovalRequirement> {
    let input: Input = serde_json::from_value(input.clone()).ok()?;
    let open = input.approval.is_none();
    (open && bundle.approval_would_allow(&input)).then(ApprovalRequirement::default)
}
