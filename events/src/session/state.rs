//! A session's state.

use std::collections::VecDeque;

use super::event::{SessionEvent, SessionOpened};
use crate::aggregate::{Aggregate, AggregateKind, Position};
use crate::ids::{RunId, SessionId};
use crate::run::PreviousRun;
use crate::time::Timestamp;

/// The state of one conversation.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// How it began; none before it did.
    pub opened: Option<SessionOpened>,
    /// It takes no further runs.
    pub closed: bool,
    /// The run that joined last.
    pub last: Option<LastRun>,
    /// The run that joined before that one.
    pub before: Option<RunId>,
    /// The runs that wait to join, in the order in which they came.
    pub queue: VecDeque<QueuedRun>,
}

/// A run that waits to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedRun {
    /// The run.
    pub run_id: RunId,
    /// A sequence before its first commit, which gives it its place too.
    pub seq: u64,
}

/// Where a run is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It joined last.
    Joined(LastRun),
    /// It waits to join.
    Queued(QueuedRun),
}

impl Session {
    /// Where a run is, unless it is not here, or others have joined after it.
    pub fn place(&self, run_id: RunId) -> Option<Place> {
        if let Some(last) = self.last.filter(|last| last.run_id == run_id) {
            return Some(Place::Joined(last));
        }
        let queued = self.queue.iter().find(|queued| queued.run_id == run_id);
        queued.copied().map(Place::Queued)
    }

    /// The newest run, though it may still wait; none where the only one is that which the session is
    /// named after.
    pub fn newest(&self) -> Option<RunId> {
        let waiting = self.queue.back().map(|queued| queued.run_id);
        waiting.or(self.last.map(|last| last.run_id))
    }

    /// The run that joined last, and the one before it, where the session is `id`: the ones that a
    /// command can have cancelled which wanted to join.
    pub fn latest(&self, id: SessionId) -> Vec<RunId> {
        let own = RunId::new(id.uuid());
        match self.last {
            Some(last) => vec![last.run_id, self.before.unwrap_or(own)],
            None => vec![own],
        }
    }

    fn forget(&mut self, run_id: RunId) {
        self.queue.retain(|queued| queued.run_id != run_id);
    }
}

/// The run that joined last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// The run.
    pub run_id: RunId,
    /// The run before it.
    pub previous: Option<PreviousRun>,
    /// A sequence before its first commit: where to begin looking for it.
    pub attached_seq: u64,
    /// When it joined.
    pub attached_at: Timestamp,
}

impl Aggregate for Session {
    const KIND: AggregateKind = AggregateKind::Session;
    type Event = SessionEvent;

    fn evolve(&mut self, event: &SessionEvent, at: Position) {
        match event {
            SessionEvent::SessionOpened(opened) => self.opened = Some(opened.clone()),
            SessionEvent::SessionRunAttached(attached) => {
                let queued = self.queue.iter().find(|run| run.run_id == attached.run_id);
                let first = queued.map_or(at.seq, |queued| queued.seq);
                self.forget(attached.run_id);
                self.before = self.last.map(|last| last.run_id);
                self.last = Some(LastRun {
                    run_id: attached.run_id,
                    previous: attached.previous,
                    attached_seq: first,
                    attached_at: at.time,
                });
            }
            SessionEvent::SessionRunQueued(queued) => self.queue.push_back(QueuedRun {
                run_id: queued.run_id,
                seq: at.seq,
            }),
            SessionEvent::SessionRunLeft(left) => self.forget(left.run_id),
            SessionEvent::SessionClosed(_) => self.closed = true,
        }
    }
}
