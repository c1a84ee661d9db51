//! Tool calls: started, executed, recorded once, in any order.

use super::*;
use crate::body::Body;
use crate::ledger::Amounts;

fn starts(call_id: &str) -> impl FnOnce(&Run) -> Vec<RunEvent> + '_ {
    move |run| start_tool(run, 1, call_id, at(0))
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
        .when(|run| start_tool(run, 2, "a", at(0)))
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

/// What the ledger says to a tool call.
fn hears(call_id: &str, reserved: Reserved) -> impl FnOnce(&Run) -> Vec<RunEvent> + '_ {
    move |run| record_reservation(run, 1, Some(call_id), reserved)
}

fn tool_spent(time_ms: u64) -> Amounts {
    Amounts {
        time_ms,
        tool_calls: 1,
        ..Amounts::default()
    }
}

fn settled(story: &Story) -> Vec<(Option<crate::ids::ReservationId>, Amounts, bool)> {
    let last = story.run.settling.iter();
    let last = last.filter(|settling| settling.since == story.seq);
    last.map(|settling| (settling.reservation_id, settling.spent, settling.ends_run))
        .collect()
}

#[test]
fn each_call_asks_for_itself_before_it_runs() {
    let story = given(allowed(&["a", "b"]))
        .due(&["reserve a", "reserve b"])
        .when(starts("a"))
        .then_nothing();
    let asked = ask(&story.run, 1, Some("a"), &catalog()).expect("no model is needed");
    let asked = asked.expect("it waits");
    assert_eq!(
        asked.reservation_id,
        reservation_id(run_id(), 1, Some("a"), 0)
    );
    let amounts = (
        asked.tool_calls,
        asked.input_tokens,
        asked.max_output_tokens,
    );
    assert_eq!((amounts, asked.time_ms), ((1, 0, 0), 60_000));
    assert_eq!((asked.model, asked.cheaper.len()), (None, 0));
    let step = asked.step.expect("it is a run's");
    assert_eq!((step.turn, step.call_id.as_deref()), (1, Some("a")));
    let story = story
        .when(hears("b", Reserved::Granted(tool_granted(1, "b", 0))))
        .then(&["reservation-granted"])
        .due(&["tool b"]);
    assert_eq!(ask(&story.run, 1, Some("b"), &catalog()), Ok(None));
    story
        .when(hears("b", Reserved::Granted(tool_granted(1, "b", 0))))
        .then_nothing();
}

#[test]
fn what_it_took_is_settled_with_its_outcome() {
    let story = given(ready(&["a", "b"]))
        .when(starts("a"))
        .when(gives(result_of(1, "a")))
        .due(&["settle 0"]);
    let id = reservation_id(run_id(), 1, Some("a"), 0);
    assert_eq!(settled(&story), [(Some(id), tool_spent(3), false)]);
    assert!(story.run.knows().contains(&id), "until the ledger has it");
}

#[test]
fn a_call_that_comes_too_late_asks_again_under_another_id() {
    let late = at(0).plus_millis(1_000_000);
    let story = given(ready(&["a"]))
        .when(|run| start_tool(run, 1, "a", late))
        .then(&["reservation-lapsed"])
        .due(&["settle 0", "reserve a"]);
    let again = reservation_id(run_id(), 1, Some("a"), 1);
    assert_eq!(story.run.awaits(), [again]);
    story
        .clone()
        .when(hears("a", Reserved::Granted(tool_granted(1, "a", 0))))
        .then_nothing();
    story
        .when(hears("a", Reserved::Granted(tool_granted(1, "a", 1))))
        .then(&["reservation-granted"])
        .due(&["tool a"])
        .when(starts("a"))
        .then(&["tool-started"]);
}

/// It may have taken effect: it does not begin as if it had not.
#[test]
fn a_call_that_was_started_does_not_lapse() {
    let late = at(0).plus_millis(1_000_000);
    given(ready(&["a"]))
        .when(starts("a"))
        .when(|run| start_tool(run, 1, "a", late))
        .then(&["tool-started"]);
}

#[test]
fn a_call_without_budget_ends_the_run_and_the_others_give_back_theirs() {
    let mut commits = allowed(&["a", "b", "c"]);
    commits.push(tool_grant(1, "a"));
    commits.push(tool_grant(1, "b"));
    let story = given(commits).when(starts("b"));
    let began = story.seq;
    let story = story
        .when(hears("c", Reserved::Refused(refusal())))
        .then(&["reservation-refused", "failed"])
        .due(&["settle 0", "settle 0"])
        .is(Status::Failed);
    let id = |call_id| Some(reservation_id(run_id(), 1, Some(call_id), 0));
    let elapsed = tool_spent(story.seq - began);
    assert_eq!(
        settled(&story),
        [
            (id("a"), Amounts::default(), true),
            (id("b"), elapsed, true)
        ]
    );
    story.when(gives(result_of(1, "b"))).then_nothing();
}

#[test]
fn a_call_that_policy_denies_asks_for_nothing() {
    let mut commits = wanting(&["a"]);
    commits.push(vec![judged(tool_point(1, "a"), false).into()]);
    let story = given(commits).due(&["evaluate"]);
    assert_eq!((story.run.turn, story.run.settling.len()), (2, 1));
}

#[test]
fn an_identical_call_has_the_first_ones_result_where_the_tool_allows_it() {
    let mut commits = ready(&["a", "b"]);
    for event in commits.iter_mut().flatten() {
        if let RunEvent::RunStarted(started) = event {
            let pins = started.pins.values_mut();
            pins.for_each(|pin| pin.reuse_results = true);
        }
    }
    let story = given(commits)
        .when(starts("a"))
        .then(&["tool-started"])
        .when(gives(result_of(1, "a")))
        .then(&["tool-completed"])
        .when(starts("b"))
        .then(&["tool-completed"]);
    let Some(RunEvent::ToolCompleted(done)) = story.events().last() else {
        panic!("completed")
    };
    let earlier = done
        .reused
        .as_ref()
        .map(|call| (call.turn, call.call_id.as_str()));
    assert_eq!(
        (earlier, done.output.inline()),
        (Some((1, "a")), Some("42"))
    );
    let story = story.due(&["settle 0", "evaluate"]);
    let spent: Vec<_> = settled(&story).iter().map(|(_, spent, _)| *spent).collect();
    assert_eq!(spent, [Amounts::default()]);
    // Other tools are executed however often.
    given(ready(&["a", "b"]))
        .when(starts("a"))
        .when(gives(result_of(1, "a")))
        .when(starts("b"))
        .then(&["tool-started"]);
}
