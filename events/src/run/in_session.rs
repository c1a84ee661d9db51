//! What a run records of its place in its session's queue.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PreviousRun, Run};
use crate::ids::RunId;

/// A place in a session's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InQueue {
    /// Sequence of the session's commit that put the run there: who has a lower one goes before.
    pub seq: u64,
}

/// Its turn has come in its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunDequeued {
    /// The run before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousRun>,
    /// Others wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaited: bool,
}

/// Another run of its session waits for its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunAwaited {}

/// Another run takes its place, as if it had never been: it is no part of the conversation any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTakenBack {
    /// The run that takes its place.
    pub by: RunId,
}

/// What a run that follows this one keeps of it; none where it never began.
pub fn previous(run: &Run) -> Option<PreviousRun> {
    run.started.as_ref().map(|started| PreviousRun {
        run_id: started.event.run_id,
        first_seq: started.first_seq,
        context_tokens: run.context_tokens(),
    })
}
