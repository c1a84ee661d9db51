//! People are asked, answer or do not; what they agreed to is judged again.

use super::*;
use crate::command::{Answer, Command, DecideApproval, Ring};
use crate::envelope::Actor;
use crate::ids::ApprovalId;
use crate::policy::ApprovalRequirement;

/// Minutes that a question stands.
const STANDS_MS: u64 = 60_000;

fn need(count: u32) -> ApprovalRequirement {
    ApprovalRequirement {
        roles: vec!["boss".into()],
        count,
        expires_seconds: STANDS_MS / 1_000,
        escalate_seconds: Some(20),
        escalate_to: vec!["chief".into()],
    }
}

fn asks_people(point: PolicyPoint, count: u32) -> PolicyDecided {
    PolicyDecided {
        approval: Some(need(count)),
        ..judged(point, false)
    }
}

fn says(decisions: Vec<PolicyDecided>) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    move |run| record_policy(run, decisions, at(0))
}

/// A run whose call `a` waits for people.
fn waiting(count: u32) -> Story {
    given(wanting(&["a"])).when(says(vec![asks_people(tool_point(1, "a"), count)]))
}

fn start_waiting() -> Story {
    given([started()]).when(says(vec![asks_people(PolicyPoint::RunStart, 1)]))
}

fn open(run: &Run) -> ApprovalId {
    let id = run.approvals.keys().next().or(run.answered.keys().next());
    *id.expect("people were asked")
}

fn person(user: &str) -> Actor {
    Actor {
        user: user.into(),
        roles: vec!["boss".into()],
        ..Actor::default()
    }
}

fn decide(
    actor: Actor,
    change: impl FnOnce(&mut DecideApproval),
) -> impl FnOnce(&Run) -> Result<Vec<RunEvent>, DomainError> {
    move |run| {
        let mut command = DecideApproval {
            run_id: run_id(),
            approval_id: open(run),
            answer: Answer::Approve,
            reason: None,
            subject: None,
            arguments: None,
        };
        change(&mut command);
        decide_approval(run, &command, &actor, at(0))
    }
}

fn agrees(user: &str) -> impl FnOnce(&Run) -> Result<Vec<RunEvent>, DomainError> {
    decide(person(user), |_| {})
}

fn denies(user: &str) -> impl FnOnce(&Run) -> Result<Vec<RunEvent>, DomainError> {
    decide(person(user), |command| {
        command.answer = Answer::Deny;
        command.reason = Some("too risky".into());
    })
}

fn with_arguments(command: &mut DecideApproval) {
    command.arguments = Some(serde_json::json!({ "expression": "1 + 1" }));
}

fn told(story: &Story, call: &str) -> Option<String> {
    let says = |entry: &Entry| match entry {
        Entry::Tool { call_id, text, .. } if call_id == call => Some(text.inline()?.to_owned()),
        _ => None,
    };
    story.run.entries.iter().find_map(says)
}

#[test]
fn a_question_parks_the_step_and_sets_its_timers() {
    let story = waiting(1)
        .then(&["policy-decided", "approval-requested"])
        .due(&["ring", "ring"]);
    let rings = story.reacts();
    let expected = [
        (Ring::Escalate, at(0).plus_millis(20_000)),
        (Ring::Expire, at(0).plus_millis(STANDS_MS)),
    ];
    for (due, (ring, when)) in rings.iter().zip(expected) {
        let Command::RingApproval(rings) = &due.command else {
            panic!("a timer is due")
        };
        assert_eq!((rings.ring, due.at), (ring, Some(when)));
    }
    let Some(RunEvent::ApprovalRequested(asked)) = story.events().last() else {
        panic!("people are asked")
    };
    assert_eq!(asked.requester, "ada");
    assert_eq!(asked.tool.as_deref(), Some("calculator"));
    let arguments = serde_json::json!({ "expression": "6 * 7" });
    assert_eq!(asked.arguments, Some(arguments));
    assert_eq!(
        asked.subject,
        subject_of(&story.run, &tool_point(1, "a")),
        "of exactly these arguments"
    );
}

