//! How far a webhook has come: a machine without clock or network, and the document that it is kept
//! as. Whoever delivers writes it after what it did, expecting the version that it read; so one that
//! was killed is gone on from, and of two that believe to be in charge one is told otherwise.
//!
//! The log is read once, in order, up to `read_to`. What is wanted of it waits in lanes, a lane an
//! aggregate (a run, a session, the ledger …), each of which is delivered strictly in order while
//! others go on. A lane is two numbers, where it stands and where it ends, whatever lies between: what
//! waits is on the log and need not be kept here. One number for all lanes was the alternative, and
//! one run whose event is refused would hold every other up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Webhook;
use crate::time::Timestamp;

/// Lanes that may wait; reading stops until there is room.
pub const MOST_LANES: usize = 128;
/// Tries that are remembered, for people.
pub const MOST_RECENT: usize = 50;
/// So many failures in a row, of whatever lanes, and only one is tried at a time.
const FAILING_AFTER: u32 = 5;

/// When it is tried again, and when it is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Pauses after the first try, the second …; the last one for all that follow.
    pub pauses_ms: Vec<u64>,
    /// A receiver that took nothing for so long is disabled.
    pub disable_after_ms: u64,
    /// No pause is longer, whatever a receiver asks for.
    pub longest_ms: u64,
}

impl Schedule {
    fn pause_ms(&self, attempts: u32) -> u64 {
        let nth = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = self.pauses_ms.get(nth).or(self.pauses_ms.last());
        pause.copied().unwrap_or(5_000).min(self.longest_ms)
    }

    fn is_over(&self, attempts: u32) -> bool {
        usize::try_from(attempts).unwrap_or(usize::MAX) > self.pauses_ms.len()
    }
}

/// How far a webhook has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Sequence of the last change of the webhook that this knows.
    pub seen: u64,
    /// Every commit up to this sequence was looked at.
    pub read_to: u64,
    /// What of it waits, by aggregate: `run/<id>`.
    pub lanes: BTreeMap<String, Lane>,
    /// Failures in a row, of whatever lanes.
    #[serde(default)]
    pub failures: u32,
    /// Since when nothing was taken.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// Nothing is tried before.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// When something was last taken.
    #[serde(default)]
    pub last_taken_at: Option<Timestamp>,
    /// Messages that were taken.
    #[serde(default)]
    pub delivered: u64,
    /// The last tries, the newest last.
    #[serde(default)]
    pub recent: VecDeque<Attempt>,
}

/// One aggregate's events that wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// The commit that is next.
    pub seq: u64,
    /// The first of its events that was not taken.
    #[serde(default)]
    pub index: u32,
    /// The last commit of which something is wanted.
    pub upto: u64,
    /// How often the next event was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When it was first refused.
    #[serde(default)]
    pub refused_since: Option<Timestamp>,
    /// It is not tried before.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// The message's id, as the receiver gets it.
    pub message_id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Sequence of its commit.
    pub seq: u64,
    /// Its place in the commit.
    pub index: u32,
    /// Which try of this event it was, from 1.
    pub attempt: u32,
    /// `delivered`, `failed` or `given_up`.
    pub outcome: String,
    /// The receiver's answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    pub took_ms: u64,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried again.
    Again,
    /// It is left out: others were taken meanwhile.
    GivenUp,
    /// The receiver has taken nothing for as long as is tried.
    Disable,
}

impl Progress {
    /// Of a webhook to which nothing was ever delivered.
    pub fn begin(hook: &Webhook) -> Self {
        Self {
            seen: hook.changed_seq,
            read_to: hook.rewound.map_or(hook.start_after, |(_, after)| after),
            ..Self::default()
        }
    }

    /// Takes over what people changed since: a change ends all waiting, and a rewinding one begins
    /// elsewhere.
    pub fn follow(&mut self, hook: &Webhook) {
        if hook.changed_seq <= self.seen {
            return;
        }
        if let Some((seq, after)) = hook.rewound
            && seq > self.seen
        {
            self.lanes.clear();
            self.read_to = after;
        }
        self.seen = hook.changed_seq;
        (self.failures, self.failing_since, self.retry_at) = (0, None, None);
        for lane in self.lanes.values_mut() {
            (lane.retry_at, lane.refused_since, lane.attempts) = (None, None, 0);
        }
    }

    /// Everything up to this sequence was delivered, was not wanted, or was given up.
    pub fn cursor(&self) -> u64 {
        let waiting = self.lanes.values().map(|lane| lane.seq.saturating_sub(1));
        waiting.chain([self.read_to]).min().unwrap_or(0)
    }

    /// Whether no further lane may wait.
    pub fn is_full(&self) -> bool {
        self.lanes.len() >= MOST_LANES
    }

    /// Whether the receiver has failed so often that it is tried one message at a time.
    pub fn is_failing(&self) -> bool {
        self.failures >= FAILING_AFTER
    }

