//! Batches from the feed: as many commits as are there, or as come within the linger.
//!
//! A projector that has just written waits a moment for more, as a transaction costs the same for
//! one commit as for hundreds; one that was idle writes at once, as nobody likes to wait for nobody.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ProjectorOptions;
use crate::batch::Batch;
use crate::source::{Feed, Item, chain};

/// A stretch of the log.
pub(super) struct Gathered {
    pub(super) batch: Batch,
    /// Commits that come after it.
    pub(super) pending: u64,
    /// Nothing can come after it.
    pub(super) stop: Option<Stop>,
}

/// A commit that cannot be read.
pub(super) struct Stop {
    /// Its sequence; 0 where it is the whole log that does not fit.
    pub(super) seq: u64,
    pub(super) reason: String,
}

pub(super) struct Gatherer {
    feed: Feed,
    events: usize,
    bytes: usize,
    linger: Duration,
    last: Instant,
}

impl Gatherer {
    pub(super) fn new(feed: Feed, options: &ProjectorOptions) -> Self {
        let &ProjectorOptions {
            batch_events,
            batch_bytes,
            linger,
            ..
        } = options;
        let last = Instant::now();
        Self {
            feed,
            events: batch_events,
            bytes: batch_bytes,
            linger,
            last,
        }
    }

    /// Waits for the next stretch. `alone`: of one commit. `bus` is told when the bus goes and comes.
    pub(super) async fn next(&mut self, alone: bool, bus: impl Fn(Option<String>)) -> Gathered {
        let mut out = Gathered {
            batch: Batch::default(),
            pending: 0,
            stop: None,
        };
        let busy_until = self.last + self.linger;
        while out.batch.commits() == 0 && out.stop.is_none() {
            let item = self.feed.next().await;
            out.take(item, &bus);
        }
        let now = Instant::now();
        let deadline = if now < busy_until {
            now + self.linger
        } else {
            now
        };
        while out.stop.is_none() && !alone && self.has_room(&out.batch) {
            let item = match self.feed.try_next() {
                Some(item) => Some(item),
                None => match timeout_at(deadline, self.feed.next()).await {
                    Ok(item) => item,
                    Err(_) => break,
                },
            };
            out.take(item, &bus);
        }
        out
    }

    /// A batch was written: what comes now may wait a moment for more.
    pub(super) fn written(&mut self) {
        self.last = Instant::now();
    }

    fn has_room(&self, batch: &Batch) -> bool {
        batch.events() < self.events && batch.bytes() < self.bytes
    }
}

impl Gathered {
    fn take(&mut self, item: Option<Item>, bus: &impl Fn(Option<String>)) {
        match item {
            Some(Item::Commit { commit, pending }) => {
                self.batch.apply(&commit);
                self.pending = pending;
            }
            Some(Item::Unreadable { seq, error }) => {
                let reason = format!("{}. Run a newer version of nexus", chain(&error));
                self.stop = Some(Stop { seq, reason });
            }
            Some(Item::OtherLog(reason)) => {
                self.stop = Some(Stop { seq: 0, reason });
            }
            Some(Item::Away(error)) => bus(Some(error)),
            Some(Item::Back) => bus(None),
            None => {
                let (seq, reason) = (0, "the log was closed".to_owned());
                self.stop = Some(Stop { seq, reason });
            }
        }
    }
}
