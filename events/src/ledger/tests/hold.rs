//! Holds from outside of runs, under the same limits.

use super::*;
use crate::command::{HoldBudget, ReleaseBudget};

fn holding(name: &str, tokens: u64) -> HoldBudget {
    HoldBudget {
        reservation_id: id(name),
        scopes: vec![user()],
        amounts: Amounts {
            tokens,
            cost_usd_micros: 70,
            ..Amounts::default()
        },
        model: None,
        hold_seconds: Some(60),
    }
}

impl Story {
    fn hold(mut self, command: &HoldBudget) -> Self {
        match hold(&self.ledger, command, self.now) {
            Ok(events) => self.record(events),
            Err(refusal) => {
                self.decided = Err(refusal);
                self
            }
        }
    }

    fn release(self, name: &str, spent: Amounts) -> Self {
        let events = self.releasing(name, spent).expect("it can be released");
        self.record(events)
    }

    fn releasing(&self, name: &str, spent: Amounts) -> Result<Vec<LedgerEvent>, DomainError> {
        let reservation_id = id(name);
        let command = ReleaseBudget {
            reservation_id,
            spent,
        };
        release(&self.ledger, &command, self.now)
    }
}

#[test]
fn exactly_what_is_named_is_held_in_the_tenant_and_every_scope() {
    let story = given(&[(Scope::Tenant, 500), (user(), 400)])
        .hold(&holding("a", 300))
        .then(&["budget-reserved"])
        .tokens(&Scope::Tenant, Window::Lifetime, 300, 0)
        .tokens(&user(), Window::Lifetime, 300, 0);
    let held = story.held("a").expect("it is held");
    assert_eq!(held.amounts, holding("a", 300).amounts);
    assert_eq!(held.expires_at, story.now.plus_millis(60_000));
    assert_eq!(held.run_id, None);
}

#[test]
fn nobody_outside_is_made_to_wait() {
    for mode in [
        OnExhausted::Park,
        OnExhausted::Approve,
        OnExhausted::Downgrade,
    ] {
        given(&[])
            .with(user(), tokens_only(400), mode)
            .hold(&holding("a", 300))
            .hold(&holding("b", 101))
            .refused(user(), "tokens", 101)
            .holds(&["a"]);
    }
}

#[test]
fn nobody_outside_overtakes_who_waits() {
    given(&[])
        .with(user(), tokens_only(300), OnExhausted::Park)
        .reserve(&asking("a"))
        .reserve(&asking("b"))
        .then(&["reservation-parked"])
        .hold(&holding("c", 10))
        .refused(user(), "tokens", 10);
}

#[test]
fn what_was_spent_is_said_once_and_the_rest_goes_back() {
    let story = given(&[(user(), 400)])
        .hold(&holding("a", 300))
        .hold(&holding("a", 300))
        .then(&[])
        .release("a", tokens(120))
        .then(&["budget-settled"])
        .tokens(&user(), Window::Lifetime, 0, 120)
        .release("a", tokens(150))
        .then(&[]);
    story
        .hold(&holding("a", 300))
        .then(&[])
        .tokens(&user(), Window::Lifetime, 0, 120);
}

#[test]
fn what_is_released_serves_who_waits() {
    given(&[])
        .with(user(), tokens_only(300), OnExhausted::Park)
        .hold(&holding("a", 300))
        .reserve(&asking("b"))
        .release("a", tokens(100))
        .then(&["budget-settled", "budget-reserved"])
        .holds(&["b"]);
}

#[test]
fn more_than_was_held_is_an_overrun() {
    given(&[(user(), 400)])
        .hold(&holding("a", 10))
        .release("a", tokens(20))
        .then(&["budget-settled", "budget-overrun"]);
}

#[test]
fn a_late_word_is_spend() {
    let story = given(&[(user(), 400)])
        .hold(&holding("a", 300))
        .after(60_000)
        .expire()
        .then(&["reservation-expired"])
        .release("a", tokens(120))
        .then(&["budget-settled"])
        .tokens(&user(), Window::Lifetime, 0, 120);
    assert!(!story.ledger.is_in_flight(run()));
}

#[test]
fn only_what_is_held_outside_is_released() {
    let story = given(&[]).reserve(&asking("a"));
    for name in ["a", "z"] {
        let error = story.releasing(name, tokens(1)).expect_err("not a hold");
        assert_eq!(error.code(), "not_found");
    }
}

#[test]
fn how_long_it_may_be_held_is_bounded() {
    let seconds = |hold_seconds| HoldBudget {
        hold_seconds,
        ..holding("a", 1)
    };
    assert_eq!(seconds(None).hold_seconds(), 900);
    assert_eq!(seconds(Some(0)).hold_seconds(), 1);
    assert_eq!(seconds(Some(u64::MAX)).hold_seconds(), 86_400);
}