#[test]
fn one_agrees_and_policy_judges_again_and_nothing_before_is_repeated() {
    let story = waiting(1)
        .asked(agrees("bob"))
        .then(&["approval-granted"])
        .due(&["evaluate"]);
    let point = tool_point(1, "a");
    assert_eq!(story.run.points_to_judge(), vec![point.clone()]);
    let approved = story.run.approved(&point).expect("people agreed");
    assert_eq!(approved.approvers, ["bob"]);
    assert_eq!(approved.subject, subject_of(&story.run, &point));
    story
        .when(says(vec![judged(point, true)]))
        .then(&["policy-decided"])
        .due(&["reserve a"]);
}

#[test]
fn two_are_two_people() {
    waiting(2)
        .asked(agrees("bob"))
        .then(&["approval-granted"])
        .due(&[])
        .asked(agrees("bob"))
        .then_nothing()
        .asked(agrees("eve"))
        .then(&["approval-granted"])
        .due(&["evaluate"]);
}

#[test]
fn the_requester_and_whoever_lacks_the_role_are_refused() {
    let as_actor = |user: &str, roles: &[&str]| Actor {
        user: user.into(),
        roles: roles.iter().map(|&role| role.into()).collect(),
        ..Actor::default()
    };
    for actor in [
        as_actor("ada", &["boss"]),
        as_actor("", &["boss"]),
        as_actor("bob", &[]),
        as_actor("bob", &["chief"]),
    ] {
        waiting(1)
            .asked(decide(actor.clone(), |_| {}))
            .refused("forbidden")
            .asked(decide(actor, |command| command.answer = Answer::Deny))
            .refused("forbidden");
    }
}

#[test]
fn a_denied_tool_is_told_to_the_model() {
    let story = waiting(1)
        .asked(denies("bob"))
        .then(&["approval-denied"])
        .due(&["evaluate"])
        .is(Status::Running);
    assert_eq!(story.run.turn, 2);
    let words = told(&story, "a").unwrap_or_default();
    assert_eq!(words, "error: bob did not approve: too risky");
}

#[test]
fn a_denied_start_or_model_call_ends_the_run() {
    start_waiting()
        .asked(denies("bob"))
        .then(&["approval-denied", "failed"])
        .due(&[])
        .is(Status::Failed);
    given([started()])
        .when(says(vec![
            judged(PolicyPoint::RunStart, true),
            asks_people(call_point(1), 1),
        ]))
        .then(&["policy-decided", "policy-decided", "approval-requested"])
        .asked(denies("bob"))
        .is(Status::Failed);
}

#[test]
fn an_approved_start_is_judged_with_its_call_which_may_ask_too() {
    let story = start_waiting()
        .asked(agrees("bob"))
        .due(&["evaluate"])
        .is(Status::Pending);
    assert!(story.run.approved(&PolicyPoint::RunStart).is_some());
    assert_eq!(
        story.run.approved(&call_point(1)),
        None,
        "it was given for the start alone"
    );
    let story = story
        .when(says(vec![
            judged(PolicyPoint::RunStart, true),
            asks_people(call_point(1), 1),
        ]))
        .then(&["policy-decided", "policy-decided", "approval-requested"])
        .is(Status::Running);
    assert_eq!(story.run.step, Step::Approve { start: false });
    let story = story.asked(agrees("bob")).due(&["evaluate"]);
    assert!(story.run.approved(&call_point(1)).is_some());
    story
        .when(says(vec![judged(call_point(1), true)]))
        .due(&["reserve"]);
}

#[test]
fn nobody_answers_in_time() {
    let story = waiting(1)
        .when(|run| expire_approval(run, open(run)))
        .then(&["approval-expired"])
        .due(&["evaluate"]);
    let words = told(&story, "a").unwrap_or_default();
    assert_eq!(words, "error: nobody approved it in time");
    story
        .asked(agrees("bob"))
        .refused("wrong_state")
        .when(|run| expire_approval(run, open(run)))
        .then_nothing();
    start_waiting()
        .when(|run| expire_approval(run, open(run)))
        .then(&["approval-expired", "failed"])
        .is(Status::Failed);
}

#[test]
fn an_answer_after_its_time_is_refused_before_the_timer_rings() {
    let late = |run: &Run| {
        let command = DecideApproval {
            run_id: run_id(),
            approval_id: open(run),
            answer: Answer::Approve,
            reason: None,
            subject: None,
            arguments: None,
        };
        decide_approval(run, &command, &person("bob"), at(STANDS_MS))
    };
    waiting(1).asked(late).refused("wrong_state");
}

