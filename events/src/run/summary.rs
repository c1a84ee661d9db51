//! A conversation that outgrows its model: what is oldest is summarised by a model call of the run's
//! own, judged and reserved for like any other, and the summary takes its place in what the model is
//! told. The log keeps what was said.
//!
//! To leave the oldest out without a word was the alternative: cheaper, and the model contradicts
//! what it promised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LlmCompleted, Run, RunEvent, RunFailed};
use crate::body::Body;
use crate::ids::RunId;

/// Summaries of one turn. Each covers more than the one before, a piece of at most what its model can
/// read at once.
pub const MOST_SUMMARIES: u32 = 8;

/// The oldest part of the conversation was summarised, instead of a turn's answer; the turn's call
/// follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContextSummarised {
    /// The call; its text is the summary.
    pub call: LlmCompleted,
    /// How far it goes.
    pub upto: Upto,
    /// For how many messages it stands, those of earlier summaries not counted again.
    pub messages: u32,
    /// Bound on the tokens of what the model is told next, but for its answer.
    pub context_tokens: u64,
}

/// A place in a conversation: everything before it, in earlier runs too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upto {
    /// The run.
    pub run_id: RunId,
    /// Messages of that run, those that its caller brought first.
    pub messages: u32,
}

/// What stands for the oldest part of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// In words.
    pub text: Body,
    /// How far it goes.
    pub upto: Upto,
}

/// Records a summary, and the run's end where a turn made too many: what is left is too long all the
/// same.
pub(super) fn summarised(run: &Run, done: ContextSummarised) -> Vec<RunEvent> {
    let too_many = (run.summaries + 1 > MOST_SUMMARIES).then(|| RunFailed {
        code: "context_too_long".to_owned(),
        message: format!(
            "the conversation is longer than model {} can read, also after {MOST_SUMMARIES} \
             summaries; start a new session, or use a model with more context",
            run.model
        ),
    });
    std::iter::once(RunEvent::from(done))
        .chain(too_many.map(RunEvent::from))
        .collect()
}
