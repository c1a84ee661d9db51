//! Pausing and resuming, at every step: no command is lost and none is made twice.

use super::play::Play;
use super::*;

fn stop(play: &mut Play) {
    play.take(|run| pause(run, None).expect("it goes on"));
}

fn go_on(play: &mut Play) {
    play.take(|run| resume(run, None).expect("it is paused"));
}

/// Calls this with a play that took so many steps, for every step there is.
fn at_every_step(mut check: impl FnMut(Play, usize)) {
    for steps in 0.. {
        let mut play = Play::new();
        play.steps(steps);
        if play.story.run.status.is_terminal() {
            assert!(steps > 10);
            return;
        }
        check(play, steps);
    }
}

fn assert_done(mut play: Play, steps: usize) {
    play.steps(usize::MAX);
    assert_eq!(
        play.story.run.status,
        Status::Completed,
        "after {steps} steps"
    );
    assert_eq!(play.granted, 6, "after {steps} steps");
    play.assert_settled();
}

#[test]
fn what_is_under_way_ends_and_the_run_goes_on_when_resumed() {
    at_every_step(|mut play, steps| {
        stop(&mut play);
        play.steps(usize::MAX);
        assert!(
            !play.story.run.status.is_terminal() || steps == 21,
            "after {steps} steps"
        );
        if play.story.run.status.is_terminal() {
            return;
        }
        go_on(&mut play);
        assert_done(play, steps);
    });
}

#[test]
fn resuming_while_the_command_is_still_queued_makes_no_second_one() {
    at_every_step(|mut play, steps| {
        let queued = play.queue.len();
        stop(&mut play);
        go_on(&mut play);
        assert_eq!(play.queue.len(), queued, "after {steps} steps");
        assert_done(play, steps);
    });
}

#[test]
fn pausing_twice_with_a_step_in_between_loses_nothing() {
    at_every_step(|mut play, steps| {
        for _ in 0..3 {
            if play.story.run.status.is_terminal() {
                return;
            }
            stop(&mut play);
            play.steps(1);
            if !play.story.run.status.is_terminal() {
                go_on(&mut play);
            }
        }
        assert_done(play, steps);
    });
}

#[test]
fn while_it_is_paused_nothing_but_settlements_becomes_due() {
    at_every_step(|mut play, _| {
        stop(&mut play);
        play.queue.clear();
        let story = play.story.clone();
        let settles = |story: Story| {
            let due = names(&story.reacts());
            assert!(due.iter().all(|name| name.starts_with("settle")), "{due:?}");
        };
        let allow = |run: &Run| {
            let points = run.points_to_judge().into_iter();
            record_policy(
                run,
                points.map(|point| judged(point, true)).collect(),
                at(0),
            )
        };
        settles(story.clone().when(allow));
        let turn = story.run.turn;
        settles(
            story.clone().when(|run| {
                record_reservation(run, turn, None, Reserved::Granted(granted(turn, 0)))
            }),
        );
        settles(story.clone().when(|run| record_lapse(run, turn)));
        let calls = ModelOutcome::Completed(answer(turn, &[("a", "calculator")]));
        settles(story.clone().when(|run| record_model(run, calls, at(99))));
        settles(story.when(|run| record_tool(run, result_of(turn, "a"))));
    });
}

#[test]
fn it_is_paused_and_resumed_once() {
    let paused = given(calling())
        .asked(|run| pause(run, None))
        .then(&["paused"]);
    paused.clone().asked(|run| pause(run, None)).then_nothing();
    let resumed = paused.asked(|run| resume(run, None)).then(&["resumed"]);
    resumed
        .asked(|run| resume(run, None))
        .refused("wrong_state");
}

#[test]
fn only_a_run_that_goes_on_is_paused_or_resumed() {
    given([]).asked(|run| pause(run, None)).refused("not_found");
    given([])
        .asked(|run| resume(run, None))
        .refused("not_found");
    let ended = given(calling())
        .asked(|run| pause(run, None))
        .asked(|run| cancel(run, None));
    ended
        .clone()
        .asked(|run| pause(run, None))
        .refused("wrong_state");
    ended.asked(|run| resume(run, None)).refused("wrong_state");
}

/// Whoever recorded the answer died before it published; meanwhile the run was resumed and is
/// turns further.
#[test]
fn a_settlement_is_found_again_turns_later() {
    let paused = given(calling()).asked(|run| pause(run, None));
    let calls = ModelOutcome::Completed(answer(1, &[("a", "teleport")]));
    let mut story = paused
        .when(|run| record_model(run, calls, at(99)))
        .due(&["settle 120"]);
    let seq = story.seq;
    story = story.asked(|run| resume(run, None));
    for turn in 2..6 {
        let calls = ModelOutcome::Completed(answer(turn, &[("a", "teleport")]));
        story = story
            .record(vec![judged(call_point(turn), true).into()])
            .record(grant(turn))
            .when(|run| record_model(run, calls, at(99)));
    }
    let again = super::super::react(&story.run, seq, story.seq);
    assert_eq!(names(&again), ["settle 120"]);
}
