//! Who waits for budget, in which line, and who has an answer that its run may not know of yet.
//!
//! A line belongs to one unit of one account: a call that waits for tokens is not in the way of one
//! that needs only a tool. Places are given once, so that whoever is moved to another line keeps his
//! rank there. One list for the whole ledger was the alternative: every settlement would pass over
//! all that wait, and a hundred thousand may.

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use serde::{Deserialize, Serialize};

use super::ask::{Ask, Refusal, RunStep, Shortage};
use super::{AccountKey, Unit};
use crate::ids::ReservationId;
use crate::time::Timestamp;

/// A reservation that waits for budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// What it wants.
    pub ask: Ask,
    /// What it waits for.
    pub shortage: Shortage,
    /// Its rank: lower ones were there before.
    pub place: u64,
    /// Since when.
    pub since: Timestamp,
    /// Sequence of the commit that made it wait.
    pub seq: u64,
}

/// What became of a reservation that waited. Kept until the run settles or gives up, so that whoever
/// has to tell the run finds it after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Who is to be told.
    pub step: RunStep,
    /// A refusal; held where absent.
    pub refusal: Option<Refusal>,
    /// Sequence of the commit that decided.
    pub seq: u64,
}

type Queue = RedBlackTreeMapSync<u64, ReservationId>;

/// Everybody who waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    waiting: HashTrieMapSync<ReservationId, Waiting>,
    queues: HashTrieMapSync<(AccountKey, Unit), Queue>,
    answers: HashTrieMapSync<ReservationId, Answer>,
    next_place: u64,
    last_answer: u64,
}

impl Line {
    pub(super) fn waiting(&self, id: ReservationId) -> Option<&Waiting> {
        self.waiting.get(&id)
    }

    pub(super) fn all_waiting(&self) -> impl Iterator<Item = (&ReservationId, &Waiting)> {
        self.waiting.iter()
    }

    pub(super) fn answer(&self, id: ReservationId) -> Option<&Answer> {
        self.answers.get(&id)
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = (&ReservationId, &Answer)> {
        self.answers.iter()
    }

    /// Sequence of the last commit that answered anybody.
    pub(super) fn last_answer(&self) -> u64 {
        self.last_answer
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn next_place(&self) -> u64 {
        self.next_place
    }

    /// Whether anybody waits for this.
    pub(super) fn has_queue(&self, key: &AccountKey, unit: Unit) -> bool {
        // No key is made where nobody waits at all, which is nearly always.
        !self.queues.is_empty() && self.queues.contains_key(&(key.clone(), unit))
    }

    /// Who waits longest for this.
    pub(super) fn first(&self, key: &AccountKey, unit: Unit) -> Option<&Waiting> {
        let queue = self.queues.get(&(key.clone(), unit))?;
        self.waiting.get(queue.first()?.1)
    }

    /// What is waited for.
    pub(super) fn queues(&self) -> impl Iterator<Item = &(AccountKey, Unit)> {
        self.queues.keys()
    }

    pub(super) fn park(&mut self, ask: Ask, shortage: Shortage, since: Timestamp, seq: u64) {
        let place = self.next_place;
        self.next_place += 1;
        self.insert(Waiting {
            ask,
            shortage,
            place,
            since,
            seq,
        });
    }

    pub(super) fn requeue(&mut self, id: ReservationId, shortage: Shortage) {
        if let Some(waiting) = self.leave(id) {
            self.insert(Waiting {
                shortage,
                ..waiting
            });
        }
    }

    /// Its wait is over, for better or worse.
    pub(super) fn answered(&mut self, id: ReservationId, refusal: Option<Refusal>, seq: u64) {
        let Some(waiting) = self.leave(id) else {
            return;
        };
        if let Some(step) = waiting.ask.step {
            let answer = Answer { step, refusal, seq };
            self.last_answer = seq;
            self.answers.insert_mut(id, answer);
        }
    }

    /// Nobody asks for it any more.
    pub(super) fn forget(&mut self, id: ReservationId) {
        self.leave(id);
        self.forget_answer(id);
    }

    /// Whoever was to be told knows, or is gone.
    pub(super) fn forget_answer(&mut self, id: ReservationId) {
        self.answers.remove_mut(&id);
    }

    /// As it was saved.
    pub(super) fn restored(
        waiting: Vec<Waiting>,
        answers: Vec<(ReservationId, Answer)>,
        next_place: u64,
    ) -> Self {
        let last_answer = answers.iter().map(|(_, answer)| answer.seq).max();
        let mut line = Self {
            last_answer: last_answer.unwrap_or_default(),
            answers: answers.into_iter().collect(),
            next_place,
            ..Self::default()
        };
        for waiting in waiting {
            line.insert(waiting);
        }
        line
    }

    fn insert(&mut self, waiting: Waiting) {
        let id = waiting.ask.reservation_id;
        let key = (waiting.shortage.key(), waiting.shortage.unit);
        let mut queue = self.queues.get(&key).cloned().unwrap_or_default();
        queue.insert_mut(waiting.place, id);
        self.queues.insert_mut(key, queue);
        self.waiting.insert_mut(id, waiting);
    }

    fn leave(&mut self, id: ReservationId) -> Option<Waiting> {
        let waiting = self.waiting.get(&id)?.clone();
        self.waiting.remove_mut(&id);
        let key = (waiting.shortage.key(), waiting.shortage.unit);
        if let Some(queue) = self.queues.get(&key) {
            let mut queue = queue.clone();
            queue.remove_mut(&waiting.place);
            if queue.is_empty() {
                self.queues.remove_mut(&key);
            } else {
                self.queues.insert_mut(key, queue);
            }
        }
        Some(waiting)
    }
}
