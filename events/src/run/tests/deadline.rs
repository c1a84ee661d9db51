//! A step that has less time than it might take is ended when its time is over.

use super::*;
use crate::command::Command;
use crate::ledger::Amounts;

/// What the budget left: five seconds.
fn short_time() -> Granted {
    let granted = granted(1, 0);
    Granted {
        amounts: Amounts {
            time_ms: 5_000,
            ..granted.amounts
        },
        ..granted
    }
}

fn hears(granted: Granted) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_reservation(run, 1, None, Reserved::Granted(granted))
}

fn in_a_hurry() -> Story {
    given([started(), admitted()])
        .when(hears(short_time()))
        .then(&["reservation-granted"])
        .due(&["deadline", "call"])
}

/// The timer that the last commit set: what it delivers, and when.
fn timer(story: &Story) -> (crate::command::EndOfTime, Timestamp) {
    let due = story.reacts();
    let due = due.first().expect("a timer is set first");
    match (&due.command, due.at) {
        (Command::EndOfTime(end), Some(at)) => (end.clone(), at),
        other => panic!("{other:?} is no timer"),
    }
}

fn rings(story: Story) -> Story {
    let (end, _) = timer(&story);
    story.when(|run| end_of_time(run, end.reservation_id, end.deadline))
}

#[test]
fn its_time_is_what_the_budget_left_and_a_little_grace() {
    let story = in_a_hurry();
    let (end, rings_at) = timer(&story);
    assert_eq!(rings_at, at(story.seq).plus_millis(7_000));
    assert_eq!(
        (end.reservation_id, end.deadline),
        (reservation(1, 0), rings_at)
    );
}

#[test]
fn a_call_with_all_its_time_has_no_timer() {
    given([started(), admitted()])
        .when(hears(granted(1, 0)))
        .due(&["call"]);
}

#[test]
fn the_run_fails_and_whoever_calls_says_what_it_was() {
    let story = rings(in_a_hurry())
        .then(&["failed"])
        .due(&[])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert_eq!(failed.code, "time_exhausted");
    assert!(failed.message.contains("model small"), "{}", failed.message);
    story
        .when(|run| record_model(run, ModelOutcome::Completed(answer(1, &[])), at(99)))
        .then(&["llm-aborted"])
        .due(&["settle 120"])
        .is(Status::Failed);
}

#[test]
fn a_timer_that_comes_twice_or_too_late_or_for_another_step_does_nothing() {
    let story = in_a_hurry();
    let (end, _) = timer(&story);
    let ring = |run: &Run| end_of_time(run, end.reservation_id, end.deadline);
    story.clone().when(ring).when(ring).then_nothing();
    (story.clone())
        .when(|run| record_model(run, ModelOutcome::Completed(answer(1, &[])), at(99)))
        .when(ring)
        .then_nothing()
        .is(Status::Completed);
    story
        .clone()
        .when(|run| end_of_time(run, reservation(1, 1), end.deadline))
        .then_nothing();
    story
        .when(|run| end_of_time(run, end.reservation_id, end.deadline.plus_millis(1)))
        .then_nothing();
    given([]).when(ring).then_nothing();
}

#[test]
fn a_step_that_slept_has_all_its_time_before_it() {
    let paused = given([started(), admitted()]).asked(|run| pause(run, None));
    let asleep = paused.when(hears(short_time())).due(&[]);
    let resumed = asleep
        .asked(|run| resume(run, None))
        .due(&["deadline", "call"]);
    assert_eq!(timer(&resumed).1, at(resumed.seq).plus_millis(7_000));
    rings(resumed).then(&["failed"]);
}

/// The call was made before: its time goes on.
#[test]
fn a_pause_does_not_stop_the_clock_of_what_is_under_way() {
    let story = in_a_hurry();
    let (end, _) = timer(&story);
    story
        .asked(|run| pause(run, None))
        .asked(|run| resume(run, None))
        .due(&[])
        .when(|run| end_of_time(run, end.reservation_id, end.deadline))
        .then(&["failed"]);
}

#[test]
fn a_tool_has_a_time_too() {
    let granted = Granted {
        amounts: Amounts {
            time_ms: 500,
            tool_calls: 1,
            ..Amounts::default()
        },
        ..tool_granted(1, "a", 0)
    };
    let story = given(allowed(&["a", "b"]))
        .when(|run| record_reservation(run, 1, Some("a"), Reserved::Granted(granted)))
        .due(&["deadline", "tool a"]);
    let (end, rings_at) = timer(&story);
    assert_eq!(rings_at, at(story.seq).plus_millis(2_500));
    let story = story
        .when(|run| start_tool(run, 1, "a", at(0)))
        .when(|run| end_of_time(run, end.reservation_id, end.deadline))
        .then(&["failed"])
        .due(&["settle 0"]);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert!(
        failed.message.contains("tool calculator"),
        "{}",
        failed.message
    );
}