#[test]
fn further_roles_may_answer_once_it_escalates() {
    let chief = || Actor {
        user: "eve".into(),
        roles: vec!["chief".into()],
        ..Actor::default()
    };
    waiting(1)
        .asked(decide(chief(), |_| {}))
        .refused("forbidden")
        .when(|run| escalate_approval(run, open(run)))
        .then(&["approval-escalated"])
        .due(&[])
        .when(|run| escalate_approval(run, open(run)))
        .then_nothing()
        .asked(decide(chief(), |_| {}))
        .then(&["approval-granted"]);
}

#[test]
fn what_is_void_is_said_and_asked_anew() {
    let point = tool_point(1, "a");
    let story = waiting(1).asked(agrees("bob"));
    let first = open(&story.run);
    let anew = PolicyDecided {
        void: Some(first),
        bundle: "sha256:other".into(),
        ..asks_people(point.clone(), 1)
    };
    let story = story
        .when(says(vec![anew]))
        .then(&["policy-decided", "approval-requested"]);
    let state = |id| story.run.answered.get(&id).map(|answered| answered.state);
    assert_eq!(state(first), Some("void"));
    assert!(
        !story.run.approvals.contains_key(&first),
        "another question"
    );
    assert_eq!(story.run.approved(&point), None);
    let bundle = |pending: &Pending| pending.asked.bundle.clone();
    let asked: Vec<_> = story.run.approvals.values().map(bundle).collect();
    assert_eq!(asked, ["sha256:other"]);
}

#[test]
fn changed_arguments_are_what_policy_sees_and_what_was_approved() {
    let point = tool_point(1, "a");
    let before = waiting(1);
    let story = before
        .clone()
        .asked(decide(person("bob"), with_arguments))
        .then(&["tool-arguments-changed", "approval-granted"])
        .due(&["evaluate"]);
    let step = story.run.tool_step(1, "a").expect("it is due");
    assert_eq!(step.call.arguments["expression"], "1 + 1");
    let subject = subject_of(&story.run, &point);
    assert_ne!(subject, subject_of(&before.run, &point));
    let Some(RunEvent::ToolArgumentsChanged(changed)) = story.events().first() else {
        panic!("they were changed")
    };
    let said = (&changed.subject, changed.approval_id);
    assert_eq!(said, (&subject, open(&before.run)));
    let approved = story
        .run
        .approved(&point)
        .map(|given| given.subject.clone());
    assert_eq!(approved, Some(subject));
    story
        .when(says(vec![judged(point, false)]))
        .due(&["evaluate"]);
}

#[test]
fn arguments_are_changed_by_the_first_and_seen_by_the_second() {
    let seen = subject_of(&waiting(2).run, &tool_point(1, "a"));
    let story = waiting(2)
        .asked(agrees("bob"))
        .asked(decide(person("eve"), with_arguments))
        .refused("invalid");
    assert!(!story.run.approvals.is_empty());
    let blind = seen.clone();
    waiting(2)
        .asked(decide(person("bob"), with_arguments))
        .asked(decide(person("eve"), |command| {
            command.subject = Some(blind)
        }))
        .refused("invalid")
        .asked(agrees("eve"))
        .due(&["evaluate"]);
    waiting(1)
        .asked(decide(person("bob"), |command| {
            command.subject = Some(seen)
        }))
        .then(&["approval-granted"]);
}

#[test]
fn arguments_are_an_object_and_of_a_tool_call() {
    start_waiting()
        .asked(decide(person("bob"), with_arguments))
        .refused("invalid");
    for bad in [
        serde_json::json!("1 + 1"),
        serde_json::json!({ "a": "x".repeat(70_000) }),
    ] {
        waiting(1)
            .asked(decide(person("bob"), |command| {
                command.arguments = Some(bad)
            }))
            .refused("invalid");
    }
}

#[test]
fn the_same_answer_again_is_none_and_another_one_comes_too_late() {
    waiting(1)
        .asked(agrees("bob"))
        .asked(agrees("bob"))
        .then_nothing()
        .asked(agrees("eve"))
        .refused("wrong_state")
        .asked(denies("bob"))
        .refused("wrong_state")
        .asked(decide(person("bob"), with_arguments))
        .refused("wrong_state");
    waiting(1)
        .asked(denies("bob"))
        .asked(denies("bob"))
        .then_nothing()
        .asked(agrees("bob"))
        .refused("wrong_state");
    given(wanting(&["a"]))
        .asked(|run| {
            let nobody = ApprovalId::derive(&["nobody asked"]);
            let command = DecideApproval {
                run_id: run_id(),
                approval_id: nobody,
                answer: Answer::Approve,
                reason: None,
                subject: None,
                arguments: None,
            };
            decide_approval(run, &command, &person("bob"), at(0))
        })
        .refused("not_found");
}

