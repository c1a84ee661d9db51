//! Who delivers for which webhook. Each process says every two seconds that it lives, and all see the
//! same list; a webhook belongs to the one with the highest digest of the two ids. Whoever comes or
//! goes moves its own share only, and nobody has to be asked.
//!
//! Times are the server's, of the messages themselves, so that no two clocks are compared. Who stops
//! hearing from the server stops before the others take over; who is new begins after the others have
//! seen it. Leases of single webhooks were the alternative: each would have to be renewed for ever.

use std::time::Duration;

use nexus_bus::webhooks::{self, Presence, Worker};
use nexus_bus::{Bus, ReadError};
use nexus_events::{Timestamp, WebhookId};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

const BEAT: Duration = Duration::from_secs(2);
/// Whoever was not heard for this long is dead to the others …
const DEAD_AFTER_MS: u64 = 8_000;
/// … and has stopped by itself before.
const STOPS_AFTER: Duration = Duration::from_secs(6);
/// The others leave to a new process what is its own after this …
const COUNTS_AFTER_MS: u64 = 4_000;
/// … and it takes that after this, when all of them have seen it.
const BEGINS_AFTER_MS: u64 = 7_000;

/// The processes as this one last saw them.
#[derive(Clone, Debug)]
pub(crate) struct View {
    me: Uuid,
    members: Vec<Uuid>,
    seen_at: Instant,
}

impl View {
    /// Whether this process delivers for a webhook.
    pub(crate) fn is_mine(&self, webhook: WebhookId) -> bool {
        self.seen_at.elapsed() < STOPS_AFTER && owner(&self.members, webhook) == Some(self.me)
    }
}

fn owner(members: &[Uuid], webhook: WebhookId) -> Option<Uuid> {
    let weight = |member: &Uuid| {
        let mut hash = Sha256::new();
        hash.update(member.as_bytes());
        hash.update(webhook.uuid().as_bytes());
        <[u8; 32]>::from(hash.finalize())
    };
    members.iter().copied().max_by_key(weight)
}

/// Who counts, as `me` sees it.
fn members(me: Uuid, workers: &[Worker]) -> Vec<Uuid> {
    let Some(now) = (workers.iter().find(|worker| worker.id == me)).map(|worker| worker.said_at)
    else {
        return vec![];
    };
    let lives = |worker: &&Worker| {
        !worker.presence.leaving && now.millis_since(worker.said_at) <= DEAD_AFTER_MS
    };
    let alive: Vec<&Worker> = workers.iter().filter(lives).collect();
    let counts = |worker: &&&Worker| {
        let since = |joined: Timestamp| now.millis_since(joined);
        let needed = match worker.id == me {
            true => BEGINS_AFTER_MS,
            false => COUNTS_AFTER_MS,
        };
        worker
            .presence
            .joined
            .is_some_and(|joined| since(joined) >= needed)
    };
    match alive.as_slice() {
        // Nobody could be at the same work.
        [alone] if alone.id == me => vec![me],
        _ => alive
            .iter()
            .filter(counts)
            .map(|worker| worker.id)
            .collect(),
    }
}

/// Says that this process lives, and looks who else does, until `stop`.
pub(crate) async fn attend(
    bus: Bus,
    me: Uuid,
    views: watch::Sender<Option<View>>,
    stop: CancellationToken,
) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut presence = Presence::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = beats.tick() => {}
        }
        let asked_at = Instant::now();
        let seen = tokio::select! {
            () = stop.cancelled() => return,
            seen = beat(&bus, me, presence) => seen,
        };
        match seen {
            Ok(workers) => {
                let mine = workers.iter().find(|worker| worker.id == me);
                presence.joined = presence.joined.or(mine.map(|worker| worker.said_at));
                let view = View {
                    me,
                    members: members(me, &workers),
                    // When it was said, not when the answer came.
                    seen_at: asked_at,
                };
                views.send_replace(Some(view));
            }
            Err(error) => warn!(error, "who delivers webhooks cannot be seen"),
        }
    }
}

async fn beat(bus: &Bus, me: Uuid, presence: Presence) -> Result<Vec<Worker>, String> {
    let said = webhooks::announce(bus, me, presence).await;
    said.map_err(|error| error.to_string())?;
    let workers = webhooks::workers(bus).await;
    workers.map_err(|error: ReadError| error.to_string())
}

/// Says that this process delivers nothing any more, so that the others need not wait.
pub(crate) async fn leave(bus: &Bus, me: Uuid) {
    let presence = Presence {
        joined: None,
        leaving: true,
    };
    let said = tokio::time::timeout(BEAT, webhooks::announce(bus, me, presence)).await;
    if !matches!(said, Ok(Ok(()))) {
        warn!("the other processes of the webhooks role learn in some seconds that this one stops");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: u128, said_s: i64, joined_s: Option<i64>, leaving: bool) -> Worker {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        Worker {
            id: Uuid::from_u128(id),
            said_at: at(said_s),
            presence: Presence {
                joined: joined_s.map(at),
                leaving,
            },
        }
    }

    fn seen_by(me: u128, workers: &[Worker]) -> Vec<u128> {
        let members = members(Uuid::from_u128(me), workers);
        members.iter().map(Uuid::as_u128).collect()
    }

    #[test]
    fn who_is_alone_begins_at_once_and_who_is_new_waits_until_the_others_know() {
        assert_eq!(seen_by(1, &[worker(1, 0, None, false)]), [1]);
        assert!(
            seen_by(1, &[worker(2, 0, None, false)]).is_empty(),
            "nothing heard of itself"
        );
        let both = |now, joined| {
            [
                worker(1, now, Some(0), false),
                worker(2, now, Some(joined), false),
            ]
        };
        // The old one lets go first, the new one takes later.
        assert_eq!(seen_by(1, &both(103, 100)), [1]);
        assert_eq!(seen_by(2, &both(103, 100)), [1]);
        assert_eq!(seen_by(1, &both(104, 100)), [1, 2]);
        assert_eq!(seen_by(2, &both(104, 100)), [1]);
        assert_eq!(seen_by(2, &both(107, 100)), [1, 2]);
    }

    #[test]
    fn who_is_silent_or_leaves_does_not_count() {
        let other = |said, leaving| {
            [
                worker(1, 100, Some(0), false),
                worker(2, said, Some(0), leaving),
            ]
        };
        assert_eq!(seen_by(1, &other(92, false)), [1, 2]);
        assert_eq!(seen_by(1, &other(91, false)), [1]);
        assert_eq!(seen_by(1, &other(100, true)), [1]);
    }

    #[test]
    fn all_see_the_same_owner_and_each_process_has_a_share() {
        let members: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let mut reversed = members.clone();
        reversed.reverse();
        let mut shares = [0; 3];
        for nth in 0..300 {
            let webhook = WebhookId::derive(&[&format!("{nth}")]);
            let one = owner(&members, webhook);
            assert_eq!(one, owner(&reversed, webhook));
            let without: Vec<Uuid> = members
                .iter()
                .copied()
                .filter(|id| Some(*id) != one)
                .collect();
            assert_ne!(owner(&without, webhook), one);
            for (share, member) in shares.iter_mut().zip(&members) {
                *share += usize::from(one == Some(*member));
            }
        }
        assert!(shares.iter().all(|share| *share > 60), "{shares:?}");
    }
}
