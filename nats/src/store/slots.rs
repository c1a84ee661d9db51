//! Where the snapshots of an aggregate lie: in two slots, so that one is whole while the other is
//! written. A slot is a head and chunks, as a state may be larger than a message. Whoever writes
//! claims the head first, against all others, and says last that the slot is whole: a crash in
//! between leaves a claim, which is void after a minute. One subject without slots lost, since the
//! first chunk of a new snapshot would break the only one that there is; so did the object store,
//! which keeps what is written for ever.

use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use nexus_events::{AggregateId, AggregateKind, Tenant, Timestamp, subject};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::connect::Bus;
use crate::js::{self, ApiError, WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_FLIGHT};
use crate::read::{self, ReadError};
use crate::topology::{EVENTS, SNAPSHOTS};

const FORMAT: u32 = 1;
const SLOTS: u8 = 2;
const PART_BYTES: usize = 512 * 1024;
/// 128 MiB in all.
const MOST_PARTS: usize = 256;
/// A slot that is claimed and not whole after this long was given up.
const CLAIM: Duration = Duration::from_secs(60);
/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    format: u32,
    /// Of the aggregate's snapshots.
    pub(super) version: u32,
    /// Sequence of the last commit that it covers.
    pub(super) seq: u64,
    parts: u32,
    digest: String,
    /// False from the claim until all chunks are there.
    whole: bool,
    /// Sequence of the claim: the chunks follow it, and what lies before is of an earlier snapshot.
    claim: u64,
}

/// The head of a slot as the stream has it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    number: u8,
    /// Sequence of the head's message; 0 where there is none.
    at: u64,
    time: Timestamp,
    /// Nothing where it is empty, or cannot be read.
    head: Option<Head>,
}

impl Slot {
    /// The snapshot that it holds, if that is whole.
    pub(super) fn whole(&self) -> Option<&Head> {
        self.head.as_ref().filter(|head| head.whole)
    }
}

/// A snapshot that was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
    #[error("{bytes} bytes are more than a snapshot may have")]
    TooLarge { bytes: usize },
    #[error("another process writes one")]
    Claimed,
    #[error("another process wrote a later one, up to {seq}")]
    Overtaken { seq: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{subject} was not taken")]
    Publish {
        subject: String,
        #[source]
        source: ApiError,
    },
    #[error("the head is not JSON")]
    Encode(#[from] serde_json::Error),
}

/// The slots of one aggregate.
#[derive(Debug)]
pub(super) struct Slots {
    tenant: Tenant,
    kind: AggregateKind,
    id: AggregateId,
}

impl Slots {
    /// Of the aggregate whose commits are on this subject.
    pub(super) fn of(events: &str) -> Option<Self> {
        let (tenant, kind, id) = subject::parse_events(events)?;
        Some(Self { tenant, kind, id })
    }

    /// Both heads; the leader is asked, as the next writer goes by what it says.
    pub(super) async fn heads(&self, bus: &Bus) -> Result<Vec<Slot>, ReadError> {
        let mut slots = Vec::with_capacity(SLOTS.into());
        for number in 0..SLOTS {
            let stored = read::last_decisive(bus, SNAPSHOTS, &self.head(number)).await?;
            let (at, time) = stored
                .as_ref()
                .map_or((0, Timestamp::default()), |s| (s.seq, s.time));
            let head = stored.and_then(|stored| serde_json::from_slice(&stored.body).ok());
            slots.push(Slot {
                number,
                at,
                time,
                head: head.filter(|head: &Head| head.format == FORMAT),
            });
        }
        Ok(slots)
    }

    /// The snapshot that a slot holds; nothing where it does not fit together.
    pub(super) async fn read(
        &self,
        bus: &Bus,
        slot: &Slot,
        head: &Head,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let count = head.parts as usize;
        if count > MOST_PARTS {
            return Ok(None);
        }
        let mut parts: Vec<Bytes> = Vec::with_capacity(count);
        let all = subject::snapshot_parts(&self.tenant, self.kind, &self.id, slot.number);
        let mut from = head.claim + 1;
        while parts.len() < count {
            let page = read::read_from(bus, SNAPSHOTS, &all, from, read::PAGE).await?;
            let Some(last) = page.messages.last() else {
                return Ok(None);
            };
            from = last.seq + 1;
            // They were written one after the other.
            parts.extend(page.messages.into_iter().map(|stored| stored.body));
        }
        let body = parts.concat();
        Ok((hex::encode(Sha256::digest(&body)) == head.digest).then_some(body))
    }

    /// Writes a snapshot that covers the log up to `seq`.
    pub(super) async fn write(
        &self,
        bus: &Bus,
        version: u32,
        seq: u64,
        body: Bytes,
    ) -> Result<(), SlotError> {
        let (bytes, count) = (body.len(), body.len().div_ceil(PART_BYTES));
        if count > MOST_PARTS {
            return Err(SlotError::TooLarge { bytes });
        }
        let digest = hex::encode(Sha256::digest(&body));
        let slots = self.heads(bus).await?;
        self.check_latest(bus, &slots, version, seq).await?;
        let slot = free(&slots, bus.now(), version, seq).ok_or(SlotError::Claimed)?;
        let mut head = Head {
            format: FORMAT,
            version,
            seq,
            parts: u32::try_from(count).unwrap_or(u32::MAX),
            digest,
            whole: false,
            claim: 0,
        };
        head.claim = self.put_head(bus, slot.number, &head, slot.at).await?;
        let mut rest = body;
        for index in 0..head.parts {
            let part = rest.split_to(rest.len().min(PART_BYTES));
            let (kind, id) = (self.kind, &self.id);
            let subject = subject::snapshot_part(&self.tenant, kind, id, slot.number, index);
            publish(bus, subject, HeaderMap::new(), part).await?;
        }
        head.whole = true;
        self.put_head(bus, slot.number, &head, head.claim).await?;
        Ok(())
    }

    /// A later snapshot of this log must not be lost for this one. One that is ahead of the log may.
    async fn check_latest(
        &self,
        bus: &Bus,
        slots: &[Slot],
        version: u32,
        seq: u64,
    ) -> Result<(), SlotError> {
        let log = subject::events(&self.tenant, self.kind, &self.id);
        let later = |head: &&Head| head.version == version && head.seq > seq;
        for head in slots.iter().filter_map(Slot::whole).filter(later) {
            let there = read::next_decisive(bus, EVENTS, &log, head.seq).await?;
            if there.is_some_and(|stored| stored.seq == head.seq) {
                return Err(SlotError::Overtaken { seq: head.seq });
            }
        }
        Ok(())
    }

    async fn put_head(
        &self,
        bus: &Bus,
        slot: u8,
        head: &Head,
        expected: u64,
    ) -> Result<u64, SlotError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(expected),
        );
        let body = serde_json::to_vec(head)?;
        publish(bus, self.head(slot), headers, body.into()).await
    }

    fn head(&self, slot: u8) -> String {
        subject::snapshot_head(&self.tenant, self.kind, &self.id, slot)
    }
}

