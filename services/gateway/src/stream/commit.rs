//! A commit and a fragment as several listeners get them: looked at, decoded, and written for each
//! [`Encoding`] once, by whoever needs it first. What a listener is given, and in which order, its own
//! pump decides.

use std::sync::{Arc, OnceLock};

use async_nats::Message;
use bytes::Bytes;
use nexus_bus::objects::Objects;
use nexus_bus::read::Stored;
use nexus_events::aggregate::DecodeError;
use nexus_events::{Tenant, subject};
use serde::Deserialize;

use super::encoding::Encoding;
use super::merge::Item;
use super::record::EventRecord;
use super::{bodies, record};

/// A commit of the log.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) seq: u64,
    /// What it happened to, where readers are to be told.
    aggregate: Option<String>,
    body: Bytes,
    events: OnceLock<Result<Vec<Shown>, DecodeError>>,
}

impl Commit {
    /// A commit in a stream of one run.
    pub(crate) fn new(seq: u64, body: Bytes) -> Self {
        Self {
            seq,
            aggregate: None,
            body,
            events: OnceLock::new(),
        }
    }

    /// A commit in a stream of more than one aggregate: its events say what they happened to.
    pub(crate) fn of_many(stored: Stored) -> Self {
        Self {
            aggregate: subject::aggregate_of(&stored.subject),
            ..Self::new(stored.seq, stored.body)
        }
    }

    /// Its length, as it was recorded.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Its events, in order.
    ///
    /// # Errors
    /// [`DecodeError`]: it is no commit.
    pub(crate) fn events(&self) -> Result<&[Shown], &DecodeError> {
        let events = self.events.get_or_init(|| {
            let records = record::events(self.seq, &self.body)?;
            let shown = records.into_iter().map(|mut record| {
                record.aggregate.clone_from(&self.aggregate);
                Shown {
                    record,
                    written: Written::default(),
                }
            });
            Ok(shown.collect())
        });
        events.as_deref()
    }
}

/// A commit of one run, looked at no closer than following it needs.
///
/// # Errors
/// [`DecodeError`]: it is no commit.
pub(crate) fn item(seq: u64, body: Bytes) -> Result<Item<Arc<Commit>>, DecodeError> {
    let item = record::item(seq, body)?;
    Ok(Item {
        seq,
        terminal: item.terminal,
        answered_turn: item.answered_turn,
        bytes: item.bytes,
        body: Arc::new(Commit::new(seq, item.body)),
    })
}

/// An event, and what it looks like to readers once somebody wanted it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) record: EventRecord,
    written: Written,
}

impl Shown {
    /// The event as it goes to a reader. One that refers to a text is looked at for each reader: the
    /// text may be there for the next one.
    pub(crate) async fn frame(
        &self,
        objects: &Objects,
        tenant: &Tenant,
        encoding: Encoding,
    ) -> Option<Bytes> {
        if bodies::refers(&self.record) {
            let mut record = self.record.clone();
            bodies::resolve(objects, tenant, &mut record).await;
            return encoding.event(&record);
        }
        self.written.get(encoding, || encoding.event(&self.record))
    }
}

/// Something as it goes to readers.
#[derive(Debug, Default)]
struct Written {
    sse: OnceLock<Option<Bytes>>,
    socket: OnceLock<Option<Bytes>>,
}

impl Written {
    fn get(&self, encoding: Encoding, write: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let written = match encoding {
            Encoding::Sse => &self.sse,
            Encoding::Socket => &self.socket,
        };
        written.get_or_init(write).clone()
    }
}

/// A commit as the stream told of it.
#[derive(Debug)]
pub(crate) struct Live {
    seq: u64,
    /// The sequence of the commit before it on its subject; 0 where it is the first.
    pub(crate) previous: u64,
    body: Bytes,
    item: OnceLock<Result<Item<Arc<Commit>>, DecodeError>>,
}

impl Live {
    /// Reads what was heard. Without a place it was not the stream that published it.
    pub(crate) fn of(message: Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let number = |name: &str| -> Option<u64> { headers.get(name)?.as_str().parse().ok() };
        Some(Self {
            seq: number("Nats-Sequence")?,
            previous: number("Nats-Last-Sequence")?,
            body: message.payload,
            item: OnceLock::new(),
        })
    }

    /// The commit, of one run.
    ///
    /// # Errors
    /// Its sequence and why it is no commit.
    pub(crate) fn item(&self) -> Result<Item<Arc<Commit>>, (u64, &DecodeError)> {
        let item = self.item.get_or_init(|| item(self.seq, self.body.clone()));
        item.as_ref().cloned().map_err(|error| (self.seq, error))
    }
}

/// A fragment of an answer.
#[derive(Debug)]
pub(crate) struct Delta {
    /// The turn whose answer it is a part of.
    pub(crate) turn: u32,
    body: Bytes,
    written: Written,
}

impl Delta {
    /// Reads what was heard. Whoever may publish for the tenant may publish nonsense here.
    pub(crate) fn of(message: Message) -> Option<Self> {
        #[derive(Deserialize)]
        struct OfTurn {
            turn: u32,
        }
        let OfTurn { turn } = serde_json::from_slice(&message.payload).ok()?;
        Some(Self {
            turn,
            body: message.payload,
            written: Written::default(),
        })
    }

    /// Its length, as it was published.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The fragment as it goes to a reader.
    pub(crate) fn frame(&self, encoding: Encoding) -> Option<Bytes> {
        let write = || encoding.delta(&String::from_utf8_lossy(&self.body));
        self.written.get(encoding, write)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn paused() -> Bytes {
        let event = serde_json::json!([{
            "time": "2026-11-22T13:16:17.328Z", "type": "nexus.run.paused.v1",
            "data": { "reason": "why" }, "causationid": "c",
        }]);
        event.to_string().into()
    }

    #[test]
    fn what_one_listener_decoded_and_wrote_the_next_is_given() {
        let commit = Commit::new(7, paused());
        let (first, second) = (commit.events().unwrap(), commit.events().unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr(), "decoded once");
        let write = |encoding: Encoding| {
            let shown = &commit.events().unwrap()[0];
            shown
                .written
                .get(encoding, || encoding.event(&shown.record))
                .unwrap()
        };
        let (one, two) = (write(Encoding::Sse), write(Encoding::Sse));
        assert_eq!(one.as_ptr(), two.as_ptr(), "the same bytes in memory");
        assert_ne!(one, write(Encoding::Socket), "each encoding has its own");
    }

    #[test]
    fn nonsense_is_told_to_everybody_as_such() {
        let commit = Commit::new(7, Bytes::from_static(b"{"));
        assert!(commit.events().is_err() && commit.events().is_err());
        let live = Live {
            seq: 7,
            previous: 6,
            body: Bytes::from_static(b"{"),
            item: OnceLock::new(),
        };
        assert_eq!(live.item().unwrap_err().0, 7);
    }
}