#[test]
fn cancelled_while_it_waits_an_answer_moves_nothing() {
    let story = waiting(1)
        .asked(|run| cancel(run, None))
        .then(&["cancelled"])
        .due(&["end"])
        .asked(agrees("bob"))
        .refused("wrong_state")
        .when(|run| expire_approval(run, open(run)))
        .then_nothing()
        .when(|run| escalate_approval(run, open(run)))
        .then_nothing()
        .is(Status::Cancelled);
    assert!(story.run.approvals.is_empty());
    let states: Vec<_> = story
        .run
        .answered
        .values()
        .map(|closed| closed.state)
        .collect();
    assert_eq!(states, ["void"]);
}

#[test]
fn answered_while_it_is_paused_it_goes_on_when_resumed() {
    for play in [waiting(1), start_waiting()] {
        play.asked(|run| pause(run, None))
            .asked(agrees("bob"))
            .then(&["approval-granted"])
            .due(&[])
            .asked(|run| resume(run, None))
            .due(&["evaluate"]);
    }
    waiting(1)
        .asked(|run| pause(run, None))
        .asked(|run| resume(run, None))
        .due(&[])
        .asked(agrees("bob"))
        .due(&["evaluate"]);
}

#[test]
fn people_are_not_asked_for_ever() {
    let mut story = waiting(1);
    let point = tool_point(1, "a");
    for _ in 0..3 {
        let asked = *story.run.approvals.keys().next().expect("people are asked");
        let given = decide(person("bob"), |command| command.approval_id = asked);
        let again = PolicyDecided {
            void: Some(asked),
            ..asks_people(point.clone(), 1)
        };
        story = story.asked(given).when(says(vec![again]));
        assert_eq!(story.run.approvals.len(), 1);
    }
    let asked = *story.run.approvals.keys().next().expect("people are asked");
    let story = story
        .asked(decide(person("bob"), |command| command.approval_id = asked))
        .when(says(vec![asks_people(point, 1)]))
        .then(&["policy-decided"]);
    let words = told(&story, "a").unwrap_or_default();
    assert!(words.contains("people were asked too often"), "{words}");
    assert_eq!(story.run.answered.len(), 4);
}

#[test]
fn calls_of_a_turn_wait_each_for_itself() {
    let story = given(wanting(&["a", "b", "c"]))
        .when(says(vec![
            asks_people(tool_point(1, "a"), 1),
            judged(tool_point(1, "b"), true),
            asks_people(tool_point(1, "c"), 1),
        ]))
        .due(&["ring", "ring", "ring", "ring", "reserve b"]);
    let ids: Vec<_> = story.run.approvals.keys().copied().collect();
    let first = ids[0];
    let story = story.asked(decide(person("bob"), |command| command.approval_id = first));
    let judge = story.reacts();
    assert_eq!(names(&judge), ["evaluate"]);
    // The second answer comes before the first was judged: one judgement sees both.
    let second = ids[1];
    let story = story.asked(decide(person("bob"), |command| {
        command.approval_id = second
    }));
    let both = story.reacts();
    assert_eq!(names(&both), ["evaluate"]);
    assert_ne!(judge[0].id, both[0].id);
    assert_eq!(story.run.points_to_judge().len(), 2);
}

#[test]
fn a_commit_that_is_looked_at_again_makes_the_same_due_or_less() {
    let asked = waiting(1);
    let (seq, first) = (asked.seq, asked.reacts());
    let ids = |due: &[Due]| due.iter().map(|due| due.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&asked.reacts()), ids(&first));
    let granted = asked.asked(agrees("bob"));
    let (granted_seq, judge) = (granted.seq, granted.reacts());
    let again = |run: &Run, seq| super::super::react(run, seq, seq + 100);
    assert_eq!(again(&granted.run, seq), [], "its timers are not set again");
    assert_eq!(ids(&again(&granted.run, granted_seq)), ids(&judge));
    let done = granted.when(says(vec![judged(tool_point(1, "a"), true)]));
    assert_eq!(again(&done.run, granted_seq), []);
}
