//! A conversation that outgrew its model: summarised by a call of the turn, before its own.

use super::*;
use crate::command::StartRun;

fn summary(turn: u32, upto: u32) -> ContextSummarised {
    ContextSummarised {
        call: answer(turn, &[]),
        upto: Upto {
            run_id: run_id(),
            messages: upto,
        },
        messages: upto,
        context_tokens: 700,
    }
}

fn summarises(upto: u32) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| {
        let done = Box::new(summary(1, upto));
        record_model(run, ModelOutcome::Summarised(done), at(1_000))
    }
}

fn called() -> Story {
    given([started(), admitted(), grant(1)])
}

#[test]
fn it_is_charged_and_the_turns_call_is_judged_and_reserved_for_anew() {
    let story = called()
        .when(summarises(3))
        .then(&["context-summarised"])
        .due(&["settle 120", "evaluate"])
        .is(Status::Running);
    let run = &story.run;
    assert_eq!((run.turn, run.round, run.summaries), (1, 1, 1));
    assert_eq!(run.context_tokens(), 700, "what is told next is shorter");
    assert_eq!(run.summary.as_ref().map(|last| last.upto.messages), Some(3));
    assert_eq!(run.entries.len(), 1, "nothing that was said is gone");
    let again = |run: &Run| record_policy(run, vec![judged(call_point(1), true)], at(0));
    story.when(again).due(&["reserve"]);
}

#[test]
fn a_run_that_ended_meanwhile_is_charged_for_it_and_no_more() {
    let story = called().when(|run| cancel(run, None).expect("it may"));
    story
        .when(summarises(3))
        .then(&["llm-aborted"])
        .is(Status::Cancelled);
}

#[test]
fn a_turn_that_only_summarises_comes_to_an_end() {
    let mut story = called();
    for round in 1..=MOST_SUMMARIES {
        story = story.when(summarises(round)).then(&["context-summarised"]);
        let held = granted(1, round);
        story = story
            .when(|run| record_policy(run, vec![judged(call_point(1), true)], at(0)))
            .when(|run| record_reservation(run, 1, None, Reserved::Granted(held)));
    }
    story
        .when(summarises(40))
        .then(&["context-summarised", "failed"])
        .is(Status::Failed);
}

#[test]
fn no_more_is_asked_for_than_the_model_can_read() {
    let long = StartRun {
        input: "word ".repeat(100_000),
        ..StartRun::default()
    };
    let judged = |run: &Run| {
        let points = run.points_to_judge().into_iter();
        record_policy(
            run,
            points.map(|point| judged(point, true)).collect(),
            at(0),
        )
    };
    let story = given([started_as(long)]).when(judged);
    let ask = asks(&story.run, 1).expect("it waits");
    assert_eq!(ask.input_tokens, model().context_tokens);
    let answer = model().context_tokens - model().prompt_tokens();
    assert_eq!(ask.max_output_tokens, answer);
}
