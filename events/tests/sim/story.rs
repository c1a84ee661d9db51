//! One run's log, read as a story: each step has one outcome, and nothing happens after the end but
//! that a call is charged.

use std::collections::{BTreeMap, BTreeSet};

use nexus_events::command::charged;
use nexus_events::ledger::Amounts;
use nexus_events::model::Usage;
use nexus_events::run::{PolicyPoint, Resolution, Run, RunEvent};
use nexus_events::{ReservationId, Timestamp};

use super::log::Stream;
use super::seen::Seen;

/// What a run was allowed to spend, and did.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) granted: BTreeSet<ReservationId>,
    /// What it was told to wait for.
    pub(crate) parked: BTreeSet<ReservationId>,
    pub(crate) spent: Amounts,
    /// Tool calls that hold something, and since when they are at work.
    tools: BTreeMap<String, Option<Timestamp>>,
    steps: BTreeSet<String>,
    /// Calls that are in doubt.
    doubts: BTreeSet<String>,
    /// How often a person let a call be tried again.
    pub(crate) retries: BTreeMap<(u32, String), u32>,
    downgrades: u32,
    /// Model calls that failed and were made again.
    failures: u32,
    /// Something is held for the model call of the turn.
    held: bool,
    ended: bool,
}

pub(crate) fn tell(id: &str, stream: &Stream<Run>, seen: &mut Seen) -> Story {
    let mut story = Story::default();
    for stored in &stream.commits {
        for event in &stored.commit.events {
            seen.run_event(event);
            if let Some(step) = story.take(event, stored.commit.time) {
                assert!(
                    story.steps.insert(step.clone()),
                    "run {id} did {step} twice"
                );
            }
            use RunEvent::{LlmAborted, ReservationLapsed, RunCancelled, RunCompleted, RunFailed};
            let charges = matches!(event, LlmAborted(_) | ReservationLapsed(_));
            assert!(
                !story.ended || charges,
                "run {id} had ended before {event:?}"
            );
            if matches!(event, RunCompleted(_) | RunFailed(_) | RunCancelled(_)) {
                story.end(stored.commit.time);
            }
        }
    }
    story
}

impl Story {
    /// The step of which this is an outcome.
    fn take(&mut self, event: &RunEvent, at: Timestamp) -> Option<String> {
        match event {
            RunEvent::PolicyDecided(decided) => Some(match &decided.point {
                PolicyPoint::ToolCall { turn, call_id } if !decided.allowed => {
                    format!("tool {}", call(*turn, call_id))
                }
                // A cheaper model is judged again, and so is a call after one that failed.
                point => format!("judge {point:?} {} {}", self.downgrades, self.failures),
            }),
            RunEvent::ReservationGranted(grant) => {
                self.granted.insert(grant.reservation_id);
                match &grant.call_id {
                    Some(call_id) => {
                        self.tools.insert(call(grant.turn, call_id), None);
                    }
                    None => self.held = true,
                }
                Some(format!("grant {}", grant.reservation_id))
            }
            RunEvent::ReservationLapsed(lapsed) => {
                match &lapsed.call_id {
                    Some(call_id) => {
                        self.tools.remove(&call(lapsed.turn, call_id));
                    }
                    None => self.held = false,
                }
                Some(format!("lapse {}", lapsed.reservation_id))
            }
            RunEvent::RunParked(parked) => {
                self.parked.insert(parked.reservation_id);
                Some(format!("park {}", parked.reservation_id))
            }
            RunEvent::ModelDowngraded(change) => {
                assert_ne!(change.from, change.to);
                self.downgrades += 1;
                None
            }
            RunEvent::ModelSwitched(switch) => {
                assert_ne!(switch.from, switch.to);
                None
            }
            RunEvent::LlmCompleted(done) => {
                let (usage, cost) = (&done.usage, done.cost_usd_micros);
                self.model(done.turn, usage, cost, done.duration_ms)
            }
            RunEvent::LlmFailed(failed) => {
                let (usage, cost) = (&failed.usage, failed.cost_usd_micros);
                let step = self.model(failed.turn, usage, cost, failed.duration_ms);
                self.failures += u32::from(failed.again.is_some());
                step
            }
            RunEvent::LlmAborted(aborted) => {
                let (usage, cost) = (&aborted.usage, aborted.cost_usd_micros);
                self.model(aborted.turn, usage, cost, aborted.duration_ms)
            }
            RunEvent::ToolStarted(started) => {
                let tool = self.tools.get_mut(&call(started.turn, &started.call_id));
                *tool.expect("a tool holds something before it is started") = Some(at);
                None
            }
            RunEvent::ToolInDoubt(doubt) => {
                let call = call(doubt.turn, &doubt.call_id);
                let started = self.tools.remove(&call).flatten();
                assert!(started.is_some(), "{call} was not at work");
                self.spend_on_tool(doubt.duration_ms);
                let attempt = doubt.attempt;
                self.doubts.insert(call.clone());
                Some(format!("doubt {call} {attempt}"))
            }
            RunEvent::ToolResolved(resolved) => {
                let call = call(resolved.turn, &resolved.call_id);
                assert!(self.doubts.remove(&call), "{call} was not in doubt");
                if resolved.resolution != Resolution::Retry {
                    return Some(format!("tool {call}"));
                }
                *self
                    .retries
                    .entry((resolved.turn, resolved.call_id.clone()))
                    .or_default() += 1;
                None
            }
            RunEvent::ToolCompleted(done) => self.tool(done.turn, &done.call_id, done.duration_ms),
            RunEvent::ToolFailed(failed) => {
                self.tool(failed.turn, &failed.call_id, failed.duration_ms)
            }
            _ => None,
        }
    }

    fn model(&mut self, turn: u32, usage: &Usage, cost: u64, duration_ms: u64) -> Option<String> {
        // Of each call: one that is made again does not spend what was held for the one before.
        assert!(
            self.held,
            "turn {turn}: a model call that nothing was held for"
        );
        self.held = false;
        self.spent = self.spent.plus(charged(usage, cost, duration_ms));
        Some(format!("model {turn} {}", self.failures))
    }

    fn tool(&mut self, turn: u32, call_id: &str, time_ms: u64) -> Option<String> {
        let call = call(turn, call_id);
        assert!(!self.doubts.contains(&call), "{call} is in doubt");
        // Tools that do not exist, or that policy denied, hold nothing.
        if self.tools.remove(&call).is_some() {
            self.spend_on_tool(time_ms);
        }
        Some(format!("tool {call}"))
    }

    fn spend_on_tool(&mut self, time_ms: u64) {
        let spent = Amounts {
            time_ms,
            tool_calls: 1,
            ..Amounts::default()
        };
        self.spent = self.spent.plus(spent);
    }

    /// Tools that are at work are charged up to here.
    fn end(&mut self, at: Timestamp) {
        self.ended = true;
        for since in std::mem::take(&mut self.tools).into_values().flatten() {
            self.spend_on_tool(at.millis_since(since));
        }
    }
}

fn call(turn: u32, call_id: &str) -> String {
    format!("{turn} {call_id}")
}
