//! The log: a stream an aggregate, one sequence over all of them, and appends that expect the
//! stream's last sequence.

use std::collections::BTreeMap;
use std::rc::Rc;

use nexus_events::ledger::Ledger;
use nexus_events::run::Run;
use nexus_events::session::Session;
use nexus_events::{Aggregate, Commit};

pub(crate) struct Stored<E> {
    pub(crate) seq: u64,
    pub(crate) commit: Commit<E>,
}

/// One aggregate's commits, and its state after each of them.
pub(crate) struct Stream<A: Aggregate> {
    pub(crate) commits: Vec<Stored<A::Event>>,
    pub(crate) states: Vec<Rc<A>>,
}

impl<A: Aggregate> Default for Stream<A> {
    fn default() -> Self {
        Self {
            commits: vec![],
            states: vec![Rc::default()],
        }
    }
}

pub(crate) type Streams<A> = BTreeMap<String, Stream<A>>;

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) seq: u64,
    pub(crate) runs: Streams<Run>,
    pub(crate) sessions: Streams<Session>,
    pub(crate) ledgers: Streams<Ledger>,
}

/// What the log keeps.
pub(crate) trait Kept: Aggregate {
    fn streams(log: &Log) -> &Streams<Self>;
    fn streams_mut(log: &mut Log) -> &mut Streams<Self>;
}

macro_rules! kept {
    ($($aggregate:ty = $field:ident,)+) => {
        $(impl Kept for $aggregate {
            fn streams(log: &Log) -> &Streams<Self> {
                &log.$field
            }

            fn streams_mut(log: &mut Log) -> &mut Streams<Self> {
                &mut log.$field
            }
        })+
    };
}

kept! {
    Run = runs,
    Session = sessions,
    Ledger = ledgers,
}

/// A state as a worker read it, perhaps a while ago.
pub(crate) struct Loaded<A> {
    pub(crate) state: Rc<A>,
    pub(crate) last_seq: u64,
}

/// Somebody else was faster.
pub(crate) struct Conflict;

impl Log {
    /// The state after the first `commits` of the stream.
    pub(crate) fn load<A: Kept>(&self, id: &str, commits: usize) -> Loaded<A> {
        match A::streams(self).get(id) {
            None => Loaded {
                state: Rc::default(),
                last_seq: 0,
            },
            Some(stream) => Loaded {
                state: Rc::clone(&stream.states[commits]),
                last_seq: commits
                    .checked_sub(1)
                    .map_or(0, |last| stream.commits[last].seq),
            },
        }
    }

    pub(crate) fn len<A: Kept>(&self, id: &str) -> usize {
        A::streams(self)
            .get(id)
            .map_or(0, |stream| stream.commits.len())
    }

    /// How many commits of the stream have a sequence up to `seq`.
    pub(crate) fn len_at<A: Kept>(&self, id: &str, seq: u64) -> usize {
        let stream = A::streams(self).get(id);
        stream.map_or(0, |stream| {
            stream.commits.partition_point(|stored| stored.seq <= seq)
        })
    }

    pub(crate) fn latest<A: Kept>(&self, id: &str) -> Loaded<A> {
        self.load(id, self.len::<A>(id))
    }

    /// Where a commit with this id is among the first `commits` of the stream.
    pub(crate) fn find<A: Kept>(&self, id: &str, commits: usize, commit_id: &str) -> Option<u64> {
        let stream = A::streams(self).get(id)?;
        let mut read = stream.commits[..commits].iter();
        read.find(|stored| stored.commit.id == commit_id)
            .map(|stored| stored.seq)
    }

    pub(crate) fn append<A: Kept>(
        &mut self,
        id: &str,
        expected_last_seq: u64,
        commit: Commit<A::Event>,
    ) -> Result<u64, Conflict> {
        let seq = self.seq + 1;
        let stream = A::streams_mut(self).entry(id.to_owned()).or_default();
        if stream.commits.last().map_or(0, |stored| stored.seq) != expected_last_seq {
            return Err(Conflict);
        }
        let twice = stream
            .commits
            .iter()
            .any(|stored| stored.commit.id == commit.id);
        assert!(!twice, "two commits of {id} have the id {}", commit.id);
        let mut state = A::clone(stream.states.last().unwrap());
        for recorded in commit.recorded(seq) {
            state.evolve(&recorded.event, recorded.at);
        }
        stream.states.push(Rc::new(state));
        stream.commits.push(Stored { seq, commit });
        self.seq = seq;
        Ok(seq)
    }
}
