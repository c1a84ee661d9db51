//! Several subjects of the event log as one, in the order of the log: those of a session and its
//! runs, or all of a tenant's. What comes live only says that there is more; what readers get is read
//! from the log, so that nothing can be missed or doubled, and no more is read than the reader takes.
//! What one reader has read the others find in the subject's [`Tail`](super::tail::Tail). A consumer
//! on the server for each reader was the alternative: it costs the server memory for as long as
//! somebody listens, and reads ahead of a reader that is slow.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::SubscribeError;
use nexus_bus::{Bus, ReadError};

use super::commit::{Commit, Live};
use super::heard::{LogHubs, LogSeat};
use super::history;
use super::hub::{Ears, Heard, Mouth, queue};
use super::tail::Place;

/// Commits that are read ahead, of all subjects together.
const AHEAD: usize = 32;
/// Hints that may wait: one that finds no room is all that is needed to look everywhere.
const HINTS: usize = 1_024;

/// One subject.
struct Source {
    subject: String,
    seat: LogSeat,
    next: u64,
    /// What was heard of it.
    wanted: u64,
    /// There may be more than was read.
    more: bool,
    read: VecDeque<Arc<Commit>>,
}

/// See the module.
pub(crate) struct Feed {
    sources: Vec<Source>,
    mouth: Mouth<Live>,
}

/// Where a feed's hints come.
pub(crate) type Hints = Ears<Live>;

impl Feed {
    /// A feed of nothing yet, and its hints.
    pub(crate) fn new() -> (Self, Hints) {
        let (mouth, hints) = queue(HINTS);
        let sources = vec![];
        (Self { sources, mouth }, hints)
    }

    /// Adds a subject from a sequence on, and its twin on which it is told live; one that is there
    /// already is no other. First it listens, then it reads: in between nothing is missed.
    ///
    /// # Errors
    /// [`SubscribeError`]: the connection is closed.
    pub(crate) async fn add(
        &mut self,
        bus: &Bus,
        hubs: &Arc<LogHubs>,
        (subject, told): (String, String),
        from: u64,
    ) -> Result<(), SubscribeError> {
        if self.sources.iter().any(|known| known.subject == subject) {
            return Ok(());
        }
        let (mark, mouth) = (self.sources.len(), self.mouth.clone());
        let seat = hubs.join(bus.client(), told, mark, mouth).await?;
        self.sources.push(Source {
            subject,
            next: from.max(1),
            wanted: seat.heard(),
            seat,
            more: true,
            read: VecDeque::new(),
        });
        Ok(())
    }

    pub(crate) fn subjects(&self) -> usize {
        self.sources.len()
    }

    /// Something was recorded.
    pub(crate) fn hint(&mut self, heard: &Heard<Live>) {
        if let Some(source) = self.sources.get_mut(heard.mark) {
            source.wanted = source.wanted.max(heard.told.number);
            source.more = true;
        }
        if heard.missed {
            self.look_everywhere();
        }
    }

    /// Something may have been recorded that nobody told of.
    pub(crate) fn look_everywhere(&mut self) {
        for source in &mut self.sources {
            source.wanted = source.seat.count();
            source.more = true;
        }
    }

    /// Whether [`Self::next`] has something to do.
    pub(crate) fn is_behind(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.more || !source.read.is_empty())
    }

    /// The next commit; none when there is no more for now.
    pub(crate) async fn next(&mut self, bus: &Bus) -> Result<Option<Arc<Commit>>, ReadError> {
        let limit = (AHEAD / self.sources.len().max(1)).max(1);
        for source in &mut self.sources {
            // What one subject has cannot be given before it is known what the others have.
            while source.more && source.read.is_empty() {
                source.read_on(bus, limit).await?;
            }
        }
        let head = |source: &Source| source.read.front().map(|commit| commit.seq);
        let first = self
            .sources
            .iter_mut()
            .filter(|source| head(source).is_some());
        let first = first.min_by_key(|source| head(source));
        Ok(first.and_then(|source| source.read.pop_front()))
    }
}

impl Source {
    async fn read_on(&mut self, bus: &Bus, limit: usize) -> Result<(), ReadError> {
        let place = Place {
            next: self.next,
            wanted: self.wanted,
            limit,
        };
        let read = |from: u64, limit: usize| {
            let (bus, subject) = (bus.clone(), self.subject.clone());
            async move { history::pages_of(&bus, &subject, from, limit).await }
        };
        let heard = || self.seat.heard();
        let given = self.seat.kept.next(place, heard, read).await?;
        self.more = given.more;
        if let Some(last) = given.commits.last() {
            self.next = last.seq + 1;
        }
        self.read.extend(given.commits);
        Ok(())
    }
}
