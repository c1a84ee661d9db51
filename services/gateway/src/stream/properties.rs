//! Any interleaving of history, live commits, repetitions, losses and lost connections gives each
//! commit once and in order.

#![expect(clippy::panic, reason = "a test may fail")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::merge::{Input, Item, Merge, Output};

/// What the world does next.
#[derive(Clone, Debug)]
enum Act {
    /// A commit is appended; its live message arrives, or is lost.
    Append { lost: bool },
    /// A delta of the turn that is going arrives.
    Delta,
    /// An earlier live message arrives once more.
    Repeat(usize),
    /// The reading under way gets its next commits, so many of them.
    Page(usize),
    /// The connection was lost and came back.
    Reconnect,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => any::<bool>().prop_map(|lost| Act::Append { lost }),
        2 => Just(Act::Delta),
        2 => (0usize..64).prop_map(Act::Repeat),
        4 => (1usize..4).prop_map(Act::Page),
        1 => Just(Act::Reconnect),
    ]
}

/// A log, a machine and what a reader got of it.
struct World {
    log: Vec<u64>,
    merge: Merge<u64, u32>,
    /// Where the reading under way has come to.
    reading: Option<u64>,
    given: Vec<u64>,
    late_deltas: usize,
    ended: bool,
    ends_at: u64,
}

impl World {
    fn new(before: usize, had: usize, ends_at: u64) -> Self {
        let log: Vec<u64> = (0..before as u64).map(seq_of).collect();
        let last = had
            .checked_sub(1)
            .and_then(|index| log.get(index))
            .copied()
            .unwrap_or(0);
        Self {
            merge: Merge::after(last, false),
            reading: Some(last + 1),
            given: vec![],
            late_deltas: 0,
            ended: false,
            ends_at,
            log,
        }
    }

    fn item(&self, seq: u64) -> Item<u64> {
        let turn = u32::try_from(seq / 10).unwrap_or(0);
        Item {
            seq,
            terminal: seq >= self.ends_at,
            answered_turn: turn,
            bytes: 10,
            body: seq,
        }
    }

    fn feed(&mut self, input: Input<u64, u32>) {
        let mut out = vec![];
        self.merge.on(input, &mut out);
        for output in out {
            match output {
                Output::Commit(item) => self.given.push(item.body),
                Output::Delta(turn) => {
                    let answered = self.given.last().map_or(0, |seq| seq / 10);
                    self.late_deltas += usize::from(u64::from(turn) <= answered);
                }
                Output::Read { from } => {
                    assert!(self.reading.is_none(), "one reading at a time");
                    self.reading = Some(from);
                }
                Output::End => self.ended = true,
            }
        }
    }

    fn live(&mut self, index: usize) {
        if let Some(&seq) = self.log.get(index) {
            let previous = index
                .checked_sub(1)
                .and_then(|before| self.log.get(before))
                .copied()
                .unwrap_or(0);
            self.feed(Input::Live {
                item: self.item(seq),
                previous,
            });
        }
    }

    fn page(&mut self, commits: usize) {
        let Some(from) = self.reading.take() else {
            return;
        };
        let rest: Vec<u64> = self
            .log
            .iter()
            .copied()
            .filter(|seq| *seq >= from)
            .collect();
        for &seq in rest.iter().take(commits) {
            self.feed(Input::History(self.item(seq)));
        }
        match rest.get(commits) {
            Some(&next) => self.reading = Some(next),
            None => self.feed(Input::HistoryEnd),
        }
    }

