//! One judgement: the bundle's answer, with the approval that was given, as the event that records it.
//! An obligation that nobody would carry out at its point is a denial, never a silent yes.

use nexus_events::catalog::Catalog;
use nexus_events::policy::{ApprovalRequirement, Obligations};
use nexus_events::run::{Approved, PolicyDecided, PolicyPoint, Run, subject_of};

use crate::active::BundleInForce;
use crate::engine::{Approval, Decision, Effect, Input};

/// Fewer tokens of answer than this are not worth a call.
const MIN_OUTPUT_TOKENS: u64 = 16;

/// Judges a step.
pub(crate) fn judge(
    bundle: &BundleInForce,
    run: &Run,
    point: PolicyPoint,
    input: Input,
    catalog: &Catalog,
) -> PolicyDecided {
    judge_as(bundle.digest(), bundle, run, point, input, catalog)
}

/// Judges a step as if the bundle had asked for the approvals that another one, `decides`, asked for:
/// what a bundle in shadow is asked, or one that is tried on history.
pub(crate) fn judge_as(
    decides: &str,
    bundle: &BundleInForce,
    run: &Run,
    point: PolicyPoint,
    mut input: Input,
    catalog: &Catalog,
) -> PolicyDecided {
    let approved = run.approved(&point);
    let valid = approved.filter(|approved| is_valid(approved, decides, run, &point));
    input.approval = valid.map(approval);
    let decision = ask(bundle, &input);
    let would = matches!(decision.effect, Effect::Deny)
        && decision.error.is_none()
        && valid.is_none()
        && approval_would_allow(bundle, &input);
    let mut decided = recorded(point, decision, would);
    if approved.is_some() && valid.is_none() {
        let void = "the approval is void: the policy or the arguments have changed since";
        decided.reasons.push(void.to_owned());
        decided.void = approved.map(|approved| approved.approval_id);
    }
    match unfulfillable(&decided, run, catalog) {
        Some(error) => denied(decided, error),
        None => decided,
    }
}

fn ask(bundle: &BundleInForce, input: &Input) -> Decision {
    match bundle {
        BundleInForce::Ready(bundle) => bundle.evaluate(input),
        BundleInForce::Broken { digest, error } => Decision::failed(error.clone(), digest, 0),
    }
}

/// It is denied now and would be allowed with a second person's approval: then it is asked for.
fn approval_would_allow(bundle: &BundleInForce, input: &Input) -> bool {
    match bundle {
        BundleInForce::Ready(bundle) => bundle.approval_would_allow(input),
        BundleInForce::Broken { .. } => false,
    }
}

/// An approval is good for exactly what was asked, under the bundle that asked.
fn is_valid(approved: &Approved, decides: &str, run: &Run, point: &PolicyPoint) -> bool {
    approved.bundle == decides && approved.subject == subject_of(run, point)
}

fn approval(approved: &Approved) -> Approval {
    Approval {
        status: "approved".to_owned(),
        approver: approved.approvers.last().cloned(),
        approvers: approved.approvers.clone(),
    }
}

fn recorded(point: PolicyPoint, decision: Decision, approval_would_allow: bool) -> PolicyDecided {
    let (allowed, approval) = match decision.effect {
        Effect::Allow => (true, None),
        Effect::RequireApproval(need) => (false, Some(need)),
        Effect::Deny if approval_would_allow => (false, Some(ApprovalRequirement::default())),
        Effect::Deny => (false, None),
    };
    PolicyDecided {
        point,
        allowed,
        reasons: decision.reasons,
        rules: decision.rules,
        bundle: decision.bundle_digest,
        duration_us: decision.duration_us,
        error: decision.error.map(|error| error.to_string()),
        void: None,
        approval,
        obligations: decision.obligations,
        budget_left: None,
        shadow: None,
    }
}

fn denied(decided: PolicyDecided, error: String) -> PolicyDecided {
    let mut reasons = decided.reasons;
    reasons.push(error.clone());
    PolicyDecided {
        allowed: false,
        reasons,
        error: Some(error),
        approval: None,
        obligations: Obligations::default(),
        ..decided
    }
}

/// What nobody would carry out at this point, in words.
fn unfulfillable(decided: &PolicyDecided, run: &Run, catalog: &Catalog) -> Option<String> {
    let duties = &decided.obligations;
    let is_tool = matches!(decided.point, PolicyPoint::ToolCall { .. });
    let misplaced = [
        ("max_tokens", is_tool && duties.max_tokens.is_some()),
        (
            "max_cost_usd_micros",
            is_tool && duties.max_cost_usd_micros.is_some(),
        ),
        ("model", is_tool && duties.model.is_some()),
        ("permissions", !is_tool && duties.permissions.is_some()),
        ("secrets", !is_tool && duties.secrets.is_some()),
        ("on_doubt", !is_tool && duties.on_doubt.is_some()),
        ("filter", is_tool && duties.filter.is_some()),
    ];
    let point = decided.point.name();
    if let Some((key, _)) = misplaced.into_iter().find(|(_, wrong)| *wrong) {
        return Some(format!(
            "the policy obliges to {key}, which {point} cannot do"
        ));
    }
    let name = duties.model.as_ref().unwrap_or(&run.model);
    let Some(model) = run.offered(name, catalog) else {
        let forced = duties.model.as_ref()?;
        return Some(format!(
            "the policy obliges to model {forced:?}, which is not offered"
        ));
    };
    let cost = duties.max_cost_usd_micros?;
    if run.embeds() {
        let most = model.price.most_usd_micros(run.context_tokens(), 0);
        return (most > cost).then(|| {
            format!("the policy allows {cost} micro-dollars, and {name} may cost {most} for this")
        });
    }
    let output = model.price.affordable_output(run.context_tokens(), cost);
    (output < MIN_OUTPUT_TOKENS).then(|| {
        format!("the policy allows {cost} micro-dollars, for which {name} gives no answer")
    })
}

#[cfg(test)]
mod tests;
