//! What must be true when a schedule is over.

use std::collections::{BTreeMap, BTreeSet};

use nexus_events::ledger::{Amounts, Ledger, LedgerEvent, Scope, Window};
use nexus_events::run::{Run, Status, Step, ToolPhase};
use nexus_events::session::{Session, SessionEvent};
use nexus_events::{Aggregate, Commit, RunId};

use super::client::is_paused;
use super::log::Stream;
use super::seen::Seen;
use super::story;
use super::world::{LEDGER, World};

/// Checks it all; the replay, which costs most, only where asked.
pub(crate) fn all(world: &World, replayed: bool) -> Seen {
    let mut seen = Seen {
        snapshots: world.snapshots,
        granted: world.granted,
        ..Seen::default()
    };
    let mut spent: BTreeMap<Scope, Amounts> = world.audit.outside.clone();
    let parked = parked(world);
    for (id, stream) in &world.log.runs {
        let run = stream.states.last().expect("a stream has a state");
        ended(world, id, run, &mut seen);
        let story = story::tell(id, stream, &mut seen);
        once(world, id, &story);
        let knows = run.knows();
        for granted in &story.granted {
            let settled = world.audit.settlements.contains_key(granted);
            assert!(
                settled || is_paused(run) && knows.contains(granted),
                "the settlement of {granted} is lost"
            );
        }
        for waited in &story.parked {
            assert!(parked.contains(waited), "nobody waited for {waited}");
        }
        for scope in scopes_of(world, run) {
            let sum = spent.entry(scope).or_default();
            *sum = sum.plus(story.spent);
        }
        if replayed {
            replays(stream, |run| format!("{run:?}"));
        }
    }
    world.audit.nobody_waits_in_vain(Some(world.now));
    nothing_is_left(world);
    in_turn(world, &mut seen);
    ledger(world, &spent, &mut seen);
    if replayed {
        let sessions = world.log.sessions.values();
        sessions.for_each(|stream| replays(stream, |session| format!("{session:?}")));
        replays_ledger(world);
    }
    seen
}

/// What must not happen twice happened at most once, and once more for each time that a person said
/// so.
fn once(world: &World, id: &str, story: &story::Story) {
    let of_run = world
        .effects
        .iter()
        .filter(|((run, ..), _)| run.to_string() == id);
    for ((_, turn, call_id), &times) in of_run {
        let retries = story.retries.get(&(*turn, call_id.clone()));
        let most = 1 + retries.copied().unwrap_or(0);
        assert!(
            times <= most,
            "run {id}: {turn} {call_id} took effect {times} times"
        );
    }
}

/// It has ended, somebody paused it, or it waits in a line and knows that it does.
fn ended(world: &World, id: &str, run: &Run, seen: &mut Seen) {
    seen.runs += 1;
    seen.completed += u64::from(run.status == Status::Completed);
    seen.failed += u64::from(run.status == Status::Failed);
    seen.cancelled += u64::from(run.status == Status::Cancelled);
    let paused = is_paused(run);
    seen.paused += u64::from(paused);
    if run.status.is_terminal() || paused {
        return;
    }
    if run.status == Status::Queued {
        // Somebody before it goes on: nobody waits for nothing.
        let session_id = run.info().expect("it began").session.id;
        let session = world.log.latest::<Session>(&session_id.to_string()).state;
        let last = (session.last).map_or(RunId::new(session_id.uuid()), |last| last.run_id);
        let last = world.run(last);
        assert!(
            last.awaited && !last.status.is_terminal() && last.status != Status::Queued,
            "run {id} waits in {session:?} for a run that is {:?}",
            last.status
        );
        seen.waiting += 1;
        return;
    }
    let (awaits, parked) = (run.awaits(), steps_that_wait(run));
    assert!(
        !awaits.is_empty() && awaits.len() == parked,
        "run {id} was accepted and is at {:?}",
        run.step
    );
    let ledger = world.log.latest::<Ledger>(LEDGER).state;
    for waited in awaits {
        assert!(
            ledger.waiting(waited).is_some(),
            "run {id} waits for {waited}"
        );
    }
    seen.waiting += 1;
}

/// Runs that waited had their turns in the order in which they came, and no other run of the session
/// went on then.
fn in_turn(world: &World, seen: &mut Seen) {
    for (id, stream) in &world.log.sessions {
        let (mut queue, mut joined) = (vec![], BTreeSet::new());
        for event in stream
            .commits
            .iter()
            .flat_map(|stored| &stored.commit.events)
        {
            match event {
                SessionEvent::SessionRunQueued(queued) => queue.push(queued.run_id),
                SessionEvent::SessionRunAttached(attached) => {
                    if let Some(place) = queue.iter().position(|run| *run == attached.run_id) {
                        assert_eq!(place, 0, "session {id}: {} overtook", attached.run_id);
                        queue.remove(0);
                        seen.queued += 1;
                    }
                    joined.insert(attached.run_id);
                }
                SessionEvent::SessionRunLeft(left) => {
                    queue.retain(|run| *run != left.run_id);
                    seen.left += 1;
                }
                SessionEvent::SessionOpened(_) | SessionEvent::SessionClosed(_) => {}
            }
        }
        let state = stream.states.last().expect("a stream has a state");
        let waits: Vec<_> = state.queue.iter().map(|queued| queued.run_id).collect();
        assert_eq!(waits, queue);
        for run in waits {
            assert_eq!(world.run(run).status, Status::Queued, "{run} waits in {id}");
        }
    }
}

