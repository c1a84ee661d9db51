//! Runs in flight: held from a run's first grant to the last that is heard of it.

use super::*;
use crate::command::EndRun;

fn child() -> RunId {
    RunId::derive(&["child"])
}

fn runs_only(runs: u64) -> Limits {
    Limits {
        runs: Some(runs),
        ..Limits::default()
    }
}

/// A child's ask: it counts in its parent's scopes, and brings the parent's budget.
fn childs(name: &str) -> Ask {
    Ask {
        scopes: vec![
            Scope::Tenant,
            user(),
            Scope::Run(child()),
            Scope::Run(run()),
        ],
        own_limits: vec![own(Scope::Run(run()), tokens_only(500))],
        ..asking_for(child(), name)
    }
}

/// The parent's ask, with its budget.
fn parents(name: &str) -> Ask {
    Ask {
        own_limits: vec![own(Scope::Run(run()), tokens_only(500))],
        ..asking(name)
    }
}

fn in_flight(story: &Story, scope: &Scope) -> Option<u64> {
    let account = story.ledger.account(scope, Window::Lifetime);
    account.map(|account| account.reserved.runs)
}

#[test]
fn the_first_grant_brings_it_into_flight_and_no_further_one() {
    let story = given(&[]).with(user(), runs_only(5), OnExhausted::Reject);
    let story = story.reserve(&asking("a")).reserve(&asking("b"));
    assert_eq!(in_flight(&story, &user()), Some(1));
    assert!(story.ledger.is_in_flight(run()));
    let story = story.settle("a", tokens(5));
    assert_eq!(in_flight(&story, &user()), Some(1), "between two calls");
    let story = story.end("b", run()).then(&["budget-settled"]);
    assert_eq!(in_flight(&story, &user()), Some(0));
    assert!(!story.ledger.is_in_flight(run()));
}

#[test]
fn a_run_that_holds_nothing_more_is_released() {
    let story = given(&[]).with(user(), runs_only(1), OnExhausted::Park);
    let story = story
        .reserve(&asking("a"))
        .settle("a", tokens(5))
        .reserve(&asking_for(child(), "b"))
        .waits("b", user(), Unit::Runs);
    let end = EndRun { run_id: run() };
    let events = end_run(&story.ledger, &end, story.now);
    let story = story
        .record(events)
        .then(&["run-released", "budget-reserved"])
        .holds(&["b"]);
    assert_eq!(end_run(&story.ledger, &end, story.now), vec![]);
    assert_eq!(in_flight(&story, &user()), Some(1));
}

#[test]
fn the_end_of_one_lets_the_next_one_begin() {
    given(&[])
        .with(Scope::Tenant, runs_only(1), OnExhausted::Park)
        .reserve(&asking("a"))
        .reserve(&asking_for(child(), "b"))
        .then(&["reservation-parked"])
        .waits("b", Scope::Tenant, Unit::Runs)
        .settle("a", tokens(5))
        .then(&["budget-settled"])
        .end("a", run())
        .then(&["run-released", "budget-reserved"])
        .holds(&["b"]);
}

#[test]
fn its_own_account_goes_when_nothing_is_held_in_it() {
    let own = Scope::Run(run());
    let story = given(&[])
        .reserve(&parents("a"))
        .reserve(&parents("b"))
        .end("a", run())
        .tokens(&own, Window::Lifetime, 200, 0);
    let story = story.settle("b", tokens(5));
    assert!(story.ledger.account(&own, Window::Lifetime).is_none());
}

#[test]
fn a_child_spends_from_its_parent_and_keeps_its_account() {
    let own = Scope::Run(run());
    let story = given(&[])
        .reserve(&parents("a"))
        .reserve(&childs("b"))
        .then(&["budget-reserved"])
        .tokens(&own, Window::Lifetime, 400, 0);
    assert_eq!(in_flight(&story, &own), Some(2));
    let story = story
        .end("a", run())
        .settle("b", tokens(150))
        .tokens(&own, Window::Lifetime, 0, 150)
        .reserve(&childs("c"))
        .tokens(&own, Window::Lifetime, 200, 150);
    assert_eq!(in_flight(&story, &own), Some(1));
    let story = story.end("c", child());
    assert!(story.ledger.account(&own, Window::Lifetime).is_none());
}

/// A fresh account would let it spend again what its parent has spent.
#[test]
fn a_child_that_begins_after_its_parents_end_finds_nothing_left() {
    let story = given(&[])
        .reserve(&parents("a"))
        .settle("a", tokens(490))
        .end("a", run())
        .then(&["run-released"])
        .reserve(&childs("b"))
        .refused(Scope::Run(run()), "tokens", 110);
    assert!(
        story
            .ledger
            .account(&Scope::Run(run()), Window::Lifetime)
            .is_none()
    );
}

#[test]
fn a_child_that_waits_for_its_parents_budget_is_refused_when_the_parent_ends() {
    let park = |ask: Ask| Ask {
        own_limits: (ask.own_limits.iter().cloned())
            .map(|own| OwnLimits {
                limits: tokens_only(300),
                on_exhausted: OnExhausted::Park,
                ..own
            })
            .collect(),
        ..ask
    };
    let story = given(&[])
        .reserve(&park(parents("a")))
        .reserve(&park(childs("b")))
        .waits("b", Scope::Run(run()), Unit::Tokens)
        .end("a", run())
        .then(&["budget-settled", "reservation-refused"])
        .holds(&[]);
    let refused = story
        .answer("b")
        .is_some_and(|answer| answer.refusal.is_some());
    assert!(refused);
}

#[test]
fn a_run_whose_holder_died_is_without_word() {
    let story = given(&[]).reserve(&asking("a")).after(90_000).expire();
    assert_eq!(story.ledger.runs_without_word(), [run()]);
    let story = story.end("a", run()).then(&["budget-settled"]);
    assert!(story.ledger.runs_without_word().is_empty());
}

#[test]
fn the_end_of_a_run_is_heard_whatever_became_of_its_last_reservation() {
    let waiting = given(&[])
        .with(user(), tokens_only(300), OnExhausted::Park)
        .reserve(&asking("a"))
        .reserve(&asking("b"))
        .settle("a", tokens(280))
        .waits("b", user(), Unit::Tokens)
        .end("b", run())
        .then(&["reservation-withdrawn"]);
    assert!(!waiting.ledger.is_in_flight(run()));
    let settled = given(&[])
        .reserve(&asking("a"))
        .settle("a", tokens(5))
        .end("a", run())
        .then(&["run-released"])
        .end("a", run())
        .then(&[]);
    assert!(!settled.ledger.is_in_flight(run()));
}
