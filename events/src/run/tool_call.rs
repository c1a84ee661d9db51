//! Tool calls: started on the log before they take effect, recorded once.

use super::invalid::{is_last, too_many};
use super::reuse::earlier;
use super::{
    ReservationLapsed, Run, RunEvent, ToolCompleted, ToolFailed, ToolPhase, ToolStarted, ToolStep,
    leave_in_doubt,
};
use crate::ids::{CommandId, RunId};
use crate::time::Timestamp;

/// How often a call is started anew because its worker died: one that takes its worker with it must
/// not do so for ever.
pub const MOST_ATTEMPTS: u32 = 5;

/// What a tool gave.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolOutcome {
    /// A result.
    Completed(ToolCompleted),
    /// An error that the model is told.
    Failed(ToolFailed),
}

/// What the outside world knows a call by, however often it is tried: the same effect, once.
pub fn idempotency_key(run_id: RunId, turn: u32, call_id: &str) -> String {
    let what = format!("tool/{turn}/{call_id}");
    CommandId::derive(&run_id.to_string(), &what).to_string()
}

/// Records that the tool is about to take effect, or that what was held for it lapsed, so that it
/// asks again, or the result of an identical call where the tool allows that. Was it started before, and twice is not once, it is left in doubt; and one that was
/// started too often is given up. No event: there is nothing to execute (any more).
pub fn start_tool(run: &Run, turn: u32, call_id: &str, now: Timestamp) -> Vec<RunEvent> {
    let Some(step) = executable(run, turn, call_id) else {
        return vec![];
    };
    let pin = run.pin(&step.call.name);
    match &step.phase {
        ToolPhase::Ready { .. } => match &step.grant {
            Some(grant) if !grant.covers_call_at(now) => {
                let lapsed = ReservationLapsed {
                    turn,
                    call_id: Some(call_id.to_owned()),
                    reservation_id: grant.reservation_id,
                };
                return vec![lapsed.into()];
            }
            _ => {
                if let Some(done) = earlier(run, step, turn) {
                    return vec![done.into()];
                }
            }
        },
        // It may have taken effect: it is never started as if it had not, whatever is held.
        ToolPhase::Started { .. }
            if !pin.is_some_and(|pin| pin.twice_is_once(&step.call.name, &step.call.arguments)) =>
        {
            let message = "whoever executed it died, or was cut off, before its outcome was \
                           recorded";
            return leave_in_doubt(run, turn, call_id, message, now);
        }
        ToolPhase::Started { attempts, at } if *attempts >= MOST_ATTEMPTS => {
            let failed = ToolFailed {
                turn,
                call_id: call_id.to_owned(),
                code: "gave_up".to_owned(),
                message: format!("it was started {attempts} times and never came to an end"),
                duration_ms: now.millis_since(*at),
            };
            return vec![failed.into()];
        }
        ToolPhase::Started { .. } => {}
        ToolPhase::Judge
        | ToolPhase::Approve
        | ToolPhase::Reserve { .. }
        | ToolPhase::InDoubt
        | ToolPhase::Done(_) => return vec![],
    }
    let started = ToolStarted {
        turn,
        call_id: call_id.to_owned(),
        tool: step.call.name.clone(),
        version: pin.map(|pin| pin.version.clone()).unwrap_or_default(),
        attempt: step.attempts + 1,
    };
    vec![started.into()]
}

/// Records the outcome of a call that was started; a second outcome is dropped. So is one that comes
/// after the call was left in doubt ([`super::alive_after_all`] says it in another way).
pub fn record_tool(run: &Run, outcome: ToolOutcome) -> Vec<RunEvent> {
    let (turn, call_id) = match &outcome {
        ToolOutcome::Completed(done) => (done.turn, &done.call_id),
        ToolOutcome::Failed(failed) => (failed.turn, &failed.call_id),
    };
    match executable(run, turn, call_id).map(|step| &step.phase) {
        Some(ToolPhase::Started { .. } | ToolPhase::Ready { .. }) => match outcome {
            ToolOutcome::Completed(done) => vec![done.into()],
            ToolOutcome::Failed(failed) => failure(run, failed),
        },
        _ => vec![],
    }
}

/// The failure, and the end of a run whose model does not learn.
fn failure(run: &Run, failed: ToolFailed) -> Vec<RunEvent> {
    let ends = is_last(run, &failed.call_id)
        .then(|| too_many(run, failed.turn, [failed.code.as_str()]))
        .flatten();
    std::iter::once(failed.into()).chain(ends).collect()
}

pub(super) fn executable<'a>(run: &'a Run, turn: u32, call_id: &str) -> Option<&'a ToolStep> {
    if run.status.is_terminal() {
        None
    } else {
        run.tool_step(turn, call_id)
    }
}
