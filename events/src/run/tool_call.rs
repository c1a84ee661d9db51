//! Tool calls: started on the log before they take effect, recorded once.

use super::{Run, RunEvent, ToolCompleted, ToolFailed, ToolPhase, ToolStarted};

/// What a tool gave.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolOutcome {
    /// A result.
    Completed(ToolCompleted),
    /// An error that the model is told.
    Failed(ToolFailed),
}

/// Records that the tool is about to take effect. No event: there is nothing to execute (any more).
pub fn start_tool(run: &Run, turn: u32, call_id: &str, version: &str) -> Vec<RunEvent> {
    let Some(step) = executable(run, turn, call_id) else {
        return vec![];
    };
    let attempt = match &step.phase {
        ToolPhase::Ready { .. } => 1,
        ToolPhase::Started { attempts } => attempts + 1,
        ToolPhase::Judge | ToolPhase::Done(_) => return vec![],
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
