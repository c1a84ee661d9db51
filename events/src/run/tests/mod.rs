//! Given what happened, when something is decided, then that is recorded and this becomes due.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod approval;
mod cancel;
mod children;
mod deadline;
mod doubt;
mod downgrade;
mod embed;
mod failover;
mod given;
mod history;
mod invalid;
mod invoke;
mod model;
mod parked;
mod pause;
mod play;
mod policy;
mod prompt;
mod react;
mod reserve;
mod signal;
mod start;
mod summary;
mod tools;

use super::*;
use crate::aggregate::{Aggregate, Event, Position};
use crate::command::{Due, Reserve};
use crate::time::Timestamp;
use history::*;

/// A run, what was decided last, and what that made due.
#[derive(Clone)]
struct Story {
    run: Run,
    seq: u64,
    decided: Result<Vec<RunEvent>, DomainError>,
}

/// A run with these commits, the first of which has sequence 10, the next 20, and so on.
fn given(commits: impl IntoIterator<Item = Vec<RunEvent>>) -> Story {
    let unborn = Story {
        run: Run::default(),
        seq: 0,
        decided: Ok(vec![]),
    };
    commits.into_iter().fold(unborn, Story::record)
}

impl Story {
    fn record(mut self, events: Vec<RunEvent>) -> Self {
        if !events.is_empty() {
            self.seq += 10;
        }
        for (event, index) in events.iter().zip(0..) {
            self.run.evolve(
                event,
                Position {
                    seq: self.seq,
                    index,
                    time: at(self.seq),
                },
            );
        }
        self.decided = Ok(events);
        self
    }

    fn when(self, decide: impl FnOnce(&Run) -> Vec<RunEvent>) -> Self {
        let events = decide(&self.run);
        self.record(events)
    }

    fn asked(mut self, decide: impl FnOnce(&Run) -> Result<Vec<RunEvent>, DomainError>) -> Self {
        match decide(&self.run) {
            Ok(events) => self.record(events),
            Err(error) => {
                self.decided = Err(error);
                self
            }
        }
    }

    fn events(&self) -> &[RunEvent] {
        self.decided.as_ref().expect("it was not refused")
    }

    /// The types that were recorded, without what they have in common.
    #[track_caller]
    fn then(self, types: &[&str]) -> Self {
        assert_eq!(short(self.events()), types);
        self
    }

    #[track_caller]
    fn then_nothing(self) -> Self {
        self.then(&[])
    }

    #[track_caller]
    fn refused(self, code: &str) -> Self {
        let error = self.decided.as_ref().expect_err("it was to be refused");
        assert_eq!(error.code(), code, "{error}");
        self
    }

    #[track_caller]
    fn due(self, commands: &[&str]) -> Self {
        assert_eq!(names(&self.reacts()), commands);
        self
    }

    #[track_caller]
    fn is(self, status: Status) -> Self {
        assert_eq!(self.run.status, status);
        self
    }

    fn reacts(&self) -> Vec<Due> {
        super::react(&self.run, self.seq, self.seq)
    }
}

fn at(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_795_353_377_328).plus_millis(seq)
}

fn short(events: &[RunEvent]) -> Vec<&str> {
    let strip = |name: &'static str| {
        let name = name
            .strip_prefix("nexus.run.")
            .and_then(|name| name.strip_suffix(".v1"));
        name.expect("every type has prefix and version")
    };
    events
        .iter()
        .map(|event| strip(event.type_name()))
        .collect()
}

fn names(due: &[Due]) -> Vec<String> {
    use crate::command::Command;
    let name = |due: &Due| match &due.command {
        Command::ExecuteTool(execute) => format!("tool {}", execute.call_id),
        Command::Reserve(Reserve {
            call_id: Some(call_id),
            ..
        }) => format!("reserve {call_id}"),
        Command::Settle(settle) => format!("settle {}", settle.spent.tokens),
        command => command.verb().to_owned(),
    };
    due.iter().map(name).collect()
}
