//! A call that was started and has no outcome, of a tool for which twice is not once: it is never
//! executed again by itself. It waits on the run's own log for a person to say what became of it, or
//! its worker, if that was not dead after all.

use super::tool_call::executable;
use super::{
    MOST_ATTEMPTS, Resolution, Run, RunEvent, ToolInDoubt, ToolOutcome, ToolPhase, ToolResolved,
    ToolStep, wrong_state,
};
use crate::body::Body;
use crate::command::ResolveTool;
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::policy::OnDoubt;
use crate::time::Timestamp;

/// Characters of a reason.
const MOST_REASON_CHARS: usize = 1_000;

/// Leaves a started call in doubt; where policy said beforehand what becomes of such a call, that is
/// what becomes of it. No event: it has an outcome, or was not started.
pub fn leave_in_doubt(
    run: &Run,
    turn: u32,
    call_id: &str,
    message: &str,
    now: Timestamp,
) -> Vec<RunEvent> {
    let Some(step) = executable(run, turn, call_id) else {
        return vec![];
    };
    let ToolPhase::Started { attempts, at } = step.phase else {
        return vec![];
    };
    // It was told to stop when its time was over, whenever that was noticed.
    let held = step.grant.as_ref().map(|grant| grant.amounts.time_ms);
    let duration_ms = now.millis_since(at).min(held.unwrap_or(u64::MAX));
    let doubt = ToolInDoubt {
        turn,
        call_id: call_id.to_owned(),
        tool: step.call.name.clone(),
        attempt: attempts,
        message: message.to_owned(),
        duration_ms,
    };
    let word = by_policy(step, turn, attempts);
    std::iter::once(doubt.into())
        .chain(word.map(RunEvent::from))
        .collect()
}

/// Who says what became of a call where policy said it beforehand.
pub const POLICY: &str = "policy";

/// What policy obliged to when it allowed the call. It is tried again only so often; then people are
/// asked after all.
fn by_policy(step: &ToolStep, turn: u32, attempts: u32) -> Option<ToolResolved> {
    let (resolution, reason) = match step.duties.on_doubt? {
        OnDoubt::Failed => (
            Resolution::Failed,
            "it was broken off, and whether it took effect is not known",
        ),
        OnDoubt::Retry if attempts < MOST_ATTEMPTS => (
            Resolution::Retry,
            "policy said so when it allowed the call: on_doubt",
        ),
        OnDoubt::Retry => return None,
    };
    Some(ToolResolved {
        turn,
        call_id: step.call.id.clone(),
        resolution,
        output: None,
        tokens: None,
        by: POLICY.to_owned(),
        reason: Some(reason.to_owned()),
    })
}

/// Who says what became of a call where its own worker was not dead after all.
pub const WORKER: &str = "tool-worker";

/// What a worker says whose call was left in doubt meanwhile. It is a command of its own: the one
/// that the worker holds may have been acknowledged by whoever left the call in doubt, and would not
/// come again if this worker died between recording the outcome and what it makes due. None: the
/// call is not in doubt.
pub fn alive_after_all(run: &Run, outcome: &ToolOutcome) -> Option<ResolveTool> {
    let (turn, call_id) = match outcome {
        ToolOutcome::Completed(done) => (done.turn, &done.call_id),
        ToolOutcome::Failed(failed) => (failed.turn, &failed.call_id),
    };
    let step = executable(run, turn, call_id).filter(|step| step.phase == ToolPhase::InDoubt)?;
    let (resolution, output, reason) = match outcome {
        ToolOutcome::Completed(done) => {
            let output = serde_json::from_str(done.output.inline()?).ok()?;
            let reason = "its worker was alive after all";
            (Resolution::Done, Some(output), reason.to_owned())
        }
        ToolOutcome::Failed(failed) => (Resolution::Failed, None, failed.message.clone()),
    };
    Some(ResolveTool {
        run_id: run.info()?.run_id,
        call_id: call_id.clone(),
        resolution,
        output,
        reason: Some(reason),
        attempt: Some(step.attempts),
    })
}

/// Takes a person's word on what became of a call; `output` is what the command brought, or where it
/// is, and `tokens` what it has.
///
/// # Errors
/// There is no such call, it is not in doubt (any more), or another start of it is; or a result is
/// missing, or given where none belongs.
pub fn resolve_tool(
    run: &Run,
    command: &ResolveTool,
    output: Option<Body>,
    tokens: Option<u64>,
    actor: &Actor,
) -> Result<Vec<RunEvent>, DomainError> {
    if run.status.is_terminal() || run.info().is_none() {
        return Err(wrong_state(run, "have a call resolved"));
    }
    let turn = run.turn;
    let call_id = &command.call_id;
    let Some(step) = run.tool_step(turn, call_id) else {
        return Err(DomainError::NotFound {
            what: "tool call",
            id: call_id.clone(),
        });
    };
    let refused = |state: &str| DomainError::WrongState {
        what: "tool call",
        id: call_id.clone(),
        state: state.to_owned(),
        action: "be resolved",
    };
    if step.phase != ToolPhase::InDoubt {
        return Err(refused(match &step.phase {
            ToolPhase::Done(_) => "done",
            ToolPhase::Started { .. } => "at work",
            _ => "not started",
        }));
    }
    if command.attempt.is_some_and(|seen| seen != step.attempts) {
        return Err(refused("in doubt for another start; look at it again"));
    }
    let done = command.resolution == Resolution::Done;
    if done != output.is_some() {
        let reason = "give the result with `done`, and only then";
        return Err(DomainError::invalid("output", reason));
    }
    let reason =
        (command.reason.as_ref()).map(|reason| reason.chars().take(MOST_REASON_CHARS).collect());
    let resolved = ToolResolved {
        turn,
        call_id: call_id.clone(),
        resolution: command.resolution,
        output,
        tokens,
        by: actor.user.clone(),
        reason,
    };
    Ok(vec![resolved.into()])
}
