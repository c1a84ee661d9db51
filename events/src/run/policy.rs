//! The policy role's judgements, recorded.

use super::{PolicyDecided, PolicyPoint, Run, RunEvent, RunFailed};

/// Records judgements of what is due, in order and each once; others (a redelivery, a run that has
/// ended) are dropped. A denied start or model call ends the run; a denied tool is an answer to the
/// model. Nothing is let through whose predecessor was not judged.
pub fn record_policy(run: &Run, decisions: Vec<PolicyDecided>) -> Vec<RunEvent> {
    let mut events = vec![];
    for point in run.points_to_judge() {
        let ends_run = !matches!(point, PolicyPoint::ToolCall { .. });
        let decided = decisions.iter().find(|decided| decided.point == point);
        match decided.cloned() {
            None if ends_run => break,
            None => {}
            Some(decided) if ends_run && !decided.allowed => {
                let message = format!("{}: {}", point.name(), decided.reasons.join("; "));
                let code = "policy_denied".to_owned();
                events.push(decided.into());
                events.push(RunFailed { code, message }.into());
                break;
            }
            Some(decided) => events.push(decided.into()),
        }
    }
    events
}
