//! A run that works for another one spends from that one's budgets, too.

use super::*;
use crate::command::{Budget, StartRun};
use crate::ids::RunId;
use crate::ledger::{Limits, OnExhausted, OwnLimits, Scope};

fn child_id() -> RunId {
    RunId::derive(&["child"])
}

/// A run with a budget that has made its first call.
fn parent() -> Story {
    given([started_as(with_budget(5_000)), admitted(), grant(1)])
}

fn child_of(parent: &Run) -> Story {
    let budget = Budget {
        tool_calls: Some(3),
        on_exhausted: OnExhausted::Park,
        ..Budget::default()
    };
    let command = StartRun {
        budget: Some(budget),
        ..hello()
    };
    let new = NewRun {
        run_id: child_id(),
        pins: Default::default(),
        session: SessionLink {
            id: child_id().own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        parent: Some(inherit(parent).expect("it takes a child")),
        ..new_run(command)
    };
    given([start(&Run::default(), new, &catalog()).expect("it is valid")])
}

#[test]
fn it_counts_wherever_its_parent_does() {
    let child = child_of(&parent().run);
    let info = child.run.info().expect("it began");
    assert_eq!(info.parent.as_ref().map(|link| link.run_id), Some(run_id()));
    let scopes = [
        Scope::Tenant,
        Scope::User("ada".into()),
        Scope::Agent("default".into()),
        Scope::Session(child_id().own_session()),
        Scope::Run(child_id()),
        Scope::Session(run_id().own_session()),
        Scope::Run(run_id()),
    ];
    assert_eq!(scopes_of(info), scopes);
}

#[test]
fn it_brings_its_own_budget_and_its_parents() {
    let child = child_of(&parent().run).record(admitted());
    let asked = asks(&child.run, 1).expect("it waits");
    let own = OwnLimits {
        scope: Scope::Run(child_id()),
        limits: Limits {
            tool_calls: Some(3),
            ..Limits::default()
        },
        on_exhausted: OnExhausted::Park,
    };
    let parents = OwnLimits {
        scope: Scope::Run(run_id()),
        limits: Limits {
            tokens: Some(5_000),
            ..Limits::default()
        },
        on_exhausted: OnExhausted::Reject,
    };
    assert_eq!(asked.own_limits, [own, parents]);
    assert_eq!(asked.scopes.len(), 7);
}

#[test]
fn a_grandchild_counts_in_all_of_them_once() {
    let child = child_of(&parent().run).record(admitted()).record(grant(1));
    let link = inherit(&child.run).expect("it takes a child");
    assert_eq!((link.run_id, link.scopes.len()), (child_id(), 7));
    assert_eq!(link.own_limits.len(), 2);
}

#[test]
fn only_a_run_that_goes_on_takes_a_child() {
    let refused = |run: &Run| inherit(run).map(|_| ()).expect_err("it takes none");
    assert_eq!(refused(&Run::default()).code(), "not_found");
    let ended = parent().asked(|run| cancel(run, None));
    assert_eq!(refused(&ended.run).code(), "wrong_state");
    // The ledger does not have its budget yet.
    let early = refused(&given([started(), admitted()]).run);
    assert_eq!(early.code(), "wrong_state");
    assert!(
        early.to_string().contains("before its first call"),
        "{early}"
    );
}

#[test]
fn generations_are_bounded() {
    let mut first = started();
    if let Some(RunEvent::RunStarted(started)) = first.first_mut() {
        let scopes = (0..60).map(|n| Scope::Run(RunId::derive(&[&n.to_string()])));
        started.parent = Some(ParentLink {
            run_id: child_id(),
            scopes: scopes.collect(),
            own_limits: vec![],
        });
    }
    let story = given([first, admitted(), grant(1)]);
    let error = inherit(&story.run).expect_err("there are too many");
    assert_eq!(error.code(), "invalid");
    assert!(error.to_string().starts_with("parent_run_id"), "{error}");
}
