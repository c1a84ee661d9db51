//! `run.cancel`, `run.pause`, `run.resume`, `run.signal`: each idempotent where asking twice can
//! only mean the same thing, each refused in the wrong state.

use super::{
    PreviousRun, Run, RunAwaited, RunCancelled, RunDequeued, RunEvent, RunPaused, RunResumed,
    RunSignalled, RunTakenBack, Status, wrong_state,
};
use crate::body::Body;
use crate::error::DomainError;
use crate::ids::RunId;

/// Stops the run. What is being generated is charged by whoever generates it.
///
/// # Errors
/// The run does not exist, or has ended otherwise.
pub fn cancel(run: &Run, reason: Option<String>) -> Result<Vec<RunEvent>, DomainError> {
    match run.status {
        Status::Cancelled => Ok(vec![]),
        Status::Queued | Status::Pending | Status::Running => {
            Ok(vec![RunCancelled { reason }.into()])
        }
        Status::Unborn | Status::Completed | Status::Failed => {
            Err(wrong_state(run, "be cancelled"))
        }
    }
}

/// Stops the run as if it had never been, for one that takes its place.
///
/// # Errors
/// As [`cancel`].
pub fn take_back(run: &Run, reason: String, by: RunId) -> Result<Vec<RunEvent>, DomainError> {
    let mut events = cancel(run, Some(reason))?;
    if !events.is_empty() {
        events.insert(0, RunTakenBack { by }.into());
    }
    Ok(events)
}

/// Takes no further step. What is under way ends and is recorded.
///
/// # Errors
/// The run does not exist or has ended.
pub fn pause(run: &Run, reason: Option<String>) -> Result<Vec<RunEvent>, DomainError> {
    match run.status {
        Status::Pending | Status::Running if run.paused => Ok(vec![]),
        Status::Pending | Status::Running => Ok(vec![RunPaused { reason }.into()]),
        _ => Err(wrong_state(run, "be paused")),
    }
}

/// Goes on.
///
/// # Errors
/// The run does not exist, has ended, or is not paused.
pub fn resume(run: &Run, reason: Option<String>) -> Result<Vec<RunEvent>, DomainError> {
    match run.status {
        Status::Pending | Status::Running if run.paused => Ok(vec![RunResumed { reason }.into()]),
        _ => Err(wrong_state(run, "be resumed")),
    }
}

/// Tells the run something, with its tokens where they were counted; the model sees it at the next
/// turn.
///
/// # Errors
/// The run does not exist or has ended, or too much waits to be seen.
pub fn signal(run: &Run, input: Body, tokens: Option<u64>) -> Result<Vec<RunEvent>, DomainError> {
    const WAITING_AT_MOST: usize = 64;
    match run.status {
        Status::Pending | Status::Running if run.embeds() => Err(DomainError::invalid(
            "input",
            "nobody is talked to in a run that makes vectors",
        )),
        Status::Pending | Status::Running if run.signals.len() >= WAITING_AT_MOST => Err(
            DomainError::invalid("input", "64 messages wait already; let the run take a turn"),
        ),
        Status::Pending | Status::Running => Ok(vec![RunSignalled { input, tokens }.into()]),
        _ => Err(wrong_state(run, "be told anything")),
    }
}

/// Its turn has come in its session; again is no event.
pub fn dequeue(run: &Run, previous: Option<PreviousRun>, awaited: bool) -> Vec<RunEvent> {
    match run.status {
        Status::Queued => vec![RunDequeued { previous, awaited }.into()],
        _ => vec![],
    }
}

/// Another run of its session waits for its end; again is no event, nor where it has ended.
pub fn wait_for(run: &Run) -> Vec<RunEvent> {
    match run.status {
        Status::Unborn | Status::Completed | Status::Failed | Status::Cancelled => vec![],
        Status::Queued | Status::Pending | Status::Running if run.awaited => vec![],
        Status::Queued | Status::Pending | Status::Running => vec![RunAwaited {}.into()],
    }
}
