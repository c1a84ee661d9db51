//! Tool calls: started, executed, recorded once, in any order.

use super::*;
use crate::body::Body;

fn starts(call_id: &str) -> impl FnOnce(&Run) -> Vec<RunEvent> + '_ {
    move |run| start_tool(run, 1, call_id, "1.0.0", at(0))
}

fn gives(outcome: ToolOutcome) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_tool(run, outcome)
}

#[test]
fn a_call_is_started_then_recorded_and_the_model_is_asked_again() {
    let story = given(ready(&["a"]))
        .due(&["tool a"])
        .when(starts("a"))
        .then(&["tool-started"])
        .due(&[])
        .when(gives(result_of(1, "a")))
        .then(&["tool-completed"])
        .due(&["settle 0", "evaluate"]);
    assert_eq!(story.run.turn, 2);
    let said = Entry::Tool {
        call_id: "a".into(),
        name: "calculator".into(),
        text: "42".into(),
    };
    assert_eq!(story.run.entries.last(), Some(&said));
    assert_eq!(story.run.work_ms, 53);
}

#[test]
fn an_error_is_an_answer_to_the_model() {
    let story = given(ready(&["a"]))
        .when(starts("a"))
        .when(gives(error_of(1, "a")))
        .then(&["tool-failed"])
        .due(&["settle 0", "evaluate"])
        .is(Status::Running);
    let Some(Entry::Tool { text, .. }) = story.run.entries.last() else {
        panic!("it was told")
    };
    assert_eq!(text, &Body::from("error: division by zero"));
}

#[test]
fn parallel_calls_end_in_any_order_and_the_model_hears_them_in_its_own() {
    for order in [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["b", "c", "a"],
        ["b", "a", "c"],
    ] {
        let mut story =
            given(allowed(&["a", "b", "c"])).due(&["reserve a", "reserve b", "reserve c"]);
        for call_id in order {
            assert_eq!(story.run.turn, 1);
            story = story
                .record(tool_grant(1, call_id))
                .due(&[&format!("tool {call_id}")])
                .when(starts(call_id))
                .when(gives(result_of(1, call_id)));
        }
        let story = story.due(&["settle 0", "evaluate"]);
        let heard = |entry: &Entry| match entry {
            Entry::Tool { call_id, .. } => Some(call_id.clone()),
            _ => None,
        };
        let heard: Vec<_> = story.run.entries.iter().filter_map(heard).collect();
        assert_eq!(heard, ["a", "b", "c"], "finished {order:?}");
    }
}

#[test]
fn a_second_outcome_is_dropped() {
    given(ready(&["a", "b"]))
        .when(starts("a"))
        .when(gives(result_of(1, "a")))
        .when(gives(error_of(1, "a")))
        .then_nothing()
        .when(starts("a"))
        .then_nothing();
}

#[test]
fn a_call_that_was_started_and_has_no_outcome_counts_its_attempts() {
    let story = given(ready(&["a"]))
        .when(starts("a"))
        .when(starts("a"))
        .then(&["tool-started"]);
    let Some(RunEvent::ToolStarted(started)) = story.events().last() else {
        panic!("started")
    };
    assert_eq!((started.attempt, started.tool.as_str()), (2, "calculator"));
}

#[test]
fn what_was_not_judged_or_does_not_exist_is_not_started() {
    given(wanting(&["a"])).when(starts("a")).then_nothing();
    given(wanting(&["a"]))
        .when(gives(result_of(1, "a")))
        .then_nothing();
    given(ready(&["a"])).when(starts("z")).then_nothing();
    given(ready(&["a"]))
        .when(gives(result_of(1, "z")))
        .then_nothing();
    given(ready(&["a"]))
        .when(gives(result_of(2, "a")))
        .then_nothing();
    given(ready(&["a"]))
        .when(|run| start_tool(run, 2, "a", "1.0.0", at(0)))
        .then_nothing();
}

#[test]
fn after_the_end_no_tool_is_started_or_recorded() {
    let ended = given(ready(&["a"]))
        .when(starts("a"))
        .asked(|run| cancel(run, None));
    ended
        .clone()
        .when(gives(result_of(1, "a")))
        .then_nothing()
        .is(Status::Cancelled);
    ended.when(starts("a")).then_nothing();
}
