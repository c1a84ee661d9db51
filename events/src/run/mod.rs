//! One agent run: turns of a model, the tools that it calls, and what each may spend.

mod approval;
mod control;
mod doubt;
mod embed;
mod event;
mod evolve;
mod failover;
mod given;
mod in_session;
mod invalid;
mod invoke;
mod model_call;
mod policy;
mod prompt;
mod react;
mod refused;
mod reserve;
mod reuse;
mod routing;
mod start;
mod state;
mod summary;
mod tool_call;

pub use approval::{
    asked_too_often, decide_approval, escalate_approval, expire_approval, subject_of,
};
pub use control::{cancel, dequeue, pause, resume, signal, take_back, wait_for};
pub use doubt::{POLICY, WORKER, alive_after_all, leave_in_doubt, resolve_tool};
pub use embed::{Embed, Embedding, TextsEmbedded, texts_text};
pub use event::*;
pub use failover::{FailedCall, MOST_CALLS, next_model};
pub use given::{context_text, specs_text};
pub use in_session::{InQueue, RunAwaited, RunDequeued, RunTakenBack, previous};
pub use invalid::MOST_CORRECTIONS;
pub use invoke::conclude;
pub use model_call::{ModelOutcome, record_model};
pub use policy::record_policy;
pub use prompt::{Prompt, brought, prompt};
pub use react::react;
pub use refused::{RefusedStart, refuse};
pub use reserve::{
    Granted, Reserved, UnknownModel, ask, end_of_time, inherit, record_lapse, record_reservation,
    scopes_of,
};
pub use reuse::call_digest;
pub use routing::{MOST_TOLD, RouteAttempt, Routing, SkippedEndpoint};
pub(crate) use start::check_labels;
pub use start::{Chosen, NewRun, StartLimits, choose, start, validate};
pub use state::{
    Answered, Approved, Entry, InvalidTurns, Pending, Reusable, Run, Settling, Started, Status,
    Step, Told, ToolPhase, ToolStep, reservation_id,
};
pub use summary::{ContextSummarised, MOST_SUMMARIES, Summary, Upto};
pub use tool_call::{MOST_ATTEMPTS, ToolOutcome, idempotency_key, record_tool, start_tool};

use crate::error::DomainError;

fn wrong_state(run: &Run, action: &'static str) -> DomainError {
    let id = run
        .info()
        .map(|info| info.run_id.to_string())
        .unwrap_or_default();
    let state = match run.status {
        Status::Unborn => return DomainError::NotFound { what: "run", id },
        _ if run.paused && !run.status.is_terminal() => "paused",
        Status::Queued => "queued",
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
pub(crate) mod testing;
#[cfg(test)]
mod tests;
