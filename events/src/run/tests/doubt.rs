//! Calls that must not be made twice: left in doubt, resolved by a person, or by their own worker.

use super::*;
use crate::command::ResolveTool;
use crate::envelope::Actor;
use crate::ledger::Amounts;
use crate::policy::{Obligations, OnDoubt};

/// A run whose tools must not be called twice.
fn careful(calls: &[&str]) -> Vec<Vec<RunEvent>> {
    let mut commits = ready(calls);
    for event in commits.iter_mut().flatten() {
        if let RunEvent::RunStarted(started) = event {
            started
                .pins
                .values_mut()
                .for_each(|pin| pin.idempotent = false);
        }
    }
    commits
}

fn starts(call_id: &str) -> impl FnOnce(&Run) -> Vec<RunEvent> + '_ {
    move |run| start_tool(run, 1, call_id, at(25_000))
}

fn in_doubt(calls: &[&str]) -> Story {
    given(careful(calls)).when(starts("a")).when(starts("a"))
}

fn says(resolution: Resolution) -> ResolveTool {
    ResolveTool {
        run_id: run_id(),
        call_id: "a".into(),
        resolution,
        output: None,
        reason: Some("I looked".into()),
        attempt: None,
    }
}

fn grace() -> Actor {
    Actor {
        user: "grace".into(),
        ..Actor::default()
    }
}

fn resolves(command: ResolveTool) -> impl FnOnce(&Run) -> Result<Vec<RunEvent>, DomainError> {
    move |run| {
        let output = command
            .output
            .as_ref()
            .map(|output| output.to_string().into());
        resolve_tool(run, &command, output, None, &grace())
    }
}

