//! One conversation: its runs in order, its budget and what policy is told of it.
//!
//! A run that names no session opens its own, whose id is the run's; the session's log begins when
//! a second run joins it. Most runs are alone, and pay nothing for the possibility.

mod busy;
mod decide;
mod event;
mod queue;
mod state;

pub use busy::OnBusy;
pub use decide::{Attach, attach, close, open};
pub use event::{
    SessionClosed, SessionEvent, SessionOpened, SessionRunAttached, SessionRunLeft,
    SessionRunQueued,
};
pub use queue::{JOINING_AT_MOST_MS, MOST_QUEUED, Next, begin, leave, next};
pub use state::{LastRun, Place, QueuedRun, Session};

#[cfg(test)]
mod tests;
