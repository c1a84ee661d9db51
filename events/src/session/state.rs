//! A session's state.

use super::event::{SessionEvent, SessionOpened};
use crate::aggregate::{Aggregate, AggregateKind, Position};
use crate::ids::RunId;
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
                self.last = Some(LastRun {
                    run_id: attached.run_id,
                    previous: attached.previous,
                    attached_seq: at.seq,
                    attached_at: at.time,
                });
            }
            SessionEvent::SessionClosed(_) => self.closed = true,
        }
    }
}
