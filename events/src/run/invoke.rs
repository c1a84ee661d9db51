//! A run without a model: one call of one tool, under the same policy, budget and audit as any other
//! call. What becomes of the call becomes of the run.
//!
//! A command of its own that calls a tool beside all runs was the alternative: a second way to an
//! effect, which approvals, doubts and reservations would have to learn too.

use super::given::is_deep;
use super::{Resolution, Run, RunCompleted, RunEvent, RunFailed};
use crate::aggregate::{Aggregate, Position};
use crate::command::StartRun;
use crate::error::DomainError;
use crate::time::Timestamp;

/// They stand in the events themselves.
const MOST_ARGUMENT_BYTES: usize = 64 * 1024;
const MOST_DEPTH: usize = 64;

/// Checks a command that invokes a tool.
pub(super) fn check(command: &StartRun) -> Result<(), DomainError> {
    let Some(arguments) = &command.invoke else {
        return Ok(());
    };
    let refuse = |field: &str, reason: &str| Err(DomainError::invalid(field, reason));
    if command.tools.as_ref().map_or(0, Vec::len) != 1 {
        return refuse("tools", "name the one tool that is invoked");
    }
    if !arguments.is_object() || is_deep(arguments, MOST_DEPTH) {
        let reason = "it must be an object, nested at most 64 deep: the arguments";
        return refuse("invoke", reason);
    }
    if arguments.to_string().len() > MOST_ARGUMENT_BYTES {
        return refuse("invoke", "arguments may have 64 KiB");
    }
    let said = [
        ("input", !command.input.is_empty()),
        ("context", !command.context.is_empty()),
        ("client_tools", !command.client_tools.is_empty()),
        ("sampling", command.sampling.is_some()),
        ("model", command.model.is_some()),
        ("session_id", command.session_id.is_some()),
    ];
    match said.into_iter().find(|(_, is_said)| *is_said) {
        Some((field, _)) => refuse(field, "no model is called where a tool is invoked"),
        None => Ok(()),
    }
}

/// Adds the end of the run to what was decided, where that is the outcome of its one call. Nothing is
/// added to other runs.
#[must_use]
pub fn conclude(run: &Run, mut events: Vec<RunEvent>, now: Timestamp) -> Vec<RunEvent> {
    let is_open = !run.status.is_terminal() && !events.is_empty();
    if !is_open || !run.invokes() {
        return events;
    }
    let mut after = run.clone();
    for (event, index) in events.iter().zip(0..) {
        let at = Position {
            seq: 0,
            index,
            time: now,
        };
        after.evolve(event, at);
    }
    // A turn after its only one: the call has its outcome.
    if after.status.is_terminal() || after.turn <= run.turn {
        return events;
    }
    let end = match events.iter().rev().find_map(failure) {
        Some(failed) => failed.into(),
        None => RunCompleted {
            tokens: run.usage.total_tokens(),
            cost_usd_micros: run.cost_usd_micros,
            duration_ms: (run.started.as_ref()).map_or(0, |began| now.millis_since(began.at)),
            client_calls: vec![],
        }
        .into(),
    };
    events.push(end);
    events
}

/// How the call failed, if this is what an event says.
fn failure(event: &RunEvent) -> Option<RunFailed> {
    let failed = |code: &str, message: String| {
        Some(RunFailed {
            code: code.to_owned(),
            message,
        })
    };
    match event {
        RunEvent::ToolFailed(error) => failed(&error.code, error.message.clone()),
        RunEvent::ToolResolved(word) if word.resolution == Resolution::Failed => failed(
            "resolved_as_failed",
            (word.reason.clone()).unwrap_or_else(|| "it was resolved as failed".to_owned()),
        ),
        RunEvent::PolicyDecided(decided) if !decided.allowed => {
            let reasons = decided.reasons.join("; ");
            failed("policy_denied", format!("tool.call: {reasons}"))
        }
        RunEvent::ApprovalDenied(denied) => failed("approval_denied", denied.words()),
        RunEvent::ApprovalExpired(_) => {
            failed("approval_expired", "nobody approved it in time".to_owned())
        }
        _ => None,
    }
}
