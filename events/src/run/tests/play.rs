//! Plays a run to its end: every command that is due is handled, in order, as the roles would.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::command::Command;

/// A run that is played, and what its commits made due.
pub(super) struct Play {
    pub(super) story: Story,
    pub(super) queue: VecDeque<Due>,
    pub(super) settled: Vec<crate::command::Settle>,
    pub(super) granted: u32,
    pub(super) ended: u32,
    ids: BTreeSet<String>,
}

/// Calls of tools that the model wants in each turn; after them it answers.
const SCRIPT: [&[&str]; 2] = [&["a", "b"], &["a"]];

impl Play {
    pub(super) fn new() -> Self {
        let mut play = Self {
            story: given([]),
            queue: VecDeque::new(),
            settled: vec![],
            granted: 0,
            ended: 0,
            ids: BTreeSet::new(),
        };
        play.take(|run| start(run, new_run(hello()), &catalog()).expect("it is valid"));
        play
    }

    /// Decides, records, and queues what became due; each command once in the run's life.
    pub(super) fn take(&mut self, decide: impl FnOnce(&Run) -> Vec<RunEvent>) {
        self.story = self.story.clone().when(decide);
        if self.story.events().is_empty() {
            return;
        }
        for due in self.story.reacts() {
            assert!(
                self.ids.insert(due.id.to_string()),
                "{:?} is due twice",
                due.command
            );
            self.queue.push_back(due);
        }
    }

    /// Handles this many commands, or all with `usize::MAX`.
    pub(super) fn steps(&mut self, count: usize) -> usize {
        let mut handled = 0;
        while handled < count
            && let Some(due) = self.queue.pop_front()
        {
            self.handle(due.command);
            handled += 1;
        }
        handled
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::EvaluatePolicy(_) => self.take(|run| {
                let points = run.points_to_judge().into_iter();
                record_policy(
                    run,
                    points.map(|point| judged(point, true)).collect(),
                    at(0),
                )
            }),
            Command::Reserve(reserve) => self.reserve(reserve.turn, reserve.call_id),
            Command::CallModel(call) => self.call(call.turn),
            Command::ExecuteTool(execute) => {
                let (turn, call_id) = (execute.turn, execute.call_id);
                self.take(|run| start_tool(run, turn, &call_id, at(0)));
                self.take(|run| record_tool(run, result_of(turn, &call_id)));
            }
            Command::Settle(settle) => self.settled.push(settle),
            Command::EndRun(_) => self.ended += 1,
            other => panic!("{other:?} is no command of a run"),
        }
    }

    fn reserve(&mut self, turn: u32, call_id: Option<String>) {
        let call_id = call_id.as_deref();
        let asks = ask(&self.story.run, turn, call_id, &catalog()).expect("the model is known");
        // The ledger is not asked for a run that does not wait.
        if asks.is_none() {
            return;
        }
        self.granted += 1;
        let granted = match call_id {
            None => granted(turn, self.story.run.round),
            Some(call_id) => tool_granted(turn, call_id, 0),
        };
        self.take(|run| record_reservation(run, turn, call_id, Reserved::Granted(granted)));
    }

    fn call(&mut self, turn: u32) {
        let calls = SCRIPT.get(turn as usize - 1).copied().unwrap_or_default();
        let calls: Vec<_> = calls.iter().map(|&id| (id, "calculator")).collect();
        let outcome = if self.story.run.status.is_terminal() {
            ModelOutcome::Aborted(broken_off(turn))
        } else {
            ModelOutcome::Completed(answer(turn, &calls))
        };
        self.take(|run| record_model(run, outcome, at(1_000)));
    }

    /// Everything that was granted was settled, once.
    pub(super) fn assert_settled(&self) {
        let ids: BTreeSet<_> = self
            .settled
            .iter()
            .map(|settle| settle.reservation_id)
            .collect();
        assert_eq!(ids.len(), self.settled.len(), "each once");
        assert_eq!(ids.len(), self.granted as usize, "each that was granted");
        assert_eq!(self.story.run.grant, None);
        // The ledger learns that the run is no longer in flight, if it ever was.
        let ends = self.settled.iter().filter(|settle| settle.ends_run).count();
        let in_flight = self.granted > 0;
        assert_eq!(ends + self.ended as usize > 0, in_flight);
        assert!(ends == 0 || self.ended == 0, "one way or the other");
    }
}

#[test]
fn a_run_comes_to_its_answer() {
    let mut play = Play::new();
    let steps = play.steps(usize::MAX);
    assert_eq!(play.story.run.status, Status::Completed);
    assert_eq!((play.story.run.turn, play.granted), (3, 6));
    // Three turns of policy, reservation, call and settlement, two judgements of tools, and three
    // tools with reservation and settlement.
    assert_eq!(steps, 23);
    play.assert_settled();
}
