//! One aggregate in memory: its folded state, how far it was read, and which commands made its last
//! commits. Every stored commit names the sequence that it was written after, so a fold that does
//! not begin at the beginning, or a stream with a hole, is noticed instead of trusted.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use nexus_events::aggregate::DecodeError;
use nexus_events::{Aggregate, CommandId, Commit, Position};
use serde::{Deserialize, Serialize};

use crate::read::Stored;

/// How many commits are remembered by their command. A command is delivered again within minutes,
/// and an aggregate that makes more commits than this in that time finds it by its own state.
const REMEMBERED: usize = 256;

/// An aggregate, folded up to a sequence.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    /// Its state.
    pub state: A,
    /// Sequence of its last commit; 0 when it has none.
    pub seq: u64,
    /// Sequence of its first commit; 0 when it has none.
    pub first_seq: u64,
    pub(super) subject: Arc<str>,
    /// It was read from its beginning, or begun here.
    pub(super) known: bool,
    /// When it was last seen to be whole.
    pub(super) verified: Option<Instant>,
    /// False while events are being folded: a panic in a fold leaves it false.
    sound: bool,
    commits: VecDeque<(CommandId, u64)>,
    /// Commits folded since the last snapshot.
    unsaved: u64,
    /// Alive while a snapshot is being written.
    saving: Weak<()>,
}

/// What is known of an aggregate's commits without their events: what a snapshot holds beside the
/// state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trail {
    /// Sequence of the last commit.
    pub(super) seq: u64,
    /// Sequence of the first commit.
    pub(super) first_seq: u64,
    /// The last commits by their command, the latest at the end.
    pub(super) commits: VecDeque<(CommandId, u64)>,
}

/// Why a stored commit cannot follow what is loaded.
#[derive(Debug)]
pub(super) enum Break {
    /// The fold did not begin with the aggregate's first commit.
    NotTheFirst,
    /// It follows another commit than the last one here, or does not say which.
    Hole,
    /// It cannot be read.
    Decode(DecodeError),
}

impl<A: Aggregate> Loaded<A> {
    pub(super) fn empty(subject: Arc<str>) -> Self {
        Self {
            state: A::default(),
            seq: 0,
            first_seq: 0,
            subject,
            known: false,
            verified: None,
            sound: true,
            commits: VecDeque::new(),
            unsaved: 0,
            saving: Weak::new(),
        }
    }

    /// The commit that a command made here, if it is among the last ones.
    pub fn commit_of(&self, command: &CommandId) -> Option<u64> {
        // The latest first: a command that is delivered again is most often the last one.
        self.commits
            .iter()
            .rev()
            .find(|(id, _)| id == command)
            .map(|(_, seq)| *seq)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.sound
    }

    pub(super) fn reset(&mut self) {
        let saving = std::mem::take(&mut self.saving);
        *self = Self::empty(Arc::clone(&self.subject));
        self.saving = saving;
    }

    /// What is known of its commits.
    pub(super) fn trail(&self) -> Trail {
        Trail {
            seq: self.seq,
            first_seq: self.first_seq,
            commits: self.commits.clone(),
        }
    }

    /// Goes on from a state that was folded before.
    pub(super) fn resume(&mut self, state: A, trail: Trail) {
        self.reset();
        self.state = state;
        self.seq = trail.seq;
        self.first_seq = trail.first_seq;
        self.commits = trail.commits;
        let surplus = self.commits.len().saturating_sub(REMEMBERED);
        self.commits.drain(..surplus);
    }

    /// Whether it is time for a snapshot: then it counts as made, and no other is made while what
    /// is given back lives.
    pub(super) fn due(&mut self, every_commits: u64) -> Option<Arc<()>> {
        if self.unsaved < every_commits.max(1) || self.saving.strong_count() > 0 {
            return None;
        }
        let saving = Arc::new(());
        self.saving = Arc::downgrade(&saving);
        self.unsaved = 0;
        Some(saving)
    }

    pub(super) fn verified_within(&self, longest: Duration) -> bool {
        self.known && self.verified.is_some_and(|at| at.elapsed() <= longest)
    }

    /// Folds the next stored commit.
    pub(super) fn apply(&mut self, stored: &Stored) -> Result<(), Break> {
        let after = stored.headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE);
        let after: Option<u64> = after.and_then(|seq| seq.as_str().parse().ok());
        if after != Some(self.seq) {
            return Err(if self.seq == 0 {
                Break::NotTheFirst
            } else {
                Break::Hole
            });
        }
        let commit = Commit::<A::Event>::decode(&stored.body).map_err(Break::Decode)?;
        self.fold(&commit, stored.seq);
        Ok(())
    }

    /// Folds a commit that was stored as `seq`.
    pub(super) fn fold(&mut self, commit: &Commit<A::Event>, seq: u64) {
        self.sound = false;
        for (event, index) in commit.events.iter().zip(0..) {
            self.state.evolve(
                event,
                Position {
                    seq,
                    index,
                    time: commit.time,
                },
            );
        }
        if self.commits.len() == REMEMBERED {
            self.commits.pop_front();
        }
        self.commits.push_back((commit.causation.clone(), seq));
        self.unsaved += 1;
        self.seq = seq;
        if self.first_seq == 0 {
            self.first_seq = seq;
        }
        self.sound = true;
    }
}
