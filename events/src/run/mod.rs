//! One agent run: turns of a model, the tools that it calls, and what each may spend.

mod approval;
mod control;
mod event;
mod evolve;
mod model_call;
mod policy;
mod react;
mod reserve;
mod start;
mod state;
mod tool_call;

pub use approval::{asked_too_often, decide_approval, escalate_approval, expire_approval, subject_of};
pub use control::{cancel, pause, resume, signal};
pub use event::*;
pub use model_call::{ModelOutcome, record_model};
pub use policy::record_policy;
pub use react::react;
pub use reserve::{
    Granted, Reserved, UnknownModel, ask, end_of_time, inherit, record_lapse, record_reservation,
    scopes_of,
};
pub(crate) use start::check_labels;
pub use start::{NewRun, StartLimits, start, validate};
pub use state::{
    Answered, Approved, Pending,Entry, Run, Settling, Started, Status, Step, ToolPhase, ToolStep, reservation_id};
pub use tool_call::{ToolOutcome, record_tool, start_tool};

use crate::error::DomainError;

/// Bytes that instructions and tool descriptions add to every prompt of a run.
fn prompt_overhead_bytes(agent: &AgentRef, tools: &[String]) -> u64 {
    let instructions = crate::agent::pinned(&agent.name, &agent.version)
        .map_or(0, |agent| agent.instructions.len());
    let described: usize = tools
        .iter()
        .filter_map(|name| crate::tool::get(name))
        // A tool's JSON, and what chat templates write around it.
        .map(|tool| serde_json::to_string(&tool.spec()).map_or(0, |json| json.len()) + 64)
        .sum();
    let template = if tools.is_empty() { 32 } else { 512 };
    (instructions + described + template) as u64
}

fn wrong_state(run: &Run, action: &'static str) -> DomainError {
    let id = run
        .info()
        .map(|info| info.run_id.to_string())
        .unwrap_or_default();
    let state = match run.status {
        Status::Unborn => return DomainError::NotFound { what: "run", id },
        _ if run.paused && !run.status.is_terminal() => "paused",
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    };
    DomainError::WrongState {
        what: "run",
        id,
        state: state.to_owned(),
        action,
    }
}

#[cfg(test)]
mod tests;
