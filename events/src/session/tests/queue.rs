//! Runs that wait for their turn.

use super::*;
use crate::run::{self, InQueue, Run, RunCancelled, RunDequeued, RunEvent, Status};

fn waits(name: &str, behind: &str) -> Attach {
    Attach {
        busy: Some(run(behind)),
        on_busy: OnBusy::Enqueue,
        ..wants(name)
    }
}

/// A session in which `a` goes on, and these wait.
fn busy(waiting: &[&str]) -> Session {
    let mut commits = vec![opened(), attach(&given([opened()]), wants("a"))];
    for name in waiting {
        let session = given(commits.clone());
        commits.push(attach(&session, waits(name, "a")));
    }
    given(commits)
}

fn after(mut session: Session, events: Vec<SessionEvent>) -> Session {
    for event in events {
        let (seq, index, time) = (90, 0, Timestamp::from_millis(2_000));
        session.evolve(&event, Position { seq, index, time });
    }
    session
}

fn the_run(name: &str, events: &[RunEvent]) -> Run {
    fold(name, None, events)
}

fn in_queue(name: &str, events: &[RunEvent]) -> Run {
    fold(name, Some(InQueue { seq: 3 }), events)
}

fn fold(name: &str, queued: Option<InQueue>, events: &[RunEvent]) -> Run {
    let mut state = Run::default();
    let mut started = run::testing::started(run(name));
    started.session.id = session_id();
    started.queued = queued;
    let first = RunEvent::from(started);
    for (event, seq) in std::iter::once(&first).chain(events).zip(5..) {
        let (index, time) = (0, Timestamp::from_millis(1_000));
        state.evolve(event, Position { seq, index, time });
    }
    state
}

fn cancelled() -> RunEvent {
    RunCancelled { reason: None }.into()
}

const NOW: Timestamp = Timestamp::from_millis(1_500);

#[test]
fn who_waits_keeps_his_place_and_asks_twice_for_nothing() {
    let session = busy(&["b", "c"]);
    let places: Vec<_> = session.queue.iter().map(|queued| queued.run_id).collect();
    assert_eq!(places, [run("b"), run("c")]);
    assert_eq!(session.newest(), Some(run("c")));
    assert_eq!(attach(&session, waits("b", "a")), Ok(vec![]));
    assert!(matches!(session.place(run("c")), Some(Place::Queued(place)) if place.seq == 4));
    assert_eq!(session.place(run("d")), None);
}

#[test]
fn nobody_overtakes_those_that_wait_but_who_takes_anothers_place() {
    let session = busy(&["b"]);
    // The run before has ended, and the first that waits has yet to join.
    let refused = attach(&session, wants("d"));
    assert_eq!(refused.expect_err("others wait").code(), "session_busy");
    let queued = SessionRunQueued { run_id: run("d") };
    let joins = Attach {
        on_busy: OnBusy::Enqueue,
        ..wants("d")
    };
    assert_eq!(attach(&session, joins), Ok(vec![queued.into()]));
    let interrupts = Attach {
        on_busy: OnBusy::Interrupt,
        ..wants("d")
    };
    let session = after(
        session.clone(),
        attach(&session, interrupts).expect("it may"),
    );
    assert_eq!(session.last.map(|last| last.run_id), Some(run("d")));
    assert_eq!(session.queue.len(), 1);
}

#[test]
fn a_session_that_nobody_uses_is_joined_at_once() {
    let session = given([opened()]);
    let want = Attach {
        on_busy: OnBusy::Enqueue,
        ..wants("a")
    };
    let attached = SessionRunAttached {
        run_id: run("a"),
        previous: None,
    };
    assert_eq!(attach(&session, want), Ok(vec![attached.into()]));
}

