//! What a caller brings to the store: what it knows of an aggregate, and why it decides.

use nexus_events::command::RunRef;
use nexus_events::{Actor, CommandEnvelope, CommandId, RunId, Timestamp};

use crate::trace;

/// What the caller knows of an aggregate before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadHint {
    /// Sequence of its first commit; 0: not known, it is searched from the start of the stream. A
    /// wrong one is noticed and costs a second read.
    pub first_seq: u64,
    /// The state must include this sequence, of a commit of this aggregate; 0: whatever is cached.
    pub at_least: u64,
    /// It probably does not exist yet, so that the first append may tell instead of a read.
    pub absent: bool,
}

impl ReadHint {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        first_seq: 0,
        at_least: 0,
        absent: false,
    };
    /// It probably does not exist yet.
    pub const ABSENT: Self = Self {
        first_seq: 0,
        at_least: 0,
        absent: true,
    };

    /// It begins at `first_seq` and has come to `at_least`.
    pub const fn between(first_seq: u64, at_least: u64) -> Self {
        Self {
            first_seq,
            at_least,
            absent: false,
        }
    }
}

impl From<RunRef> for ReadHint {
    fn from(run: RunRef) -> Self {
        Self::between(run.first_seq, run.last_seq)
    }
}

/// Why something is decided, and when: what its commit says of its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// The command. A commit's id derives from it, so one that stands for several commands must
    /// have an id of its own that derives from all of theirs.
    pub command_id: CommandId,
    /// The run that it belongs to.
    pub correlation: Option<RunId>,
    /// W3C trace context that goes into the commit.
    pub traceparent: Option<String>,
    /// Who acts.
    pub actor: Option<Actor>,
    /// The time of the decision.
    pub now: Timestamp,
    /// Who decides, such as `nexus/run`.
    pub source: &'static str,
}

impl Cause {
    /// A command that came off the bus.
    pub fn of(envelope: &CommandEnvelope, now: Timestamp, source: &'static str) -> Self {
        Self {
            command_id: envelope.id.clone(),
            correlation: envelope.correlation,
            traceparent: trace::outgoing(envelope.traceparent.as_deref()),
            // The platform's own commands act for nobody new.
            actor: (!envelope.actor.user.is_empty()).then(|| envelope.actor.clone()),
            now,
            source,
        }
    }
}
