//! A model that calls tools wrongly is told what is wrong and may correct itself, so often in a row
//! and no more: each try costs a model call, and one that has not learned it by then does not.

use super::{Run, RunEvent, RunFailed, ToolPhase};

/// How often in a row a model may correct itself. Wrong calls of one turn are one mistake.
pub const MOST_CORRECTIONS: u32 = 3;

/// Whether a failure of this code is the model's mistake.
pub(super) fn is_invalid_call(code: &str) -> bool {
    matches!(code, "bad_arguments" | "unknown_tool")
}

/// The end of a run whose turn is over with these failures, if it has made too many mistakes in a
/// row.
pub(super) fn too_many<'a>(
    run: &Run,
    turn: u32,
    codes: impl IntoIterator<Item = &'a str>,
) -> Option<RunEvent> {
    let wrong_now = codes.into_iter().any(is_invalid_call);
    let counted = run.invalid_turns.last == turn;
    let count = run.invalid_turns.count + u32::from(wrong_now && !counted);
    if count <= MOST_CORRECTIONS || !(wrong_now || counted) {
        return None;
    }
    let message = format!(
        "the model called tools wrongly in {count} turns in a row; it may correct itself \
         {MOST_CORRECTIONS} times"
    );
    let code = "invalid_tool_calls".to_owned();
    Some(RunFailed { code, message }.into())
}

/// Whether every other call of the turn has its outcome.
pub(super) fn is_last(run: &Run, call_id: &str) -> bool {
    match &run.step {
        super::Step::Tools { calls, .. } => (calls.iter())
            .filter(|step| step.call.id != call_id)
            .all(|step| matches!(step.phase, ToolPhase::Done(_))),
        _ => false,
    }
}
