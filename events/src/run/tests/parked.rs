//! Steps that wait for budget: they say so once, and go on when they are told.

use super::*;
use crate::ledger::{OnExhausted, Refusal};

fn parked() -> Reserved {
    Reserved::Parked(shortage(OnExhausted::Park))
}

fn hears(reserved: Reserved) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_reservation(run, 1, None, reserved)
}

fn tool_hears(call_id: &str, reserved: Reserved) -> impl FnOnce(&Run) -> Vec<RunEvent> + '_ {
    move |run| record_reservation(run, 1, Some(call_id), reserved)
}

fn waiting() -> Story {
    given([started(), admitted()])
        .when(hears(parked()))
        .then(&["parked"])
        .due(&[])
}

#[test]
fn it_says_once_for_what_it_waits() {
    let story = waiting();
    let Some(RunEvent::RunParked(word)) = story.events().last() else {
        panic!("it waits")
    };
    assert_eq!(word.reservation_id, reservation(1, 0));
    assert_eq!(word.shortage, shortage(OnExhausted::Park));
    assert_eq!(story.run.awaits(), [reservation(1, 0)]);
    assert!(story.run.knows().is_empty(), "nothing is held");
    story
        .when(hears(parked()))
        .then_nothing()
        .is(Status::Running);
}

#[test]
fn it_asks_under_the_same_id_when_its_wait_is_over_and_goes_on() {
    let story = waiting();
    let asked = asks(&story.run, 1).expect("it still asks");
    assert_eq!(asked.reservation_id, reservation(1, 0));
    story
        .when(hears(Reserved::Granted(granted(1, 0))))
        .then(&["reservation-granted"])
        .due(&["call"]);
}

#[test]
fn a_person_who_refuses_ends_it_and_says_why() {
    let refusal = Refusal {
        reason: Some("too dear".into()),
        ..refusal()
    };
    let story = waiting()
        .when(hears(Reserved::Refused(refusal)))
        .then(&["reservation-refused", "failed"])
        .due(&["settle 0"])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert!(failed.message.ends_with("too dear"), "{}", failed.message);
}

#[test]
fn who_is_cancelled_gives_his_place_up() {
    let story = waiting()
        .asked(|run| cancel(run, None))
        .then(&["cancelled"])
        .due(&["settle 0"]);
    let settling = Settling {
        reservation_id: Some(reservation(1, 0)),
        spent: Default::default(),
        ends_run: true,
        since: story.seq,
    };
    assert_eq!(story.run.settling, [settling]);
    story
        .when(hears(Reserved::Granted(granted(1, 0))))
        .then_nothing();
}

#[test]
fn who_was_not_told_yet_leaves_his_place_to_the_one_who_tells() {
    let story = given([started(), admitted()])
        .asked(|run| cancel(run, None))
        .due(&[]);
    assert!(story.run.awaits().is_empty() && story.run.knows().is_empty());
    story.when(hears(parked())).then_nothing();
}

#[test]
fn who_is_paused_meanwhile_goes_on_when_resumed() {
    waiting()
        .asked(|run| pause(run, None))
        .when(hears(Reserved::Granted(granted(1, 0))))
        .then(&["reservation-granted"])
        .due(&[])
        .asked(|run| resume(run, None))
        .due(&["call"]);
    // Its question is still with the ledger: it is not asked a second time.
    waiting()
        .asked(|run| pause(run, None))
        .asked(|run| resume(run, None))
        .due(&[])
        .when(hears(Reserved::Granted(granted(1, 0))))
        .due(&["call"]);
}

#[test]
fn tool_calls_wait_each_for_itself() {
    let story = given(allowed(&["a", "b"]))
        .when(tool_hears("a", parked()))
        .then(&["parked"])
        .when(tool_hears("a", parked()))
        .then_nothing()
        .when(tool_hears("b", Reserved::Granted(tool_granted(1, "b", 0))))
        .due(&["tool b"]);
    let place = reservation_id(run_id(), 1, Some("a"), 0);
    assert_eq!(story.run.awaits(), [place]);
    story
        .when(tool_hears("a", Reserved::Granted(tool_granted(1, "a", 0))))
        .due(&["tool a"]);
}

/// What is settled first may serve what still waits, so that each has to say it.
#[test]
fn of_several_that_wait_each_says_that_the_run_ended() {
    let story = given(allowed(&["a", "b"]))
        .when(tool_hears("a", parked()))
        .when(tool_hears("b", parked()))
        .asked(|run| cancel(run, None))
        .due(&["settle 0", "settle 0"]);
    let last = story.run.settling.iter();
    let mut last = last.filter(|settling| settling.since == story.seq);
    assert!(last.all(|settling| settling.ends_run));
}