    fn act(&mut self, act: Act) {
        let over = self.log.last().is_some_and(|last| *last >= self.ends_at);
        match act {
            Act::Append { .. } if over => {}
            Act::Append { lost } => {
                self.log.push(seq_of(self.log.len() as u64));
                if !lost {
                    self.live(self.log.len() - 1);
                }
            }
            Act::Delta => {
                let turn = self.log.last().map_or(0, |last| last / 10) + 1;
                let turn = u32::try_from(turn).unwrap_or(0);
                self.feed(Input::Delta {
                    turn,
                    bytes: 5,
                    body: turn,
                });
            }
            Act::Repeat(index) => self.live(index % self.log.len().max(1)),
            Act::Page(commits) => self.page(commits),
            Act::Reconnect => self.feed(Input::Interrupted),
        }
    }

    /// The connection comes back a last time, and reading goes on until nothing is left.
    fn settle(&mut self) {
        self.feed(Input::Interrupted);
        for _ in 0..10_000 {
            if self.reading.is_none() {
                return;
            }
            self.page(2);
        }
        panic!("reading does not end");
    }
}

/// Sequences of one subject have holes, where other subjects' are.
fn seq_of(index: u64) -> u64 {
    10 + index * 7
}

proptest! {
    #[test]
    fn each_commit_is_given_once_and_in_order(
        before in 0usize..12,
        had in 0usize..12,
        ends_after in 0u64..40,
        acts in vec(act(), 0..80),
    ) {
        let had = had.min(before);
        // What the reader had did not end the run.
        let ends_at = seq_of(ends_after.max(before as u64));
        let mut world = World::new(before, had, ends_at);
        for act in acts {
            world.act(act);
        }
        world.settle();
        let expected: Vec<u64> = world.log.iter().copied().skip(had).collect();
        prop_assert_eq!(&world.given, &expected);
        prop_assert_eq!(world.ended, world.log.last().is_some_and(|last| *last >= ends_at));
        prop_assert_eq!(world.late_deltas, 0);
    }

    #[test]
    fn without_losses_nothing_is_read_a_second_time(commits in 1u64..50) {
        let mut world = World::new(0, 0, u64::MAX);
        world.page(1);
        for _ in 0..commits {
            world.act(Act::Append { lost: false });
            prop_assert!(world.reading.is_none());
        }
        prop_assert_eq!(&world.given, &world.log);
    }
}

#[test]
fn holding_is_bounded_and_loses_nothing() {
    let mut world = World::new(0, 0, u64::MAX);
    for _ in 0..2_000 {
        world.act(Act::Append { lost: false });
    }
    world.settle();
    assert_eq!(world.given, world.log);
}

#[test]
fn what_the_log_has_given_up_does_not_block_the_rest() {
    let mut merge: Merge<u64, ()> = Merge::after(0, false);
    let item = |seq| Item {
        seq,
        terminal: false,
        answered_turn: 0,
        bytes: 1,
        body: seq,
    };
    let mut out = vec![];
    merge.on(Input::HistoryEnd, &mut out);
    merge.on(
        Input::Live {
            item: item(9),
            previous: 5,
        },
        &mut out,
    );
    assert_eq!(out, vec![Output::Read { from: 1 }]);
    out.clear();
    merge.on(Input::HistoryEnd, &mut out);
    assert_eq!(out, vec![Output::Commit(item(9))]);
}

#[test]
fn what_was_recorded_after_the_end_is_history_and_not_waited_for() {
    let item = |seq, terminal| Item {
        seq,
        terminal,
        answered_turn: 0,
        bytes: 1,
        body: seq,
    };
    let mut out: Vec<Output<u64, ()>> = vec![];
    let mut whole = Merge::after(0, false);
    for input in [
        Input::History(item(1, true)),
        Input::History(item(2, false)),
        Input::HistoryEnd,
    ] {
        whole.on(input, &mut out);
    }
    let given = [
        Output::Commit(item(1, true)),
        Output::Commit(item(2, false)),
        Output::End,
    ];
    assert_eq!(out, given);
    out.clear();
    let mut resumed = Merge::after(1, true);
    resumed.on(Input::History(item(2, false)), &mut out);
    resumed.on(Input::HistoryEnd, &mut out);
    assert_eq!(out, given[1..]);
}
