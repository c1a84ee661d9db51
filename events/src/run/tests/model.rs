//! What a model call gave.

use super::*;
use crate::body::Body;
use crate::ledger::Amounts;
use crate::model::Usage;

fn gives(outcome: ModelOutcome) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_model(run, outcome, at(1_010))
}

fn completes(turn: u32, calls: &[(&str, &str)]) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    gives(ModelOutcome::Completed(answer(turn, calls)))
}

#[test]
fn an_answer_without_tools_ends_the_run() {
    let story = given(calling())
        .when(completes(1, &[]))
        .then(&["llm-completed", "completed"])
        .due(&["settle 120"])
        .is(Status::Completed);
    let completed = RunCompleted {
        tokens: 120,
        cost_usd_micros: 30,
        duration_ms: 1_000,
        client_calls: vec![],
    };
    assert_eq!(story.events().last(), Some(&completed.into()));
    assert_eq!(story.run.output().and_then(Body::inline), Some("said"));
    assert_eq!((story.run.cost_usd_micros, story.run.work_ms), (30, 50));
    let spent = Amounts {
        tokens: 120,
        cost_usd_micros: 30,
        time_ms: 50,
        ..Amounts::default()
    };
    let reservation_id = Some(reservation(1, 0));
    assert_eq!(
        story.run.settling,
        [Settling {
            reservation_id,
            spent,
            ends_run: true,
            since: 40
        }]
    );
    assert_eq!((story.run.grant, story.run.step), (None, Step::Idle));
}

#[test]
fn tool_calls_are_judged_next() {
    let story = given(calling())
        .when(completes(1, &[("a", "calculator"), ("b", "calculator")]))
        .then(&["llm-completed"])
        .due(&["settle 120", "evaluate"]);
    assert_eq!(
        story.run.points_to_judge(),
        [tool_point(1, "a"), tool_point(1, "b")]
    );
}

#[test]
fn no_answer_ends_the_run_and_what_was_generated_is_charged() {
    let story = given(calling())
        .when(gives(ModelOutcome::Failed(no_answer(1))))
        .then(&["llm-failed", "failed"])
        .due(&["settle 7"])
        .is(Status::Failed);
    let failed = RunFailed {
        code: "provider_unavailable".into(),
        message: "it does not answer".into(),
    };
    assert_eq!(story.events().last(), Some(&failed.into()));
    assert_eq!(story.run.usage.input_tokens, 7);
}

#[test]
fn an_outcome_after_the_end_is_charged_and_changes_nothing_else() {
    let cancelled = given(calling()).asked(|run| cancel(run, None)).due(&[]);
    let outcomes = [
        ModelOutcome::Completed(answer(1, &[])),
        ModelOutcome::Failed(no_answer(1)),
        ModelOutcome::Aborted(broken_off(1)),
    ];
    for (outcome, settle) in outcomes
        .into_iter()
        .zip(["settle 120", "settle 7", "settle 0"])
    {
        let story = (cancelled.clone())
            .when(gives(outcome.clone()))
            .then(&["llm-aborted"])
            .due(&[settle])
            .is(Status::Cancelled);
        assert_eq!(story.run.step, Step::Idle);
        story.when(gives(outcome)).then_nothing();
    }
}

#[test]
fn a_second_outcome_is_dropped() {
    given(wanting(&["a"]))
        .when(completes(1, &[]))
        .then_nothing()
        .is(Status::Running);
    given(calling()).when(completes(2, &[])).then_nothing();
    given([started(), admitted()])
        .when(completes(1, &[]))
        .then_nothing();
    given(calling())
        .when(completes(1, &[]))
        .when(completes(1, &[]))
        .then_nothing();
    given(calling())
        .when(gives(ModelOutcome::Aborted(broken_off(1))))
        .then_nothing();
}

#[test]
fn an_unknown_tool_is_told_to_the_model_beside_the_others() {
    let story = given(calling())
        .when(completes(1, &[("a", "calculator"), ("b", "teleport")]))
        .then(&["llm-completed", "tool-failed"])
        .due(&["settle 120", "evaluate"]);
    let Some(RunEvent::ToolFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert_eq!(
        (failed.call_id.as_str(), failed.code.as_str()),
        ("b", "unknown_tool")
    );
    assert!(
        failed.message.contains("there is: calculator"),
        "{}",
        failed.message
    );
    assert_eq!(story.run.points_to_judge(), [tool_point(1, "a")]);
}

#[test]
fn only_unknown_tools_begin_the_next_turn_at_once() {
    let story = given(calling())
        .when(completes(1, &[("a", "teleport"), ("b", "levitate")]))
        .then(&["llm-completed", "tool-failed", "tool-failed"])
        .due(&["settle 120", "evaluate"]);
    assert_eq!(
        (story.run.turn, story.run.points_to_judge()),
        (2, vec![call_point(2)])
    );
}

#[test]
fn each_call_gets_an_id_of_its_own() {
    let long = "x".repeat(129);
    let calls = [
        "call-1-1",
        "",
        "a",
        "a",
        "with space",
        &long,
        "call-1-3",
        "",
    ]
    .map(|id| (id, "calculator"));
    let story = given(calling())
        .when(completes(1, &calls))
        .then(&["llm-completed"]);
    let Step::Tools { calls, .. } = &story.run.step else {
        panic!("tools come next")
    };
    assert_eq!(calls.len(), 8);
    let ids: std::collections::BTreeSet<_> = calls.iter().map(|step| &step.call.id).collect();
    assert_eq!(ids.len(), 8, "{ids:?}");
    assert!(
        ids.iter()
            .all(|id| (1..=128).contains(&id.len()) && !id.contains(' '))
    );
}

#[test]
fn the_last_turn_that_is_not_done_ends_the_run() {
    let mut first = started();
    if let Some(RunEvent::RunStarted(started)) = first.first_mut() {
        started.max_turns = 1;
    }
    let last = || given([first.clone(), admitted(), grant(1)]);
    let story = last()
        .when(completes(1, &[("a", "calculator")]))
        .then(&["llm-completed", "failed"])
        .due(&["settle 120"])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert_eq!(failed.code, "max_turns");
    last()
        .asked(|run| signal(run, "and?".into(), None))
        .when(completes(1, &[]))
        .then(&["llm-completed", "failed"])
        .due(&["settle 120"]);
    last().when(completes(1, &[])).is(Status::Completed);
}

#[test]
fn what_the_provider_counted_replaces_the_bound() {
    let story = given(wanting(&["a"]));
    // 120 tokens, and the envelope of the message.
    assert_eq!(story.run.context_tokens(), 136);
}

#[test]
fn absurd_usage_does_not_overflow() {
    let absurd = |turn, calls: &[(&str, &str)]| {
        let usage = Usage {
            input_tokens: u64::MAX,
            output_tokens: u64::MAX,
            ..Usage::default()
        };
        let cost_usd_micros = u64::MAX;
        let duration_ms = u64::MAX;
        gives(ModelOutcome::Completed(LlmCompleted {
            usage,
            cost_usd_micros,
            duration_ms,
            ..answer(turn, calls)
        }))
    };
    let mut commits = wanting(&[]);
    commits.pop();
    let story = given(commits).when(absurd(1, &[("a", "teleport")]));
    let admitted = vec![judged(call_point(2), true).into()];
    let story = story.record(admitted).record(grant(2)).when(absurd(2, &[]));
    assert_eq!(
        story.is(Status::Completed).run.usage.total_tokens(),
        u64::MAX
    );
}
