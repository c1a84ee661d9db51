//! Settling and expiring: each reservation once, whoever is late.

use super::*;

const LIFE: Window = Window::Lifetime;

fn holding() -> Story {
    given(&[(Scope::Tenant, 1_000), (user(), 1_000)]).reserve(&asking("a"))
}

#[test]
fn what_was_not_spent_goes_back_in_every_scope() {
    holding()
        .settle("a", tokens(150))
        .then(&["budget-settled"])
        .tokens(&Scope::Tenant, LIFE, 0, 150)
        .tokens(&user(), LIFE, 0, 150);
}

#[test]
fn settling_twice_is_settling_once() {
    holding()
        .settle("a", tokens(150))
        .settle("a", tokens(170))
        .then(&[])
        .tokens(&user(), LIFE, 0, 150);
}

#[test]
fn what_nobody_holds_is_not_settled() {
    holding()
        .settle("b", tokens(1))
        .then(&[])
        .tokens(&user(), LIFE, 200, 0);
}

#[test]
fn more_than_was_held_is_spent_and_called_an_overrun() {
    let story = holding()
        .settle("a", tokens(1_100))
        .then(&[
            "budget-settled",
            "budget-overrun",
            "threshold-reached",
            "threshold-reached",
        ])
        .tokens(&user(), LIFE, 0, 1_100);
    let Ok([_, LedgerEvent::BudgetOverrun(overrun), ..]) = story.decided.as_deref() else {
        panic!("an overrun comes second")
    };
    assert_eq!(overrun.excess, tokens(900));
    story
        .reserve(&asking("b"))
        .refused(Scope::Tenant, "tokens", 110);
}

#[test]
fn an_overrun_in_one_unit_does_not_hide_behind_another() {
    let spent = Amounts {
        tokens: 1,
        cost_usd_micros: 5,
        time_ms: 60_001,
        ..Amounts::default()
    };
    let story = holding()
        .settle("a", spent)
        .then(&["budget-settled", "budget-overrun"]);
    let Ok([_, LedgerEvent::BudgetOverrun(overrun)]) = story.decided.as_deref() else {
        panic!("an overrun comes second")
    };
    assert_eq!(
        overrun.excess,
        Amounts {
            cost_usd_micros: 5,
            time_ms: 1,
            ..Amounts::default()
        }
    );
}

#[test]
fn nothing_expires_before_its_time() {
    let story = holding().after(89_999);
    assert_eq!(
        story.ledger.next_due(story.now),
        Some(story.now.plus_millis(1))
    );
    story.expire().then(&[]).tokens(&user(), LIFE, 200, 0);
}

#[test]
fn what_is_held_too_long_goes_back_once() {
    let story = holding()
        .after(90_000)
        .expire()
        .then(&["reservation-expired"]);
    assert_eq!(story.ledger.next_due(story.now), None);
    assert!(story.ledger.expired(id("a")).is_some());
    story.tokens(&user(), LIFE, 0, 0).expire().then(&[]);
}

#[test]
fn settling_late_is_spend_and_says_so() {
    let story = holding()
        .after(90_000)
        .expire()
        .settle("a", tokens(150))
        .then(&["budget-settled"])
        .tokens(&user(), LIFE, 0, 150);
    let Ok([LedgerEvent::BudgetSettled(settled)]) = story.decided.as_deref() else {
        panic!("it was settled")
    };
    assert!(settled.late);
    assert!(story.ledger.expired(id("a")).is_none());
    story
        .settle("a", tokens(150))
        .then(&[])
        .expire()
        .then(&[])
        .tokens(&user(), LIFE, 0, 150);
}

#[test]
fn what_expires_together_expires_in_the_order_of_ids() {
    let mut story = given(&[]);
    for name in ["a", "b", "c", "d", "e"] {
        story = story.reserve(&asking(name));
    }
    let story = story.after(90_000).expire();
    let expired: Vec<_> = (story.decided.iter().flatten())
        .map(|event| match event {
            LedgerEvent::ReservationExpired(expired) => expired.reservation_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(expired.len(), 5);
    assert!(expired.is_sorted());
}

#[test]
fn settling_nothing_frees_what_was_held() {
    holding()
        .settle("a", Amounts::default())
        .then(&["budget-settled"])
        .tokens(&user(), LIFE, 0, 0);
}