#[test]
fn only_so_many_wait() {
    let names: Vec<_> = (0..MOST_QUEUED).map(|n| format!("run {n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let refused = attach(&busy(&names), waits("one more", "a"));
    let error = refused.expect_err("the queue is full");
    assert_eq!((error.code(), error.status()), ("session_queue_full", 429));
}

#[test]
fn a_session_that_its_first_run_implied_has_a_queue_too() {
    let want = Attach {
        own_run_exists: true,
        ..waits("b", "own")
    };
    let session = after(
        Session::default(),
        attach(&Session::default(), want).expect("it may wait"),
    );
    assert!(session.opened.is_some() && session.last.is_none());
    let own = RunId::new(session_id().uuid());
    let mut last = the_run("own", &[]);
    if let Some(started) = &mut last.started {
        started.event.run_id = own;
    }
    assert_eq!(
        next(&session, &last, &in_queue("b", &[]), NOW),
        Next::Await(own)
    );
}

#[test]
fn a_queue_is_looked_after_step_by_step() {
    let (goes_on, ended) = (the_run("a", &[]), the_run("a", &[cancelled()]));
    let waits = in_queue("b", &[]);
    assert_eq!(next(&busy(&[]), &ended, &Run::default(), NOW), Next::Rest);
    let session = busy(&["b", "c"]);
    assert_eq!(next(&session, &goes_on, &waits, NOW), Next::Await(run("a")));
    let join = next(&session, &ended, &waits, NOW);
    let joins = match join {
        Next::Join { run_id, previous } => Some((run_id, previous)),
        _ => None,
    };
    let (run_id, previous) = joins.expect("it is the turn of the first");
    assert_eq!(
        (run_id, previous.map(|run| run.run_id)),
        (run("b"), Some(run("a")))
    );
    let begun = begin(&session, run_id, previous, Some(run("a")));
    let session = after(session, begun);
    // Its own log begins before it joined.
    assert_eq!(session.last.map(|last| last.attached_seq), Some(3));
    // Somebody else did the same.
    assert_eq!(begin(&session, run_id, previous, Some(run("a"))), vec![]);
    let tell = next(&session, &waits, &in_queue("c", &[]), NOW);
    assert!(matches!(tell, Next::Tell { awaited: true, .. }), "{tell:?}");
    let told = in_queue("b", &[RunDequeued::default().into()]);
    let next = next(&session, &told, &in_queue("c", &[]), NOW);
    assert_eq!(next, Next::Await(run("b")));
}

#[test]
fn who_ended_while_he_waited_leaves_and_is_no_part_of_the_conversation() {
    let session = busy(&["b", "c"]);
    let gave_up = in_queue("b", &[cancelled()]);
    let goes_on = the_run("a", &[]);
    assert_eq!(
        next(&session, &goes_on, &gave_up, NOW),
        Next::Leave(run("b"))
    );
    let left = after(session.clone(), leave(&session, run("b")));
    assert_eq!(leave(&left, run("b")), vec![]);
    assert_eq!(left.newest(), Some(run("c")));
    // It was cancelled as it joined: who comes next follows the one before it.
    let follows = previous("a");
    let joined = after(
        session.clone(),
        begin(&session, run("b"), follows, Some(run("a"))),
    );
    let join = next(&joined, &gave_up, &in_queue("c", &[]), NOW);
    let run_id = run("c");
    let previous = follows;
    assert_eq!(join, Next::Join { run_id, previous });
}

#[test]
fn closing_cancels_those_that_wait() {
    let session = busy(&["b"]);
    let closed = close(&session, session_id()).expect("it is open");
    let session = after(session, closed);
    let ended = the_run("a", &[cancelled()]);
    assert_eq!(
        next(&session, &ended, &in_queue("b", &[]), NOW),
        Next::Cancel(run("b"))
    );
    assert_eq!(begin(&session, run("b"), None, Some(run("a"))), vec![]);
}

#[test]
fn one_that_joined_and_never_began_is_not_waited_for_for_ever() {
    let session = busy(&["b"]);
    let (nobody, waits) = (Run::default(), in_queue("b", &[]));
    assert_eq!(next(&session, &nobody, &waits, NOW), Next::LookAgain);
    let later = Timestamp::from_millis(1_000 + JOINING_AT_MOST_MS as i64);
    let join = next(&session, &nobody, &waits, later);
    assert!(matches!(join, Next::Join { .. }), "{join:?}");
}

#[test]
fn a_queued_run_takes_a_cancellation_and_nothing_else() {
    let waits = in_queue("b", &[]);
    assert_eq!(waits.status, Status::Queued);
    assert_eq!(run::react(&waits, 5, 5), vec![]);
    for refused in [
        run::pause(&waits, None),
        run::resume(&waits, None),
        run::signal(&waits, "x".into(), None),
    ] {
        assert_eq!(refused.expect_err("it waits").code(), "wrong_state");
    }
    let ended = in_queue("b", &[cancelled()]);
    let verbs: Vec<_> = (run::react(&ended, 6, 6).iter())
        .map(|due| due.command.verb())
        .collect();
    assert_eq!(verbs, ["next"]);
}

#[test]
fn a_turn_that_came_is_judged_and_an_end_that_is_waited_for_says_so() {
    let turn = RunDequeued {
        previous: previous("a"),
        awaited: true,
    };
    let begun = in_queue("b", &[turn.into()]);
    assert_eq!((begun.status, begun.queued), (Status::Pending, false));
    let info = begun.info().expect("it began");
    assert_eq!(info.session.previous, previous("a"));
    assert!(begun.context_tokens() >= 500);
    let verbs = |run: &Run, seq| -> Vec<_> {
        (run::react(run, seq, seq).iter())
            .map(|due| due.command.verb())
            .collect()
    };
    assert_eq!(verbs(&begun, 6), ["evaluate"]);
    assert_eq!(run::dequeue(&begun, None, false), vec![]);
    assert_eq!(run::wait_for(&begun), vec![]);
    let ended = in_queue("b", &[turn.into(), cancelled()]);
    assert_eq!(verbs(&ended, 7), ["next"]);
    assert_eq!(run::wait_for(&ended), vec![]);
    // Nobody waits: nothing more is published than ever.
    assert!(verbs(&the_run("a", &[cancelled()]), 6).is_empty());
}
