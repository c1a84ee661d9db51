//! Several subjects of the event log as one, in the order of the log: those of a session and its
//! runs, or all of a tenant's. What comes live only says that there is more; what readers get is read
//! from the log, so that nothing can be missed or doubled, and no more is read than the reader takes.
//! A consumer on the server for each reader was the alternative: it costs the server memory for as
//! long as somebody listens, and reads ahead of a reader that is slow.

use std::collections::VecDeque;

use nexus_bus::read::Stored;
use nexus_bus::{Bus, ReadError};

use super::history;

/// Commits that are read ahead, of all subjects together.
const AHEAD: usize = 32;

/// One subject.
#[derive(Debug)]
struct Source {
    subject: String,
    next: u64,
    /// There may be more than was read.
    more: bool,
    read: VecDeque<Stored>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    sources: Vec<Source>,
}

impl Feed {
    /// Adds a subject from a sequence on; one that is there already is no other.
    pub(crate) fn add(&mut self, subject: String, from: u64) -> bool {
        let is_new = !self.sources.iter().any(|known| known.subject == subject);
        if is_new {
            self.sources.push(Source {
                subject,
                next: from.max(1),
                more: true,
                read: VecDeque::new(),
            });
        }
        is_new
    }

    pub(crate) fn subjects(&self) -> usize {
        self.sources.len()
    }

    /// Something was recorded on a subject: all where none is named.
    pub(crate) fn hint(&mut self, subject: Option<&str>) {
        for source in &mut self.sources {
            source.more |= subject.is_none_or(|subject| source.subject == subject);
        }
    }

    /// Whether [`Self::next`] has something to do.
    pub(crate) fn is_behind(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.more || !source.read.is_empty())
    }

    /// The next commit; none when there is no more for now.
    pub(crate) async fn next(&mut self, bus: &Bus) -> Result<Option<Stored>, ReadError> {
        let limit = (AHEAD / self.sources.len().max(1)).max(1);
        for source in &mut self.sources {
            // What one subject has cannot be given before it is known what the others have.
            while source.more && source.read.is_empty() {
                let page = history::pages_of(bus, &source.subject, source.next, limit).await?;
                source.more = page.next.is_some();
                if let Some(last) = page.commits.last() {
                    source.next = last.seq + 1;
                }
                source.read.extend(page.commits);
            }
        }
        let head = |source: &Source| source.read.front().map(|stored| stored.seq);
        let first = self
            .sources
            .iter_mut()
            .filter(|source| head(source).is_some());
        let first = first.min_by_key(|source| head(source));
        Ok(first.and_then(|source| source.read.pop_front()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_there_once_and_is_looked_at_when_something_came() {
        let mut feed = Feed::default();
        assert!(feed.add("a".to_owned(), 0) && feed.add("b".to_owned(), 7));
        assert!(!feed.add("a".to_owned(), 9));
        assert_eq!(feed.subjects(), 2);
        for source in &mut feed.sources {
            source.more = false;
        }
        feed.hint(Some("c"));
        assert!(!feed.is_behind());
        feed.hint(Some("b"));
        assert!(feed.is_behind() && !feed.sources[0].more);
        feed.hint(None);
        assert!(feed.sources[0].more);
    }
}