    /// A commit was looked at; `wanted` is its first event that is to be delivered.
    pub fn read(&mut self, aggregate: &str, seq: u64, wanted: Option<u32>) {
        if seq <= self.read_to {
            return;
        }
        self.read_to = seq;
        let Some(index) = wanted else { return };
        match self.lanes.get_mut(aggregate) {
            Some(lane) => lane.upto = seq,
            None => {
                let lane = Lane {
                    seq,
                    index,
                    upto: seq,
                    attempts: 0,
                    refused_since: None,
                    retry_at: None,
                };
                self.lanes.insert(aggregate.to_owned(), lane);
            }
        }
    }

    /// The lane whose turn it is, of those that are not `busy`: the one that waited longest.
    pub fn next(&self, busy: &BTreeSet<String>, now: Timestamp) -> Option<String> {
        if self.retry_at.is_some_and(|at| at > now) || (self.is_failing() && !busy.is_empty()) {
            return None;
        }
        let free = self.lanes.iter().filter(|(name, _)| !busy.contains(*name));
        // Of one that fails whichever is due first is as good as any other.
        let due = free.filter(|(_, lane)| {
            self.is_failing() || lane.retry_at.is_none_or(|retry_at| retry_at <= now)
        });
        let first = due.min_by_key(|(_, lane)| (lane.retry_at, lane.seq));
        first.map(|(name, _)| name.clone())
    }

    /// When there may be a turn again, if nothing else happens.
    pub fn wakes_at(&self, busy: &BTreeSet<String>) -> Option<Timestamp> {
        let free = self.lanes.iter().filter(|(name, _)| !busy.contains(*name));
        let lanes = free.map(|(_, lane)| match self.is_failing() {
            true => self.retry_at.unwrap_or_default(),
            false => lane.retry_at.max(self.retry_at).unwrap_or_default(),
        });
        lanes.min()
    }

    /// The next event of a lane was taken; `next` is the one after it, where its place is known.
    pub fn taken(&mut self, aggregate: &str, next: (u64, u32), now: Timestamp) {
        self.delivered += 1;
        self.last_taken_at = Some(now);
        if self.is_failing() {
            // It is back: nobody need wait any more.
            for lane in self.lanes.values_mut() {
                lane.retry_at = None;
            }
        }
        (self.failures, self.failing_since, self.retry_at) = (0, None, None);
        self.pass(aggregate, next);
    }

    /// Nothing more is wanted of a lane before this place.
    pub fn pass(&mut self, aggregate: &str, (seq, index): (u64, u32)) {
        let Some(lane) = self.lanes.get_mut(aggregate) else {
            return;
        };
        (lane.seq, lane.index, lane.attempts) = (seq, index, 0);
        (lane.refused_since, lane.retry_at) = (None, None);
        if lane.seq > lane.upto {
            self.lanes.remove(aggregate);
        }
    }

    /// The next event of a lane was not taken. `jitter` is 0 to 1; `asked_ms` is the pause that the
    /// receiver asked for, of all messages.
    pub fn refused(
        &mut self,
        aggregate: &str,
        schedule: &Schedule,
        (now, jitter): (Timestamp, f64),
        asked_ms: Option<u64>,
    ) -> Verdict {
        let since = *self.failing_since.get_or_insert(now);
        let wait = |attempts: u32| {
            let pause_ms = schedule.pause_ms(attempts);
            // A fifth more or less, so that what failed together does not come back together.
            let jittered = pause_ms as f64 * (0.8 + 0.4 * jitter.clamp(0.0, 1.0));
            now.plus_millis((jittered as u64).min(schedule.longest_ms))
        };
        self.failures = self.failures.saturating_add(1);
        if self.is_failing() {
            self.retry_at = Some(wait(self.failures - FAILING_AFTER + 1));
        }
        if let Some(asked_ms) = asked_ms {
            let asked = now.plus_millis(asked_ms.min(schedule.longest_ms));
            self.retry_at = self.retry_at.max(Some(asked));
        }
        let Some(lane) = self.lanes.get_mut(aggregate) else {
            return Verdict::Again;
        };
        lane.attempts = lane.attempts.saturating_add(1);
        let refused_since = *lane.refused_since.get_or_insert(now);
        lane.retry_at = Some(wait(lane.attempts));
        if now.millis_since(since) >= schedule.disable_after_ms {
            return Verdict::Disable;
        }
        let others_taken = self.last_taken_at.is_some_and(|at| at > refused_since);
        match others_taken && schedule.is_over(lane.attempts) {
            true => Verdict::GivenUp,
            false => Verdict::Again,
        }
    }

    /// Remembers a try.
    pub fn remember(&mut self, attempt: Attempt) {
        while self.recent.len() >= MOST_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(attempt);
    }
}
