//! A model that calls tools wrongly may correct itself, so often in a row.

use super::*;

fn wrong(turn: u32, call_id: &str) -> ToolOutcome {
    ToolOutcome::Failed(ToolFailed {
        turn,
        call_id: call_id.into(),
        code: "bad_arguments".into(),
        message: "expression: a string is needed".into(),
        duration_ms: 0,
    })
}

/// From policy to the calls that may be made.
fn turn(story: Story, turn: u32, calls: &[&str]) -> Story {
    let story = if turn > 1 {
        let wanted: Vec<_> = calls.iter().map(|&id| (id, "calculator")).collect();
        let granted = granted(turn, 0);
        story
            .record(vec![judged(call_point(turn), true).into()])
            .when(|run| record_reservation(run, turn, None, Reserved::Granted(granted)))
            .when(|run| record_model(run, ModelOutcome::Completed(answer(turn, &wanted)), at(0)))
    } else {
        story
    };
    calls.iter().fold(story, |story, call_id| {
        let granted = tool_granted(turn, call_id, 0);
        let story = match turn {
            1 => story,
            _ => story
                .record(vec![judged(tool_point(turn, call_id), true).into()])
                .when(|run| {
                    record_reservation(run, turn, Some(call_id), Reserved::Granted(granted))
                }),
        };
        story.when(|run| start_tool(run, turn, call_id, at(0)))
    })
}

#[test]
fn a_model_that_does_not_learn_ends_its_run() {
    let mut story = given(ready(&["a"]));
    for number in 1..=MOST_CORRECTIONS {
        story = turn(story, number, &["a"])
            .when(|run| record_tool(run, wrong(number, "a")))
            .then(&["tool-failed"])
            .is(Status::Running);
    }
    let last = MOST_CORRECTIONS + 1;
    let story = turn(story, last, &["a"])
        .when(|run| record_tool(run, wrong(last, "a")))
        .then(&["tool-failed", "failed"])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("failed")
    };
    assert_eq!(failed.code, "invalid_tool_calls");
}

#[test]
fn one_good_call_begins_the_count_anew() {
    let mut story = given(ready(&["a"]));
    for number in 1..=8 {
        let outcome = match number % MOST_CORRECTIONS {
            0 => result_of(number, "a"),
            _ => wrong(number, "a"),
        };
        story = turn(story, number, &["a"])
            .when(|run| record_tool(run, outcome))
            .is(Status::Running);
    }
}

#[test]
fn wrong_calls_of_one_turn_are_one_mistake_and_none_is_lost() {
    let calls = ["a", "b", "c", "d", "e"];
    let mut story = turn(given(ready(&calls)), 1, &calls);
    for call_id in calls {
        story = story
            .when(|run| record_tool(run, wrong(1, call_id)))
            .then(&["tool-failed"]);
    }
    assert_eq!((story.run.invalid_turns.count, story.run.turn), (1, 2));
}

#[test]
fn tools_that_do_not_exist_are_mistakes_too() {
    let mut story = given(ready(&["a"]));
    story = turn(story, 1, &["a"]).when(|run| record_tool(run, wrong(1, "a")));
    for number in 2..=MOST_CORRECTIONS + 1 {
        let granted = granted(number, 0);
        let outcome = ModelOutcome::Completed(answer(number, &[("x", "teleport")]));
        story = story
            .record(vec![judged(call_point(number), true).into()])
            .when(|run| record_reservation(run, number, None, Reserved::Granted(granted)))
            .when(|run| record_model(run, outcome, at(0)));
    }
    story
        .then(&["llm-completed", "tool-failed", "failed"])
        .is(Status::Failed);
}
