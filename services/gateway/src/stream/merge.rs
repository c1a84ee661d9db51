//! History and the live stream as one: each commit once, in order, whatever is lost, repeated or
//! late. Pure: it is told what came and says what is to be done, so that every interleaving can be
//! tried.
//!
//! The log is the truth and the live stream only tells that there is more. While history is read,
//! what comes live is held; where a live commit does not follow the last one, history is read
//! again. Holding is bounded: what is too much is forgotten, because the log has it.

use std::collections::VecDeque;

/// Commits and deltas that are held while history is read.
const MOST_HELD: usize = 1024;
const MOST_HELD_BYTES: usize = 1024 * 1024;

/// What the machine must know of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item<C> {
    /// Its sequence in the stream.
    pub(crate) seq: u64,
    /// It ends the run.
    pub(crate) terminal: bool,
    /// Turns up to this one have their answer: deltas of them come too late.
    pub(crate) answered_turn: u32,
    /// Its length.
    pub(crate) bytes: usize,
    /// The commit.
    pub(crate) body: C,
}

/// What came.
#[derive(Clone, Debug)]
pub(crate) enum Input<C, D> {
    /// The next commit of history.
    History(Item<C>),
    /// There was no more history when it was read.
    HistoryEnd,
    /// A commit, live. `previous` is the sequence of the commit before it on the same subject.
    Live {
        /// The commit.
        item: Item<C>,
        /// The one before it; 0 where it is the first.
        previous: u64,
    },
    /// A delta, live.
    Delta {
        /// The turn whose answer it is a part of.
        turn: u32,
        /// Its length.
        bytes: usize,
        /// The delta.
        body: D,
    },
    /// Something may have been missed.
    Interrupted,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output<C, D> {
    /// Give this commit out.
    Commit(Item<C>),
    /// Give this delta out.
    Delta(D),
    /// Read history from this sequence on.
    Read {
        /// The first sequence that is wanted.
        from: u64,
    },
    /// The run has ended and all of it was given out.
    End,
}

/// What is held while history is read.
enum Held<C, D> {
    Commit { item: Item<C>, previous: u64 },
    Delta { turn: u32, bytes: usize, body: D },
}

impl<C, D> Held<C, D> {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { item, .. } => item.bytes,
            Self::Delta { bytes, .. } => *bytes,
        }
    }
}

/// The machine. It begins by reading history: the first [`Output::Read`] is its caller's.
pub(crate) struct Merge<C, D> {
    /// Sequence of the last commit that was given out, or that the reader had.
    last: u64,
    answered_turn: u32,
    reading: bool,
    /// History must be read once more when this reading ends.
    again: bool,
    /// The run has ended. What history still has is given all the same: the usage of a call that was
    /// under way is recorded after it.
    over: bool,
    ended: bool,
    held: VecDeque<Held<C, D>>,
    held_bytes: usize,
    /// The last commit that was held when reading began: what the reading did not find before it,
    /// the log does not have.
    held_before: u64,
}

impl<C, D> Merge<C, D> {
    /// A machine for a reader that has every commit up to `last`. `over`: the run has ended already,
    /// so that nothing comes but what history still has.
    pub(crate) fn after(last: u64, over: bool) -> Self {
        Self {
            last,
            answered_turn: 0,
            reading: true,
            again: false,
            over,
            ended: false,
            held: VecDeque::new(),
            held_bytes: 0,
            held_before: 0,
        }
    }

    /// Takes what came and says what is to be done, in order.
    pub(crate) fn on(&mut self, input: Input<C, D>, out: &mut Vec<Output<C, D>>) {
        if self.ended {
            return;
        }
        match input {
            Input::History(item) => self.give(item, out),
            Input::HistoryEnd => self.history_end(out),
            Input::Live { item, previous } => self.live(item, previous, out),
            Input::Delta { turn, bytes, body } if self.reading => {
                self.hold(Held::Delta { turn, bytes, body });
            }
            Input::Delta { turn, body, .. } => self.delta(turn, body, out),
            Input::Interrupted if self.reading => self.again = true,
            Input::Interrupted => self.read(out),
        }
    }

    fn live(&mut self, item: Item<C>, previous: u64, out: &mut Vec<Output<C, D>>) {
        if item.seq <= self.last {
            return;
        }
        if self.reading {
            self.hold(Held::Commit { item, previous });
        } else if previous <= self.last {
            self.give(item, out);
        } else {
            self.hold(Held::Commit { item, previous });
            self.read(out);
        }
    }

    fn history_end(&mut self, out: &mut Vec<Output<C, D>>) {
        self.reading = false;
        if std::mem::take(&mut self.again) {
            return self.read(out);
        }
        while let Some(held) = self.held.pop_front() {
            if self.follows_a_gap(&held) {
                self.held.push_front(held);
                return self.read(out);
            }
            self.held_bytes -= held.bytes();
            match held {
                Held::Commit { item, .. } => self.give(item, out),
                Held::Delta { turn, body, .. } => self.delta(turn, body, out),
            }
            if self.ended {
                return;
            }
        }
        if self.over {
            self.end(out);
        }
    }

    /// Whether a commit is missing before this one that reading may still find. A gap that is there
    /// after it was read is one of the log, whose oldest commits an installation may give up.
    fn follows_a_gap(&self, held: &Held<C, D>) -> bool {
        match held {
            Held::Commit { item, previous } => {
                *previous > self.last && item.seq > self.last && item.seq > self.held_before
            }
            Held::Delta { .. } => false,
        }
    }

    fn give(&mut self, item: Item<C>, out: &mut Vec<Output<C, D>>) {
        if item.seq <= self.last || self.ended {
            return;
        }
        self.last = item.seq;
        self.answered_turn = self.answered_turn.max(item.answered_turn);
        self.over |= item.terminal;
        out.push(Output::Commit(item));
        if self.over && !self.reading {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<Output<C, D>>) {
        self.ended = true;
        out.push(Output::End);
    }

    fn delta(&self, turn: u32, body: D, out: &mut Vec<Output<C, D>>) {
        if turn > self.answered_turn {
            out.push(Output::Delta(body));
        }
    }

    fn read(&mut self, out: &mut Vec<Output<C, D>>) {
        self.reading = true;
        let commits = self.held.iter().filter_map(|held| match held {
            Held::Commit { item, .. } => Some(item.seq),
            Held::Delta { .. } => None,
        });
        self.held_before = commits.max().unwrap_or(0);
        out.push(Output::Read {
            from: self.last + 1,
        });
    }

    fn hold(&mut self, held: Held<C, D>) {
        self.held_bytes += held.bytes();
        self.held.push_back(held);
        if self.held.len() > MOST_HELD || self.held_bytes > MOST_HELD_BYTES {
            self.held.clear();
            self.held_bytes = 0;
            self.again = true;
        }
    }
}