/// Steps that were told to wait; none if there is another one that has something to do.
fn steps_that_wait(run: &Run) -> usize {
    let Step::Tools { calls, .. } = &run.step else {
        return usize::from(matches!(run.step, Step::Reserve { parked: true, .. }));
    };
    let waits = |phase: &ToolPhase| matches!(phase, ToolPhase::Reserve { parked: true, .. });
    let phases = || calls.iter().map(|step| &step.phase);
    let rests = |phase: &ToolPhase| waits(phase) || matches!(phase, ToolPhase::Done(_));
    if phases().all(rests) {
        phases().filter(|phase| waits(phase)).count()
    } else {
        0
    }
}

fn parked(world: &World) -> BTreeSet<nexus_events::ReservationId> {
    let commits = world.log.ledgers[LEDGER].commits.iter();
    let events = commits.flat_map(|stored| &stored.commit.events);
    events
        .filter_map(|event| match event {
            LedgerEvent::ReservationParked(parked) => Some(parked.ask.reservation_id),
            _ => None,
        })
        .collect()
}

/// Every scope in which a run counts, its parents' included.
fn scopes_of(world: &World, run: &Run) -> BTreeSet<Scope> {
    let mut scopes = BTreeSet::new();
    let mut next = run.info().cloned();
    while let Some(info) = next {
        scopes.extend([
            Scope::Tenant,
            Scope::User(info.user.user.clone()),
            Scope::Agent(info.agent.name.clone()),
            Scope::Session(info.session.id),
            Scope::Run(info.run_id),
        ]);
        let parent = info.parent.map(|parent| parent.run_id);
        next = parent.and_then(|parent| world.run(parent).info().cloned());
    }
    scopes
}

/// Nothing is held, waits, or is in flight for a run that has ended.
fn nothing_is_left(world: &World) {
    let left = world.left_over();
    assert!(left.is_empty() || world.doubles(), "left over: {left:?}");
    let ledger = world.log.latest::<Ledger>(LEDGER).state;
    for (id, held) in ledger.reservations() {
        let run = held.run_id.map(|run| world.run(run));
        assert!(
            run.is_some_and(|run| is_paused(&run) && run.knows().contains(id)),
            "{id} is held: {held:?}"
        );
    }
    for (id, answer) in ledger.answers() {
        let run = world.run(answer.step.run.run_id);
        assert!(
            !run.status.is_terminal() && run.knows().contains(id),
            "nobody needs the answer {id}: {answer:?}"
        );
    }
    for run in world.audit.in_flight() {
        let state = world.run(run);
        assert!(!state.status.is_terminal(), "{run} ended and is in flight");
    }
}

/// The ledger spent what the runs say, in each scope, and settled nothing twice.
fn ledger(world: &World, spent: &BTreeMap<Scope, Amounts>, seen: &mut Seen) {
    let stream = &world.log.ledgers[LEDGER];
    let (mut waited, mut opened) = (BTreeSet::new(), BTreeSet::new());
    for stored in &stream.commits {
        let events = &stored.commit.events;
        if let Some(LedgerEvent::BudgetReserved(made)) = events.first() {
            seen.resets += u64::from(waited.contains(&made.reservation_id));
        }
        for event in events {
            seen.ledger_event(event);
            match event {
                LedgerEvent::ReservationParked(parked) => {
                    waited.insert(parked.ask.reservation_id);
                }
                LedgerEvent::BudgetReserved(made) => opened.extend(made.run_id),
                _ => {}
            }
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
    // A person can grant to a run that never gets to hold anything, which leaves an account.
    for run in &opened {
        let own = Scope::Run(*run);
        let stays = state.account(&own, Window::Lifetime);
        let needed = stays.is_some_and(|account| !account.reserved.is_zero());
        assert!(
            stays.is_none() || needed || !world.run(*run).status.is_terminal(),
            "the account of {run} stays: {stays:?}"
        );
    }
}

fn replays_ledger(world: &World) {
    let ids: Vec<_> = world.audit.reserved.keys().copied().collect();
    let ids: Vec<_> = ids.into_iter().chain(world.audit.lines.ids()).collect();
    let client = &world.client;
    let view = |ledger: &Ledger| crate::audit::view(ledger, &client.scopes, &ids, &client.runs);
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
