//! What must be true when a schedule is over.

use std::collections::{BTreeMap, BTreeSet};

use nexus_events::ledger::{Amounts, Ledger, LedgerEvent, Scope, Window};
use nexus_events::run::{PolicyPoint, Run, RunEvent, Status};
use nexus_events::{Aggregate, Commit, ReservationId};

use super::client::scopes_of;
use super::log::Stream;
use super::world::{LEDGER, World};

/// What happened in a schedule: so that a test can tell that enough of everything did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) runs: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) paused: u64,
    pub(crate) lapses: u64,
    pub(crate) aborted: u64,
    pub(crate) refused: u64,
    pub(crate) tools: u64,
    pub(crate) late: u64,
    pub(crate) overruns: u64,
    pub(crate) expired: u64,
    pub(crate) events: u64,
}

impl Seen {
    fn figures(&mut self) -> [&mut u64; 13] {
        [
            &mut self.runs,
            &mut self.completed,
            &mut self.failed,
            &mut self.cancelled,
            &mut self.paused,
            &mut self.lapses,
            &mut self.aborted,
            &mut self.refused,
            &mut self.tools,
            &mut self.late,
            &mut self.overruns,
            &mut self.expired,
            &mut self.events,
        ]
    }

    pub(crate) fn add(&mut self, mut other: Self) {
        for (sum, figure) in self.figures().into_iter().zip(other.figures()) {
            *sum += *figure;
        }
    }

    /// Everything that can happen did.
    pub(crate) fn assert_variety(mut self) {
        assert!(
            self.figures().into_iter().all(|figure| *figure > 0),
            "too tame: {self:?}"
        );
    }
}

/// Checks it all; the replay, which costs most, only where asked.
pub(crate) fn all(world: &World, replayed: bool) -> Seen {
    let mut seen = Seen::default();
    let mut spent: BTreeMap<Scope, Amounts> = BTreeMap::new();
    let mut reservations = BTreeSet::new();
    let mut held_by_paused = 0;
    for (id, stream) in &world.log.runs {
        let run = stream.states.last().expect("a stream has a state");
        ended(id, run, &mut seen);
        once(id, stream, &mut seen);
        if replayed {
            replays(stream, |run| format!("{run:?}"));
        }
        held_by_paused += usize::from(run.grant.is_some());
        for settling in &run.settling {
            let new = reservations.insert(settling.reservation_id);
            assert!(new, "{id} settles {} twice", settling.reservation_id);
            for scope in scopes_of(run) {
                let sum = spent.entry(scope).or_default();
                *sum = sum.plus(settling.spent);
            }
        }
    }
    for stream in world.log.sessions.values().filter(|_| replayed) {
        replays(stream, |session| format!("{session:?}"));
    }
    ledger(world, &spent, &reservations, held_by_paused, &mut seen);
    if replayed {
        replays_ledger(world, spent.into_keys().collect());
    }
    seen
}

fn ended(id: &str, run: &Run, seen: &mut Seen) {
    let paused = run.paused && !run.status.is_terminal();
    assert!(
        run.status.is_terminal() || paused,
        "run {id} was accepted and is {:?}",
        run.status
    );
    assert!(
        run.grant.is_none() || paused,
        "run {id} ended and holds {:?}",
        run.grant
    );
    seen.runs += 1;
    seen.paused += u64::from(paused);
    seen.completed += u64::from(run.status == Status::Completed);
    seen.failed += u64::from(run.status == Status::Failed);
    seen.cancelled += u64::from(run.status == Status::Cancelled);
}

/// Each step has one outcome, and nothing happens after the end but that a call is charged.
fn once(id: &str, stream: &Stream<Run>, seen: &mut Seen) {
    let mut steps = BTreeSet::new();
    let mut ended = false;
    for event in stream
        .commits
        .iter()
        .flat_map(|stored| &stored.commit.events)
    {
        seen.events += 1;
        let step = match event {
            RunEvent::PolicyDecided(decided) => Some(match &decided.point {
                PolicyPoint::ToolCall { turn, call_id } if !decided.allowed => {
                    format!("tool {turn} {call_id}")
                }
                point => format!("judge {point:?}"),
            }),
            RunEvent::ReservationGranted(grant) => Some(format!("grant {}", grant.reservation_id)),
            RunEvent::ReservationLapsed(lapsed) => {
                seen.lapses += 1;
                Some(format!("used {}", lapsed.reservation_id))
            }
            RunEvent::LlmCompleted(done) => Some(format!("model {}", done.turn)),
            RunEvent::LlmFailed(failed) => Some(format!("model {}", failed.turn)),
            RunEvent::LlmAborted(aborted) => {
                seen.aborted += 1;
                Some(format!("model {}", aborted.turn))
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
        };
        if let Some(step) = step {
            assert!(steps.insert(step.clone()), "run {id} did {step} twice");
        }
        let charges = matches!(
            event,
            RunEvent::LlmAborted(_) | RunEvent::ReservationLapsed(_)
        );
        assert!(!ended || charges, "run {id} had ended before {event:?}");
        ended |= matches!(
            event,
            RunEvent::RunCompleted(_) | RunEvent::RunFailed(_) | RunEvent::RunCancelled(_)
        );
    }
}

/// The ledger holds nothing that no paused run holds, and spent what the runs say, in each scope.
fn ledger(
    world: &World,
    spent: &BTreeMap<Scope, Amounts>,
    settled_by_runs: &BTreeSet<ReservationId>,
    held_by_paused: usize,
    seen: &mut Seen,
) {
    let stream = &world.log.ledgers[LEDGER];
    for event in stream
        .commits
        .iter()
        .flat_map(|stored| &stored.commit.events)
    {
        match event {
            LedgerEvent::BudgetSettled(settled) => seen.late += u64::from(settled.late),
            LedgerEvent::BudgetOverrun(_) => seen.overruns += 1,
            LedgerEvent::ReservationExpired(_) => seen.expired += 1,
            _ => {}
        }
    }
    let held: Vec<_> = world.audit.held().collect();
    assert!(held.len() <= held_by_paused, "nobody settles {held:?}");
    for (id, times) in &world.audit.settlements {
        assert_eq!(*times, 1, "reservation {id} was settled {times} times");
    }
    for id in settled_by_runs {
        assert!(
            world.audit.settlements.contains_key(id),
            "the settlement of {id} is lost"
        );
    }
    let state = stream.states.last().expect("a stream has a state");
    for (scope, sum) in spent {
        if let Some(account) = state.account(scope, Window::Lifetime) {
            assert_eq!(account.spent, *sum, "what the runs of {scope:?} spent");
        }
    }
}

fn replays_ledger(world: &World, scopes: Vec<Scope>) {
    let ids: Vec<_> = world.audit.reserved.keys().copied().collect();
    let view = |ledger: &Ledger| crate::audit::view(ledger, &scopes, &ids);
    replays(&world.log.ledgers[LEDGER], view);
}

/// A fold of what was written and read again is the live state.
fn replays<A: Aggregate>(stream: &Stream<A>, view: impl Fn(&A) -> String) {
    let mut replayed = A::default();
    for stored in &stream.commits {
        let body = stored
            .commit
            .encode("sim", "subject")
            .expect("events are JSON");
        let read = Commit::<A::Event>::decode(&body).expect("what was written can be read");
        assert_eq!(read, stored.commit);
        for recorded in read.recorded(stored.seq) {
            replayed.evolve(&recorded.event, recorded.at);
        }
    }
    let live = stream.states.last().expect("a stream has a state");
    assert_eq!(view(&replayed), view(live), "a replay differs");
}
