//! Snapshots of long aggregates: the folded state, kept beside the log, so that a cold load reads
//! what followed instead of everything. They only ever save time. The log stays the truth: what is
//! of another version, broken, or not of this log is ignored with a warning, and all snapshots may
//! be deleted at any moment.

use std::fmt::Display;
use std::sync::Arc;

use nexus_events::aggregate::SnapshotSpec;
use nexus_events::{Aggregate, Commit};
use tracing::{debug, warn};

use super::loaded::Trail;
use super::slots::{Head, Slot, SlotError, Slots};
use super::{Guard, Loaded, Store, StoreError};
use crate::connect::Bus;
use crate::read::{self, ReadError};
use crate::{metrics, topology};

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is of version {found}, and {wanted} is wanted")]
    Version { found: u32, wanted: u32 },
    #[error("its parts do not fit together")]
    Broken,
    #[error("its state cannot be restored")]
    State,
    #[error("the log does not have the commit at sequence {seq} that it ends with")]
    NotOfThisLog { seq: u64 },
}

impl Store {
    /// Sets an empty aggregate to its latest snapshot that fits, if there is one.
    pub(super) async fn resume<A: Aggregate>(
        &self,
        guard: &mut Guard<A>,
    ) -> Result<(), StoreError> {
        let Some((spec, slots)) = A::SNAPSHOT.zip(Slots::of(&guard.subject)) else {
            return Ok(());
        };
        let found = match slots.heads(&self.bus).await {
            Err(error @ ReadError::Refused { .. }) => {
                ignored(&guard.subject, &error);
                return Ok(());
            }
            heads => heads?,
        };
        let whole = |slot: &Slot| slot.whole().cloned().map(|head| (slot.clone(), head));
        let mut found: Vec<(Slot, Head)> = found.iter().filter_map(whole).collect();
        found.sort_by_key(|(_, head)| std::cmp::Reverse(head.seq));
        for (slot, head) in found {
            match self.open::<A>(guard, spec, &slots, &slot, &head).await? {
                Ok((state, trail)) => {
                    metrics::bus().snapshot("used");
                    debug!(subject = &*guard.subject, seq = trail.seq, "snapshot used");
                    guard.0.resume(state, trail);
                    return Ok(());
                }
                Err(unfit) => ignored(&guard.subject, &unfit),
            }
        }
        Ok(())
    }

    /// Reads a snapshot, and checks that it is of this log as it is now.
    async fn open<A: Aggregate>(
        &self,
        guard: &Guard<A>,
        spec: SnapshotSpec,
        slots: &Slots,
        slot: &Slot,
        head: &Head,
    ) -> Result<Result<(A, Trail), Unfit>, ReadError> {
        if head.version != spec.version {
            let (found, wanted) = (head.version, spec.version);
            return Ok(Err(Unfit::Version { found, wanted }));
        }
        let Some(body) = slots.read(&self.bus, slot, head).await? else {
            return Ok(Err(Unfit::Broken));
        };
        let Some((trail, state)) = decode(&body).filter(|(trail, _)| trail.seq == head.seq) else {
            return Ok(Err(Unfit::Broken));
        };
        if !self.follows_from::<A>(&guard.subject, &trail).await? {
            return Ok(Err(Unfit::NotOfThisLog { seq: trail.seq }));
        }
        let state = A::restore(state).ok_or(Unfit::State);
        Ok(state.map(|state| (state, trail)))
    }

    /// Whether the log has the last commit of the trail, by the same command at the same sequence.
    async fn follows_from<A: Aggregate>(
        &self,
        subject: &str,
        trail: &Trail,
    ) -> Result<bool, ReadError> {
        let there = read::next_decisive(&self.bus, topology::EVENTS, subject, trail.seq).await?;
        let command = there
            .filter(|stored| stored.seq == trail.seq)
            .and_then(|stored| Commit::<A::Event>::decode(&stored.body).ok())
            .map(|commit| (commit.causation, trail.seq));
        Ok(command.is_some() && command.as_ref() == trail.commits.back())
    }

    /// Has a snapshot written where it is time for one. The caller waits for the clone only.
    pub(super) fn keep<A: Aggregate>(&self, guard: &mut Guard<A>) {
        let Some(spec) = A::SNAPSHOT else { return };
        let Some(saving) = guard.0.due(spec.every_commits) else {
            return;
        };
        let (bus, loaded) = (self.bus.clone(), guard.0.clone());
        tokio::spawn(async move {
            let (subject, seq) = (Arc::clone(&loaded.subject), loaded.seq);
            match write(&bus, spec, loaded).await {
                Ok(true) => {
                    metrics::bus().snapshot("written");
                    debug!(subject = &*subject, seq, "snapshot written");
                }
                Ok(false) => debug!(subject = &*subject, seq, "no state to keep now"),
                Err(error @ (SlotError::Claimed | SlotError::Overtaken { .. })) => {
                    debug!(subject = &*subject, seq, %error, "no snapshot was needed");
                }
                Err(error) => {
                    metrics::bus().snapshot("failed");
                    let error: &dyn std::error::Error = &error;
                    warn!(subject = &*subject, seq, error, "no snapshot was written");
                }
            }
            drop(saving);
        });
    }
}

/// Says that a snapshot is not used.
fn ignored(subject: &str, why: &dyn Display) {
    metrics::bus().snapshot("ignored");
    warn!(subject, %why, "a snapshot is ignored, the log is read instead");
}

async fn write<A: Aggregate>(
    bus: &Bus,
    spec: SnapshotSpec,
    loaded: Loaded<A>,
) -> Result<bool, SlotError> {
    let Some(slots) = Slots::of(&loaded.subject) else {
        return Ok(false);
    };
    let seq = loaded.seq;
    // Some MiB of state take longer than other tasks should wait for this thread.
    let body = tokio::task::spawn_blocking(move || encode(&loaded)).await;
    // A panic in `save` has been reported by its thread.
    let Some(body) = body.ok().transpose()?.flatten() else {
        return Ok(false);
    };
    slots.write(bus, spec.version, seq, body.into()).await?;
    Ok(true)
}

/// The trail as one line of JSON, then the state's own bytes.
fn encode<A: Aggregate>(loaded: &Loaded<A>) -> Result<Option<Vec<u8>>, serde_json::Error> {
    let Some(state) = loaded.state.save() else {
        return Ok(None);
    };
    let mut body = serde_json::to_vec(&loaded.trail())?;
    body.push(b'\n');
    body.extend_from_slice(&state);
    Ok(Some(body))
}

fn decode(body: &[u8]) -> Option<(Trail, &[u8])> {
    let end = body.iter().position(|byte| *byte == b'\n')?;
    let (trail, state) = (body.get(..end)?, body.get(end + 1..)?);
    Some((serde_json::from_slice(trail).ok()?, state))
}
