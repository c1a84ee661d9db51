//! The policy role's judgements, recorded.

use super::approval::question;
use super::{PolicyDecided, PolicyPoint, Run, RunEvent, RunFailed};
use crate::time::Timestamp;

/// Records judgements of what is due, in order and each once; others (a redelivery, a run that has
/// ended) are dropped. A denied start or model call ends the run; a denied tool is an answer to the
/// model. Nothing is let through whose predecessor was not judged.
pub fn record_policy(run: &Run, decisions: Vec<PolicyDecided>, now: Timestamp) -> Vec<RunEvent> {
    let mut events = vec![];
    for point in run.points_to_judge() {
        let ends_run = !matches!(point, PolicyPoint::ToolCall { .. });
        let decided = decisions.iter().find(|decided| decided.point == point);
        match decided.cloned() {
            None if ends_run => break,
            None => {}
            Some(mut decided) if decided.approval.is_some() => {
                let need = decided.approval.clone().unwrap_or_default();
                match question(run, &decided, &need, now) {
                    Some(asked) => events.extend([decided.into(), asked.into()]),
                    None => {
                        decided.approval = None;
                        decided
                            .reasons
                            .push("people were asked too often".to_owned());
                        events.extend(denied(decided));
                    }
                }
                if ends_run {
                    break;
                }
            }
            Some(decided) if ends_run && !decided.allowed => {
                events.extend(denied(decided));
                break;
            }
            Some(decided) => events.push(decided.into()),
        }
    }
    events
}

fn denied(decided: PolicyDecided) -> Vec<RunEvent> {
    let ends_run = !matches!(decided.point, PolicyPoint::ToolCall { .. });
    let message = format!("{}: {}", decided.point.name(), decided.reasons.join("; "));
    let code = "policy_denied".to_owned();
    let failed = ends_run.then(|| RunFailed { code, message }.into());
    std::iter::once(decided.into()).chain(failed).collect()
}
