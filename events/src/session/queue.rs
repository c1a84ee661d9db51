//! Runs that wait for those before them in their session. The session's log has their order; a run
//! that goes on learns that somebody waits (`RunAwaited`), and only then says so when it ends.
//!
//! Whoever looks after a queue asks [`next`] what is to be done, does it, and asks again until nothing
//! is left to do. It may be asked by anybody at any time: of two who do the same one finds it done. A
//! run that begins the next one by itself when it ends was the alternative: two logs that would have
//! to agree on who is next.

use super::{Session, SessionEvent, SessionRunAttached, SessionRunLeft};
use crate::error::DomainError;
use crate::ids::RunId;
use crate::run::{PreviousRun, Run, Status, previous};
use crate::time::Timestamp;

/// Runs that may wait in one session.
pub const MOST_QUEUED: usize = 64;

/// A run that joined and never began (its command went to the dead letters) blocks its session for
/// this long.
pub const JOINING_AT_MOST_MS: u64 = 60_000;

/// What is to be done for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: nobody waits.
    Rest,
    /// The run has joined and does not know it: it is to be told.
    Tell {
        /// The run.
        run_id: RunId,
        /// The run before it.
        previous: Option<PreviousRun>,
        /// Others wait for it.
        awaited: bool,
    },
    /// The run goes on: it is to say when it ends.
    Await(RunId),
    /// The run that joined has yet to begin.
    LookAgain,
    /// The first of those that wait may join.
    Join {
        /// The run.
        run_id: RunId,
        /// The run before it.
        previous: Option<PreviousRun>,
    },
    /// The session is closed: the first of those that wait is to be cancelled, and leaves.
    Cancel(RunId),
    /// The first of those that wait has ended: it leaves.
    Leave(RunId),
}

/// What is to be done. `last` is the run that joined last, or the one that the session is named after
/// where none did; `first` the first of those that wait.
pub fn next(session: &Session, last: &Run, first: &Run, now: Timestamp) -> Next {
    let joined = session.last;
    if let (Status::Queued, Some(joined)) = (last.status, joined) {
        return Next::Tell {
            run_id: joined.run_id,
            previous: joined.previous,
            awaited: !session.queue.is_empty(),
        };
    }
    let Some(waits) = session.queue.front() else {
        return Next::Rest;
    };
    let run_id = waits.run_id;
    if first.status.is_terminal() {
        return Next::Leave(run_id);
    }
    if session.closed {
        return Next::Cancel(run_id);
    }
    match (last.status, last.info()) {
        (Status::Unborn, _) => {
            let begins = joined
                .is_some_and(|joined| now.millis_since(joined.attached_at) < JOINING_AT_MOST_MS);
            if begins {
                return Next::LookAgain;
            }
        }
        (status, Some(info)) if !status.is_terminal() => return Next::Await(info.run_id),
        _ => {}
    }
    Next::Join {
        run_id,
        previous: follows(session, last),
    }
}

/// Whom a run follows that joins now. A run that never had its turn is no part of the conversation.
pub(super) fn follows(session: &Session, last: &Run) -> Option<PreviousRun> {
    match last.status == Status::Unborn || last.queued {
        true => session.last.and_then(|last| last.previous),
        false => previous(last),
    }
}

/// Lets the first of those that wait join. No event where somebody else did that, or the run before
/// it (`after`) is another by now.
pub fn begin(
    session: &Session,
    run_id: RunId,
    previous: Option<PreviousRun>,
    after: Option<RunId>,
) -> Vec<SessionEvent> {
    let is_first = (session.queue.front()).is_some_and(|queued| queued.run_id == run_id);
    let is_after = session.last.map(|last| last.run_id) == after;
    match is_first && is_after && !session.closed {
        true => vec![SessionRunAttached { run_id, previous }.into()],
        false => vec![],
    }
}

/// A run that waited leaves, since it ended. No event where it does not wait.
pub fn leave(session: &Session, run_id: RunId) -> Vec<SessionEvent> {
    let waits = session.queue.iter().any(|queued| queued.run_id == run_id);
    match waits {
        true => vec![SessionRunLeft { run_id }.into()],
        false => vec![],
    }
}

pub(super) fn full(session: String) -> DomainError {
    let most = MOST_QUEUED;
    DomainError::SessionQueueFull { session, most }
}
