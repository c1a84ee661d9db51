//! The policy role's judgements, recorded.

use super::{PolicyDecided, PolicyPoint, Run, RunEvent, RunFailed};

/// Records judgements of what is due, in order; others (a redelivery, a run that has ended) are
/// dropped. A denied start or model call ends the run; a denied tool is an answer to the model.
pub fn record_policy(run: &Run, decisions: Vec<PolicyDecided>) -> Vec<RunEvent> {
    let due = run.points_to_judge();
    let mut events = vec![];
    for decided in decisions {
        if !due.contains(&decided.point) {
            continue;
        }
        let fatal = !decided.allowed && !matches!(decided.point, PolicyPoint::ToolCall { .. });
        let message = format!("{}: {}", decided.point.name(), decided.reasons.join("; "));
        events.push(decided.into());
        if fatal {
            events.push(
                RunFailed {
                    code: "policy_denied".to_owned(),
                    message,
                }
                .into(),
            );
            break;
        }
    }
    events
}
