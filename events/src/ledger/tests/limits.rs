//! Limits: set, raised, lowered, lifted, and brought by a run.

use super::*;
use crate::envelope::Actor;

const LIFE: Window = Window::Lifetime;

#[test]
fn the_same_limits_again_are_nothing() {
    let story = given(&[])
        .set(user(), LIFE, tokens_only(5))
        .then(&["limits-set"]);
    story.set(user(), LIFE, tokens_only(5)).then(&[]);
}

#[test]
fn limits_say_what_they_were_and_who_asked() {
    let mut ledger = Ledger::default();
    let mut set = SetLimits {
        scope: user(),
        window: LIFE,
        limits: tokens_only(5),
        on_exhausted: None,
        thresholds: None,
    };
    let mut recorded = vec![];
    for (limit, asks) in [(5, "root"), (7, "")] {
        set.limits = tokens_only(limit);
        let actor = Actor {
            user: asks.into(),
            ..Actor::default()
        };
        let event = set_limits(&ledger, &set, Timestamp::default())
            .remove(0)
            .asked_by(&actor);
        ledger.evolve(&event, Position::default());
        let LedgerEvent::LimitsSet(set) = event else {
            unreachable!("{event:?}")
        };
        recorded.push((set.previous, set.by.map(|by| by.user)));
    }
    let expected = [
        (None, Some("root".to_owned())),
        (Some(tokens_only(5)), Some("bus".to_owned())),
    ];
    assert_eq!(recorded, expected);
}

#[test]
fn lifting_what_was_never_limited_is_nothing() {
    given(&[]).set(user(), LIFE, Limits::default()).then(&[]);
}

#[test]
fn lifted_limits_let_everything_through_and_go_on_counting() {
    given(&[(user(), 50)])
        .reserve(&asking("a"))
        .refused(user(), "tokens", 110)
        .set(user(), LIFE, Limits::default())
        .then(&["limits-set"])
        .reserve(&asking("a"))
        .then(&["budget-reserved"])
        .tokens(&user(), LIFE, 200, 0);
}

#[test]
fn limits_that_come_late_count_what_is_held_and_not_what_was_spent() {
    given(&[])
        .reserve(&asking("spent"))
        .settle("spent", tokens(200))
        .reserve(&asking("held"))
        .set(user(), LIFE, tokens_only(300))
        .tokens(&user(), LIFE, 200, 0)
        .reserve(&asking("b"))
        .refused(user(), "tokens", 110)
        .settle("held", tokens(120))
        .tokens(&user(), LIFE, 0, 120)
        .reserve(&asking("b"))
        .then(&["budget-reserved"]);
}

#[test]
fn limits_below_what_is_used_block_and_undo_nothing() {
    given(&[(user(), 1_000)])
        .reserve(&asking("a"))
        .set(user(), LIFE, tokens_only(50))
        .tokens(&user(), LIFE, 200, 0)
        .reserve(&asking("b"))
        .refused(user(), "tokens", 110)
        .settle("a", tokens(150))
        .tokens(&user(), LIFE, 0, 150)
        .set(user(), LIFE, tokens_only(400))
        .reserve(&asking("b"))
        .then(&["budget-reserved"]);
}

#[test]
fn a_run_brings_its_limits_once() {
    let scope = Scope::Run(run());
    let brings = |name| Ask {
        own_limits: vec![
            own(scope.clone(), tokens_only(350)),
            own(user(), Limits::default()),
        ],
        ..asking(name)
    };
    let story = given(&[])
        .reserve(&brings("a"))
        .then(&["limits-set", "budget-reserved"])
        .tokens(&scope, LIFE, 200, 0)
        .reserve(&brings("b"))
        .then(&["budget-reserved"])
        .tokens(&scope, LIFE, 350, 0)
        .reserve(&brings("c"))
        .refused(scope.clone(), "tokens", 110);
    assert!(
        story.ledger.account(&user(), LIFE).is_none(),
        "no limits, no account"
    );
}

#[test]
fn what_a_run_brings_is_checked_before_it_is_set() {
    let scope = Scope::Run(run());
    let brings = Ask {
        own_limits: vec![own(scope.clone(), tokens_only(109))],
        ..asking("a")
    };
    let story = given(&[])
        .reserve(&brings)
        .refused(scope.clone(), "tokens", 110);
    assert!(story.ledger.account(&scope, LIFE).is_none());
}

#[test]
fn limits_that_somebody_set_are_not_replaced_by_a_runs_own() {
    let scope = Scope::Run(run());
    let brings = Ask {
        own_limits: vec![own(scope.clone(), tokens_only(1_000_000))],
        ..asking("a")
    };
    given(&[(scope.clone(), 150)])
        .reserve(&brings)
        .then(&["budget-reserved"])
        .tokens(&scope, LIFE, 150, 0);
}

/// A session that got its limits while another of its runs was at it.
#[test]
fn limits_that_are_brought_count_what_the_scope_holds_already() {
    let scope = Scope::Run(run());
    let brings = Ask {
        own_limits: vec![own(scope.clone(), tokens_only(350))],
        ..asking("b")
    };
    given(&[])
        .reserve(&asking("a"))
        .reserve(&brings)
        .then(&["limits-set", "budget-reserved"])
        .tokens(&scope, LIFE, 350, 0);
    let too_little = Ask {
        own_limits: vec![own(scope.clone(), tokens_only(300))],
        ..asking("b")
    };
    given(&[])
        .reserve(&asking("a"))
        .reserve(&too_little)
        .refused(scope, "tokens", 110);
}
