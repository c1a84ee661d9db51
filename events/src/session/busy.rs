//! What a run gets that is started while another of its conversation goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run gets that is started while another of its conversation goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBusy {
    /// It is refused.
    #[default]
    Reject,
    /// It waits until the other has ended, and all that wait before it.
    Enqueue,
    /// The other is cancelled, and this one follows it: what was said is said.
    Interrupt,
    /// The other is cancelled and is no part of the conversation any more.
    Rollback,
}

impl OnBusy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reject, Self::Enqueue, Self::Interrupt, Self::Rollback];

    /// As in messages and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Enqueue => "enqueue",
            Self::Interrupt => "interrupt",
            Self::Rollback => "rollback",
        }
    }
}
