//! One run's log, read as a story: each step has one outcome, and nothing happens after the end but
//! that a call is charged.

use std::collections::BTreeSet;

use nexus_events::ReservationId;
use nexus_events::command::charged;
use nexus_events::ledger::Amounts;
use nexus_events::model::Usage;
use nexus_events::run::{PolicyPoint, Run, RunEvent};

use super::check::Seen;
use super::log::Stream;

/// What a run was allowed to spend, and did.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) granted: BTreeSet<ReservationId>,
    pub(crate) spent: Amounts,
    steps: BTreeSet<String>,
    ended: bool,
}

pub(crate) fn tell(id: &str, stream: &Stream<Run>, seen: &mut Seen) -> Story {
    let mut story = Story::default();
    let commits = stream.commits.iter();
    for event in commits.flat_map(|stored| &stored.commit.events) {
        seen.events += 1;
        if let Some(step) = story.take(event, seen) {
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
        story.ended |= matches!(event, RunCompleted(_) | RunFailed(_) | RunCancelled(_));
    }
    story
}

impl Story {
    /// The step of which this is an outcome.
    fn take(&mut self, event: &RunEvent, seen: &mut Seen) -> Option<String> {
        match event {
            RunEvent::PolicyDecided(decided) => Some(match &decided.point {
                PolicyPoint::ToolCall { turn, call_id } if !decided.allowed => {
                    format!("tool {turn} {call_id}")
                }
                point => format!("judge {point:?}"),
            }),
            RunEvent::ReservationGranted(grant) => {
                self.granted.insert(grant.reservation_id);
                Some(format!("grant {}", grant.reservation_id))
            }
            RunEvent::ReservationLapsed(lapsed) => {
                seen.lapses += 1;
                Some(format!("lapse {}", lapsed.reservation_id))
            }
            RunEvent::LlmCompleted(done) => self.model(
                done.turn,
                &done.usage,
                done.cost_usd_micros,
                done.duration_ms,
            ),
            RunEvent::LlmFailed(failed) => self.model(
                failed.turn,
                &failed.usage,
                failed.cost_usd_micros,
                failed.duration_ms,
            ),
            RunEvent::LlmAborted(aborted) => {
                seen.aborted += 1;
                let (usage, cost) = (&aborted.usage, aborted.cost_usd_micros);
                self.model(aborted.turn, usage, cost, aborted.duration_ms)
            }
            RunEvent::ToolCompleted(done) => Some(format!("tool {} {}", done.turn, done.call_id)),
            RunEvent::ToolFailed(failed) => {
                Some(format!("tool {} {}", failed.turn, failed.call_id))
            }
            RunEvent::ReservationRefused(_) => {
                seen.refused += 1;
                None
            }
            RunEvent::ToolStarted(_) => {
                seen.tools += 1;
                None
            }
            _ => None,
        }
    }

    fn model(&mut self, turn: u32, usage: &Usage, cost: u64, duration_ms: u64) -> Option<String> {
        self.spent = self.spent.plus(charged(usage, cost, duration_ms));
        Some(format!("model {turn}"))
    }
}
