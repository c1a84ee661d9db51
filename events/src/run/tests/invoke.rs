//! Runs that are one call of one tool: no model is asked, and the call's outcome is the run's.

use serde_json::json;

use super::*;
use crate::command::StartRun;
use crate::ledger::Amounts;

fn invocation() -> StartRun {
    StartRun {
        tools: Some(vec!["calculator".into()]),
        invoke: Some(json!({ "expression": "6 * 7" })),
        ..StartRun::default()
    }
}

impl Story {
    /// Decides as a role would.
    fn acts(self, decide: impl FnOnce(&Run) -> Vec<RunEvent>) -> Self {
        self.when(|run| conclude(run, decide(run), at(30_000)))
    }
}

fn judges(point: PolicyPoint, allowed: bool) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_policy(run, vec![judged(point, allowed)], at(0))
}

/// It may be executed now.
fn at_work() -> Story {
    let point = || tool_point(1, "invoke");
    let granted = tool_granted(1, "invoke", 0);
    given([started_as(invocation())])
        .due(&["evaluate"])
        .acts(judges(PolicyPoint::RunStart, true))
        .then(&["policy-decided"])
        .due(&["evaluate"])
        .acts(judges(point(), true))
        .due(&["reserve invoke"])
        .acts(|run| record_reservation(run, 1, Some("invoke"), Reserved::Granted(granted)))
        .due(&["tool invoke"])
        .acts(|run| start_tool(run, 1, "invoke", at(20_000)))
        .then(&["tool-started"])
}

fn failed() -> ToolOutcome {
    ToolOutcome::Failed(ToolFailed {
        turn: 1,
        call_id: "invoke".into(),
        code: "bad_arguments".into(),
        message: "no".into(),
        duration_ms: 3,
    })
}

#[test]
fn the_result_ends_the_run_and_what_was_held_is_settled() {
    let story = at_work()
        .acts(|run| record_tool(run, result_of(1, "invoke")))
        .then(&["tool-completed", "completed"])
        .is(Status::Completed);
    let last = story.run.settling.last().expect("it is settled");
    assert!(last.ends_run);
    assert_eq!(last.spent.tool_calls, 1);
    assert_eq!(
        last.spent.plus(Amounts::default()).tokens,
        0,
        "nothing was said"
    );
    let Some(RunEvent::RunCompleted(done)) = story.events().last() else {
        panic!("completed")
    };
    assert_eq!((done.tokens, done.duration_ms), (0, 29_990));
}

#[test]
fn its_failure_is_the_runs() {
    let story = at_work()
        .acts(|run| record_tool(run, failed()))
        .then(&["tool-failed", "failed"])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("failed")
    };
    assert_eq!(failed.code, "bad_arguments");
}

#[test]
fn policy_says_no_to_the_run_or_to_the_call() {
    let started = || given([started_as(invocation())]);
    started()
        .acts(judges(PolicyPoint::RunStart, false))
        .then(&["policy-decided", "failed"]);
    let story = started()
        .acts(judges(PolicyPoint::RunStart, true))
        .acts(judges(tool_point(1, "invoke"), false))
        .then(&["policy-decided", "failed"])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("failed")
    };
    assert_eq!(failed.code, "policy_denied");
}

#[test]
fn one_in_doubt_waits_and_ends_with_the_word() {
    let careful = |mut events: Vec<RunEvent>| {
        if let Some(RunEvent::RunStarted(started)) = events.first_mut() {
            started
                .pins
                .values_mut()
                .for_each(|pin| pin.idempotent = false);
        }
        events
    };
    let granted = tool_granted(1, "invoke", 0);
    let story = given([careful(started_as(invocation()))])
        .acts(judges(PolicyPoint::RunStart, true))
        .acts(judges(tool_point(1, "invoke"), true))
        .acts(|run| record_reservation(run, 1, Some("invoke"), Reserved::Granted(granted)))
        .acts(|run| start_tool(run, 1, "invoke", at(20_000)))
        .acts(|run| start_tool(run, 1, "invoke", at(21_000)))
        .then(&["tool-in-doubt"])
        .is(Status::Running);
    let word = crate::command::ResolveTool {
        run_id: run_id(),
        call_id: "invoke".into(),
        resolution: Resolution::Done,
        output: Some(json!(42)),
        reason: None,
        attempt: None,
    };
    let grace = crate::envelope::Actor::default();
    let says = |run: &Run| {
        resolve_tool(run, &word, Some("42".to_owned().into()), None, &grace).expect("it may")
    };
    story
        .acts(says)
        .then(&["tool-resolved", "completed"])
        .is(Status::Completed);
}

#[test]
fn other_runs_go_on_after_their_tools() {
    let story = given(ready_with_model()).acts(|run| record_tool(run, result_of(1, "a")));
    story.then(&["tool-completed"]).is(Status::Running);
}

/// A model asked for one tool, which is at work.
fn ready_with_model() -> Vec<Vec<RunEvent>> {
    let mut commits = history::ready(&["a"]);
    let started = ToolStarted {
        turn: 1,
        call_id: "a".into(),
        tool: "calculator".into(),
        version: "1".into(),
        attempt: 1,
    };
    commits.push(vec![started.into()]);
    commits
}

#[test]
fn it_names_one_tool_and_says_nothing_to_a_model() {
    let limits = StartLimits { input_bytes: 1_000 };
    let field = |change: fn(&mut StartRun)| {
        let mut command = invocation();
        change(&mut command);
        match validate(&command, &catalog(), limits) {
            Err(DomainError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    validate(&invocation(), &catalog(), limits).expect("it is valid");
    assert_eq!(field(|run| run.tools = None), "tools");
    let two = |run: &mut StartRun| run.tools = Some(vec!["calculator".into(), "clock".into()]);
    assert_eq!(field(two), "tools");
    assert_eq!(field(|run| run.invoke = Some(json!([1]))), "invoke");
    let long = |run: &mut StartRun| run.invoke = Some(json!({ "x": "y".repeat(70_000) }));
    assert_eq!(field(long), "invoke");
    assert_eq!(field(|run| run.input = "hello".into()), "input");
    assert_eq!(field(|run| run.model = Some(MODEL.into())), "model");
    let in_session = |run: &mut StartRun| run.session_id = Some(run_id().own_session());
    assert_eq!(field(in_session), "session_id");
    let arguments = |run: &mut StartRun| run.invoke = None;
    assert_eq!(
        field(arguments),
        "input",
        "then somebody must say something"
    );
}
