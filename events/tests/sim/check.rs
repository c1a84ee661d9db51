//! What must be true when a schedule is over.

use std::collections::{BTreeMap, BTreeSet};

use nexus_events::ledger::{Amounts, Ledger, LedgerEvent, Scope, Window};
use nexus_events::run::{Run, Status};
use nexus_events::{Aggregate, Commit, ReservationId};

use super::client::scopes_of;
use super::log::Stream;
use super::story;
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
    pub(crate) left_over: u64,
    pub(crate) events: u64,
}

impl Seen {
    fn figures(&mut self) -> [&mut u64; 14] {
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
            &mut self.left_over,
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
        // It takes three faults at once, and is seen in one schedule of thousands.
        self.left_over += 1;
        assert!(
            self.figures().into_iter().all(|figure| *figure > 0),
            "too tame: {self:?}"
        );
    }
}

/// Checks it all; the replay, which costs most, only where asked.
pub(crate) fn all(world: &World, held: &[ReservationId], replayed: bool) -> Seen {
    let mut seen = Seen::default();
    let mut spent: BTreeMap<Scope, Amounts> = BTreeMap::new();
    let mut left: BTreeSet<_> = held.iter().copied().collect();
    for (id, stream) in &world.log.runs {
        let run = stream.states.last().expect("a stream has a state");
        ended(id, run, &mut seen);
        let story = story::tell(id, stream, &mut seen);
        if let Some(grant) = &run.grant {
            assert!(paused(run), "run {id} ended and holds {grant:?}");
            left.remove(&grant.reservation_id);
        }
        for granted in &story.granted {
            let settled = world.audit.settlements.contains_key(granted);
            let held = run.grant.as_ref().map(|grant| grant.reservation_id);
            assert!(
                settled || held == Some(*granted),
                "the settlement of {granted} is lost"
            );
        }
        for scope in scopes_of(run) {
            let sum = spent.entry(scope).or_default();
            *sum = sum.plus(story.spent);
        }
        if replayed {
            replays(stream, |run| format!("{run:?}"));
        }
    }
    left_over(world, &left, &mut seen);
    ledger(world, &spent, &mut seen);
    if replayed {
        let sessions = world.log.sessions.values();
        sessions.for_each(|stream| replays(stream, |session| format!("{session:?}")));
        replays_ledger(world, spent.into_keys().collect());
    }
    seen
}

fn ended(id: &str, run: &Run, seen: &mut Seen) {
    let paused = paused(run);
    assert!(
        run.status.is_terminal() || paused,
        "run {id} was accepted and is {:?}",
        run.status
    );
    seen.runs += 1;
    seen.paused += u64::from(paused);
    seen.completed += u64::from(run.status == Status::Completed);
    seen.failed += u64::from(run.status == Status::Failed);
    seen.cancelled += u64::from(run.status == Status::Cancelled);
}

fn paused(run: &Run) -> bool {
    run.paused && !run.status.is_terminal()
}

/// What was held at the end and no paused run holds went back by its own time. It takes two workers
/// on one command: one finds that nothing is to be done and acknowledges, the other slept since
/// before the run ended, reserves, and dies.
fn left_over(world: &World, left: &BTreeSet<ReservationId>, seen: &mut Seen) {
    assert!(
        left.is_empty() || world.doubles(),
        "nobody settles {left:?}"
    );
    seen.left_over += left.len() as u64;
    assert!(world.audit.nothing_is_held(), "what expired went back");
}

/// The ledger spent what the runs say, in each scope, and settled nothing twice.
fn ledger(world: &World, spent: &BTreeMap<Scope, Amounts>, seen: &mut Seen) {
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
    for (id, times) in &world.audit.settlements {
        assert_eq!(*times, 1, "reservation {id} was settled {times} times");
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
