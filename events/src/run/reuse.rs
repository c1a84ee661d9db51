//! Identical calls of one run answered by the first one's result, where the tool says that this is as
//! good. They are judged like any other call, and settled with nothing spent.

use sha2::{Digest, Sha256};

use super::{Reusable, Run, Told, ToolCompleted, ToolStep};
use crate::run::EarlierCall;

/// Results that are kept; what comes after them is executed.
const MOST: usize = 256;

/// What makes two calls of a run identical: the tool, whose version the run keeps, the arguments, and
/// what policy leaves out of the result or says of secrets in it.
pub fn call_digest(step: &ToolStep) -> String {
    let (call, duties) = (&step.call, &step.duties);
    let call = (&call.name, &call.arguments, &duties.redact, duties.secrets);
    let text = serde_json::to_string(&call).unwrap_or_default();
    hex::encode(Sha256::digest(text))
}

/// The result of an identical call, for one that is about to be executed.
pub(super) fn earlier(run: &Run, step: &ToolStep, turn: u32) -> Option<ToolCompleted> {
    run.pin(&step.call.name).filter(|pin| pin.reuse_results)?;
    let found = run.reusable.get(&call_digest(step))?;
    Some(ToolCompleted {
        turn,
        call_id: step.call.id.clone(),
        output: found.told.text.clone(),
        duration_ms: 0,
        tokens: found.told.tokens,
        reused: Some(found.call.clone()),
    })
}

/// Keeps a result, where it may be reused.
pub(super) fn keep(run: &mut Run, done: &ToolCompleted) {
    let Some(step) = run.tool_step(done.turn, &done.call_id) else {
        return;
    };
    let reuses = run
        .pin(&step.call.name)
        .is_some_and(|pin| pin.reuse_results);
    if !reuses || run.reusable.len() >= MOST {
        return;
    }
    let digest = call_digest(step);
    run.reusable.entry(digest).or_insert_with(|| Reusable {
        call: EarlierCall {
            turn: done.turn,
            call_id: done.call_id.clone(),
        },
        told: Told {
            text: done.output.clone(),
            tokens: done.tokens,
        },
    });
}