fn told(story: &Story) -> &str {
    match story.run.entries.last() {
        Some(Entry::Tool { text, .. }) => text.inline().expect("it is short"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_may_have_taken_effect_is_left_in_doubt_and_charged_once() {
    let story = in_doubt(&["a"])
        .then(&["tool-in-doubt"])
        .due(&["settle 0"])
        .is(Status::Running);
    let spent = Amounts {
        time_ms: 24_930,
        tool_calls: 1,
        ..Amounts::default()
    };
    let settled: Vec<_> = story.run.settling.iter().map(|last| last.spent).collect();
    assert_eq!(settled.last(), Some(&spent));
    // Nothing happens by itself, and nothing is due.
    story
        .when(starts("a"))
        .then_nothing()
        .when(|run| leave_in_doubt(run, 1, "a", "again", at(30_000)))
        .then_nothing();
}

#[test]
fn an_idempotent_call_is_started_again_and_given_up_in_the_end() {
    let mut story = given(ready(&["a"]));
    for _ in 0..MOST_ATTEMPTS {
        story = story.when(starts("a")).then(&["tool-started"]);
    }
    let story = story.when(starts("a")).then(&["tool-failed"]);
    assert!(told(&story).contains("5 times"), "{}", told(&story));
}

#[test]
fn a_person_says_that_it_is_done_and_the_model_is_told_the_result() {
    let mut command = says(Resolution::Done);
    command.output = Some(serde_json::json!({ "booking": 7 }));
    let story = in_doubt(&["a"])
        .asked(resolves(command))
        .then(&["tool-resolved"])
        .due(&["evaluate"]);
    assert_eq!((told(&story), story.run.turn), (r#"{"booking":7}"#, 2));
    let Some(RunEvent::ToolResolved(resolved)) = story.events().last() else {
        panic!("resolved")
    };
    assert_eq!((resolved.by.as_str(), resolved.turn), ("grace", 1));
}

#[test]
fn a_person_says_that_it_failed_and_the_model_is_told_why() {
    let story = in_doubt(&["a"]).asked(resolves(says(Resolution::Failed)));
    assert_eq!((told(&story), story.run.turn), ("error: I looked", 2));
    // That was the answer.
    story
        .asked(resolves(says(Resolution::Retry)))
        .refused("not_found");
}

#[test]
fn a_person_lets_it_be_tried_again_and_it_asks_the_ledger_anew() {
    let story = in_doubt(&["a", "b"])
        .asked(resolves(says(Resolution::Retry)))
        .due(&["reserve a"]);
    let granted = tool_granted(1, "a", 1);
    let again = story
        .when(|run| record_reservation(run, 1, Some("a"), Reserved::Granted(granted)))
        .due(&["tool a"])
        .when(starts("a"))
        .then(&["tool-started"]);
    let Some(RunEvent::ToolStarted(started)) = again.events().last() else {
        panic!("started")
    };
    assert_eq!(started.attempt, 2);
    // A word on the first doubt is no word on the second.
    let stale = ResolveTool {
        attempt: Some(1),
        ..says(Resolution::Retry)
    };
    again
        .when(starts("a"))
        .then(&["tool-in-doubt"])
        .asked(resolves(stale.clone()))
        .refused("wrong_state")
        .asked(resolves(ResolveTool {
            attempt: Some(2),
            ..stale
        }))
        .then(&["tool-resolved"]);
}

#[test]
fn its_worker_was_alive_after_all() {
    let story = in_doubt(&["a"])
        .when(|run| record_tool(run, result_of(1, "a")))
        .then_nothing();
    let word = alive_after_all(&story.run, &result_of(1, "a")).expect("it is in doubt");
    assert_eq!(word.attempt, Some(1));
    // What it spent was settled when the doubt began.
    let story = story.asked(resolves(word)).due(&["evaluate"]);
    assert_eq!(told(&story), "42");
    assert_eq!(alive_after_all(&story.run, &result_of(1, "a")), None);
    story
        .asked(resolves(says(Resolution::Failed)))
        .refused("not_found");
}

#[test]
fn others_of_the_turn_go_on_and_the_turn_waits() {
    let story = in_doubt(&["a", "b"])
        .when(starts("b"))
        .when(|run| record_tool(run, result_of(1, "b")))
        .then(&["tool-completed"])
        .due(&["settle 0"]);
    assert_eq!(story.run.turn, 1);
    let story = story.asked(resolves(says(Resolution::Failed)));
    assert_eq!(story.run.turn, 2);
}

#[test]
fn only_what_is_in_doubt_is_resolved_and_only_by_what_fits() {
    let run = || given(careful(&["a"]));
    run()
        .asked(resolves(says(Resolution::Retry)))
        .refused("wrong_state");
    run()
        .when(starts("a"))
        .asked(resolves(says(Resolution::Failed)))
        .refused("wrong_state");
    in_doubt(&["a"])
        .asked(resolves(says(Resolution::Done)))
        .refused("invalid");
    let mut both = says(Resolution::Retry);
    both.output = Some(1.into());
    in_doubt(&["a"]).asked(resolves(both)).refused("invalid");
    let other = ResolveTool {
        call_id: "z".into(),
        ..says(Resolution::Retry)
    };
    in_doubt(&["a"]).asked(resolves(other)).refused("not_found");
    given([])
        .asked(resolves(says(Resolution::Retry)))
        .refused("not_found");
}

#[test]
fn a_run_with_a_doubt_can_be_cancelled_paused_and_resumed() {
    in_doubt(&["a"])
        .asked(|run| cancel(run, None))
        .is(Status::Cancelled)
        .due(&["end"])
        .asked(resolves(says(Resolution::Failed)))
        .refused("wrong_state");
    let paused = in_doubt(&["a"])
        .asked(|run| pause(run, None))
        .asked(resolves(says(Resolution::Retry)))
        .then(&["tool-resolved"])
        .due(&[]);
    paused.asked(|run| resume(run, None)).due(&["reserve a"]);
}

#[test]
fn time_that_is_over_does_not_end_a_run_that_waits_for_a_person() {
    let story = in_doubt(&["a"]);
    let id = tool_granted(1, "a", 0).reservation_id;
    story
        .when(|run| end_of_time(run, id, at(60_000)))
        .then_nothing();
}

#[test]
fn a_call_has_one_key_however_often_it_is_tried() {
    let key = idempotency_key(run_id(), 1, "a");
    assert_eq!(key, idempotency_key(run_id(), 1, "a"));
    for other in [(2, "a"), (1, "b")] {
        assert_ne!(key, idempotency_key(run_id(), other.0, other.1));
    }
}

/// As [`careful`], with what policy says beforehand of calls that are left in doubt.
fn obliged(on_doubt: OnDoubt) -> Vec<Vec<RunEvent>> {
    let mut commits = careful(&["a"]);
    for event in commits.iter_mut().flatten() {
        if let RunEvent::PolicyDecided(decided) = event
            && matches!(decided.point, PolicyPoint::ToolCall { .. })
        {
            decided.obligations = Obligations {
                on_doubt: Some(on_doubt),
                ..Obligations::default()
            };
        }
    }
    commits
}

#[test]
fn policy_says_beforehand_that_such_a_call_counts_as_failed() {
    let story = given(obliged(OnDoubt::Failed))
        .when(starts("a"))
        .when(starts("a"))
        .then(&["tool-in-doubt", "tool-resolved"])
        .due(&["settle 0", "evaluate"]);
    assert!(told(&story).contains("is not known"), "{}", told(&story));
    let Some(RunEvent::ToolResolved(resolved)) = story.events().last() else {
        panic!("resolved")
    };
    assert_eq!(resolved.by, POLICY);
    assert_eq!(story.run.turn, 2);
}

#[test]
fn policy_lets_it_be_tried_again_so_often_and_then_people_are_asked() {
    let mut story = given(obliged(OnDoubt::Retry)).when(starts("a"));
    for round in 1..MOST_ATTEMPTS {
        story = story
            .when(starts("a"))
            .then(&["tool-in-doubt", "tool-resolved"])
            .due(&["settle 0", "reserve a"]);
        let granted = tool_granted(1, "a", round);
        story = story
            .when(|run| record_reservation(run, 1, Some("a"), Reserved::Granted(granted)))
            .due(&["tool a"])
            .when(starts("a"))
            .then(&["tool-started"]);
    }
    let story = story.when(starts("a")).then(&["tool-in-doubt"]);
    story
        .asked(resolves(says(Resolution::Failed)))
        .then(&["tool-resolved"]);
}
