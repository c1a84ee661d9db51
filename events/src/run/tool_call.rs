//! Tool calls: started on the log before they take effect, recorded once.

use super::{ReservationLapsed, Run, RunEvent, ToolCompleted, ToolFailed, ToolPhase, ToolStarted};
use crate::time::Timestamp;

/// What a tool gave.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolOutcome {
    /// A result.
    Completed(ToolCompleted),
    /// An error that the model is told.
    Failed(ToolFailed),
}

/// Records that the tool is about to take effect, or that what was held for it lapsed, so that it
/// asks again. No event: there is nothing to execute (any more).
pub fn start_tool(
    run: &Run,
    turn: u32,
    call_id: &str,
    version: &str,
    now: Timestamp,
) -> Vec<RunEvent> {
    let Some(step) = executable(run, turn, call_id) else {
        return vec![];
    };
    let attempt = match &step.phase {
        ToolPhase::Ready { .. } => match &step.grant {
            Some(grant) if !grant.covers_call_at(now) => {
                let lapsed = ReservationLapsed {
                    turn,
                    call_id: Some(call_id.to_owned()),
                    reservation_id: grant.reservation_id,
                };
                return vec![lapsed.into()];
            }
            _ => 1,
        },
        // It may have taken effect: it is never started as if it had not, whatever is held.
        ToolPhase::Started { attempts, .. } => attempts + 1,
        ToolPhase::Judge | ToolPhase::Approve | ToolPhase::Reserve { .. } | ToolPhase::Done(_) => {
            return vec![];
        }
    };
    let started = ToolStarted {
        turn,
        call_id: call_id.to_owned(),
        tool: step.call.name.clone(),
        version: version.to_owned(),
        attempt,
    };
    vec![started.into()]
}

/// Records the outcome of a call that was started; a second outcome is dropped.
pub fn record_tool(run: &Run, outcome: ToolOutcome) -> Vec<RunEvent> {
    let (turn, call_id) = match &outcome {
        ToolOutcome::Completed(done) => (done.turn, &done.call_id),
        ToolOutcome::Failed(failed) => (failed.turn, &failed.call_id),
    };
    match executable(run, turn, call_id).map(|step| &step.phase) {
        Some(ToolPhase::Started { .. } | ToolPhase::Ready { .. }) => match outcome {
            ToolOutcome::Completed(done) => vec![done.into()],
            ToolOutcome::Failed(failed) => vec![failed.into()],
        },
        _ => vec![],
    }
}

fn executable<'a>(run: &'a Run, turn: u32, call_id: &str) -> Option<&'a super::ToolStep> {
    if run.status.is_terminal() {
        None
    } else {
        run.tool_step(turn, call_id)
    }
}
