//! Cancelling, at every step: it ends, and what is held is settled exactly once.

use super::play::Play;
use super::*;

fn cancelled(run: &Run) -> Vec<RunEvent> {
    cancel(run, None).expect("it goes on")
}

#[test]
fn at_every_step_it_ends_and_what_is_held_is_settled_once() {
    for pauses in [None, Some(false), Some(true)] {
        for steps in 0.. {
            let mut play = Play::new();
            play.steps(steps);
            if play.story.run.status.is_terminal() {
                assert!(steps > 10);
                break;
            }
            if let Some(drains) = pauses {
                play.take(|run| pause(run, None).expect("it goes on"));
                // Whether what was under way ends before the run is cancelled, or after.
                play.steps(if drains { usize::MAX } else { 0 });
            }
            if play.story.run.status.is_terminal() {
                continue;
            }
            play.take(cancelled);
            play.steps(usize::MAX);
            assert_eq!(
                play.story.run.status,
                Status::Cancelled,
                "{pauses:?} after {steps} steps"
            );
            play.assert_settled();
        }
    }
}

#[test]
fn cancelling_twice_is_cancelling_once() {
    given(calling())
        .when(cancelled)
        .then(&["cancelled"])
        .asked(|run| cancel(run, None))
        .then_nothing();
}

#[test]
fn only_a_run_that_goes_on_is_cancelled() {
    given([])
        .asked(|run| cancel(run, None))
        .refused("not_found");
    let ended = given(calling())
        .when(|run| record_model(run, ModelOutcome::Completed(answer(1, &[])), at(99)));
    ended
        .is(Status::Completed)
        .asked(|run| cancel(run, None))
        .refused("wrong_state");
}

/// The grant was recorded and whoever did so died before the call was published.
#[test]
fn a_call_that_was_not_published_yet_still_comes_after_the_end_and_settles() {
    let story = given(calling());
    let granted_at = story.seq;
    let story = story.when(cancelled).due(&[]);
    let again = super::super::react(&story.run, granted_at, story.seq);
    assert_eq!(names(&again), ["call"]);
    let aborted = ModelOutcome::Aborted(broken_off(1));
    let story = story
        .when(|run| record_model(run, aborted, at(99)))
        .due(&["settle 0"]);
    assert_eq!(
        names(&super::super::react(&story.run, granted_at, story.seq)),
        Vec::<String>::new()
    );
}

/// Nobody was told to call: the run was paused when the ledger granted.
#[test]
fn a_grant_that_no_call_was_made_for_goes_back_at_once() {
    let story = given([started(), admitted()])
        .asked(|run| pause(run, None))
        .when(|run| record_reservation(run, 1, None, Reserved::Granted(granted(1, 0))))
        .due(&[])
        .when(cancelled)
        .due(&["settle 0"]);
    assert_eq!(story.run.grant, None);
}

#[test]
fn a_lapse_after_the_end_only_settles() {
    let story = given(calling())
        .when(cancelled)
        .when(|run| record_lapse(run, 1))
        .then(&["reservation-lapsed"])
        .due(&["settle 0"])
        .is(Status::Cancelled);
    assert_eq!((story.run.step, story.run.round), (Step::Idle, 0));
}

/// The ledger reserved and the run ended before it learned of it: the budget role has to give it
/// back, which it knows from no event and a run that does not carry the reservation.
#[test]
fn a_grant_after_the_end_is_not_recorded() {
    let story = given([started(), admitted()])
        .when(cancelled)
        .when(|run| record_reservation(run, 1, None, Reserved::Granted(granted(1, 0))))
        .then_nothing();
    assert!(story.run.grant.is_none() && story.run.settling.is_empty());
}

#[test]
fn whatever_follows_the_end_it_stays_ended() {
    let mut ends = vec![];
    ends.push(given(calling()).when(cancelled));
    ends.push(
        given([started(), admitted()])
            .when(|run| record_reservation(run, 1, None, Reserved::Refused(refusal()))),
    );
    ends.push(
        given(calling())
            .when(|run| record_model(run, ModelOutcome::Completed(answer(1, &[])), at(99))),
    );
    for end in ends {
        let status = end.run.status;
        assert!(status.is_terminal());
        let mut story = end;
        for commit in ready(&["a"]) {
            story = story.record(commit).is(status).due(&[]);
        }
        let resumed = vec![
            RunResumed { reason: None }.into(),
            RunCancelled { reason: None }.into(),
        ];
        story.record(resumed).is(status).due(&[]);
    }
}