async fn publish(
    bus: &Bus,
    subject: String,
    headers: HeaderMap,
    body: Bytes,
) -> Result<u64, SlotError> {
    match js::publish(bus, &subject, headers, body).await {
        Ok(ack) => Ok(ack.seq),
        Err((error, _))
            if matches!(
                error.err_code(),
                Some(WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_IN_FLIGHT)
            ) =>
        {
            Err(SlotError::Claimed)
        }
        Err((source, _)) => Err(SlotError::Publish { subject, source }),
    }
}

/// The slot that a snapshot up to `seq` goes into: the one that would be missed least. None while
/// another process writes.
fn free(slots: &[Slot], now: Timestamp, version: u32, seq: u64) -> Option<&Slot> {
    let claimed = |slot: &&Slot| {
        let age = Duration::from_millis(now.millis_since(slot.time));
        slot.head.as_ref().is_some_and(|head| !head.whole) && age < CLAIM
    };
    if slots.iter().any(|slot| claimed(&slot)) {
        return None;
    }
    slots.iter().min_by_key(|slot| match slot.whole() {
        None => (0, 0),
        Some(head) if head.version != version => (1, head.seq),
        // Ahead of the log, which was put back to an earlier state.
        Some(head) if head.seq > seq => (2, head.seq),
        Some(head) => (3, head.seq),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u8, version: u32, seq: u64, whole: bool) -> Slot {
        Slot {
            number,
            at: 1,
            time: Timestamp::from_millis(0),
            head: Some(Head {
                format: FORMAT,
                version,
                seq,
                parts: 1,
                digest: String::new(),
                whole,
                claim: 1,
            }),
        }
    }

    #[test]
    fn the_slot_that_is_missed_least_is_written() {
        let empty = Slot {
            head: None,
            ..slot(1, 0, 0, false)
        };
        let later = Timestamp::from_millis(60_000);
        let cases = [
            ([slot(0, 1, 50, true), slot(1, 1, 40, true)], Some(1)),
            ([slot(0, 1, 40, true), slot(1, 1, 50, true)], Some(0)),
            ([slot(0, 1, 40, true), empty], Some(1)),
            ([slot(0, 1, 40, true), slot(1, 2, 50, true)], Some(1)),
            ([slot(0, 1, 40, true), slot(1, 1, 900, true)], Some(1)),
            ([slot(0, 1, 40, true), slot(1, 1, 50, false)], Some(1)),
        ];
        for (slots, expected) in cases {
            let chosen = free(&slots, later, 1, 60).map(|slot| slot.number);
            assert_eq!(chosen, expected, "{slots:?}");
        }
        let now = Timestamp::from_millis(59_999);
        let under_way = [slot(0, 1, 40, true), slot(1, 1, 50, false)];
        assert!(free(&under_way, now, 1, 60).is_none());
    }
}
