//! Policy's word at each point.

use super::*;

fn says(decisions: Vec<PolicyDecided>) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_policy(run, decisions, at(0))
}

fn start_and_call(start: bool, call: bool) -> Vec<PolicyDecided> {
    vec![
        judged(PolicyPoint::RunStart, start),
        judged(call_point(1), call),
    ]
}

#[test]
fn a_start_and_its_first_call_are_allowed_in_one_commit() {
    given([started()])
        .when(says(start_and_call(true, true)))
        .then(&["policy-decided", "policy-decided"])
        .due(&["reserve"])
        .is(Status::Running);
}

#[test]
fn a_denied_start_ends_the_run_and_nothing_else_is_said() {
    let story = given([started()])
        .when(says(start_and_call(false, true)))
        .then(&["policy-decided", "failed"])
        .due(&[])
        .is(Status::Failed);
    let Some(RunEvent::RunFailed(failed)) = story.events().last() else {
        panic!("it failed")
    };
    assert_eq!(
        (failed.code.as_str(), failed.message.as_str()),
        ("policy_denied", "run.start: because")
    );
}

#[test]
fn a_denied_first_call_ends_the_run() {
    given([started()])
        .when(says(start_and_call(true, false)))
        .then(&["policy-decided", "policy-decided", "failed"])
        .due(&[])
        .is(Status::Failed);
}

#[test]
fn order_and_repetition_of_judgements_do_not_matter() {
    let mut decisions = start_and_call(true, true);
    decisions.reverse();
    decisions.extend(start_and_call(true, true));
    given([started()])
        .when(says(decisions))
        .then(&["policy-decided", "policy-decided"]);
}

#[test]
fn a_call_is_not_judged_before_its_start() {
    given([started()])
        .when(says(vec![judged(call_point(1), true)]))
        .then_nothing();
    given([started()])
        .when(says(vec![judged(PolicyPoint::RunStart, true)]))
        .then(&["policy-decided"])
        .due(&["evaluate"]);
}

#[test]
fn a_judgement_of_something_else_is_dropped() {
    given([started()])
        .when(says(vec![judged(call_point(2), true)]))
        .then_nothing();
    given([started(), admitted()])
        .when(says(start_and_call(true, true)))
        .then_nothing();
    given(calling())
        .when(says(start_and_call(false, false)))
        .then_nothing();
    let cancelled = [started(), vec![RunCancelled { reason: None }.into()]];
    given(cancelled)
        .when(says(start_and_call(true, true)))
        .then_nothing()
        .is(Status::Cancelled);
}

#[test]
fn a_denied_tool_is_an_answer_to_the_model() {
    let story = given(wanting(&["a", "b"]))
        .when(says(vec![
            judged(tool_point(1, "b"), false),
            judged(tool_point(1, "a"), true),
        ]))
        .then(&["policy-decided", "policy-decided"])
        .due(&["reserve a"])
        .is(Status::Running);
    assert_eq!(
        story.run.tool_step(1, "b").map(|step| step.phase.clone()),
        Some(ToolPhase::Done(Told::from(
            "error: denied by policy: because".to_owned()
        )))
    );
}

#[test]
fn when_every_tool_is_denied_the_model_is_asked_again() {
    let story = given(wanting(&["a"]))
        .when(says(vec![judged(tool_point(1, "a"), false)]))
        .due(&["evaluate"]);
    assert_eq!(story.run.turn, 2);
    assert_eq!(story.run.points_to_judge(), [call_point(2)]);
}

#[test]
fn tools_may_be_judged_one_by_one() {
    given(wanting(&["a", "b"]))
        .when(says(vec![judged(tool_point(1, "b"), true)]))
        .due(&["reserve b"])
        .when(says(vec![
            judged(tool_point(1, "a"), true),
            judged(tool_point(1, "b"), true),
        ]))
        .then(&["policy-decided"])
        .due(&["reserve a"]);
}
