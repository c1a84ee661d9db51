//! Reserving: in all scopes or in none.

use super::*;

#[test]
fn without_limits_everything_is_held_and_recorded() {
    let story = given(&[]).reserve(&asking("a")).then(&["budget-reserved"]);
    let held = story.held("a").expect("it is held");
    assert_eq!(
        held.amounts,
        Amounts {
            tokens: 200,
            time_ms: 60_000,
            ..Amounts::default()
        }
    );
    assert_eq!(
        (held.since, held.expires_at),
        (story.now, story.now.plus_millis(90_000))
    );
    assert_eq!(
        (held.input_tokens, held.max_output_tokens, held.seq),
        (100, 100, 1)
    );
}

#[test]
fn every_scope_holds_it() {
    let scopes = [
        (Scope::Tenant, 1_000),
        (user(), 500),
        (Scope::Run(run()), 300),
    ];
    let mut story = given(&scopes).reserve(&asking("a"));
    for (scope, _) in &scopes {
        story = story.tokens(scope, Window::Lifetime, 200, 0);
    }
}

#[test]
fn a_scope_of_somebody_else_holds_nothing() {
    let other = Scope::User("grace".into());
    given(&[(other.clone(), 1_000)])
        .reserve(&asking("a"))
        .tokens(&other, Window::Lifetime, 0, 0);
}

#[test]
fn one_scope_with_too_little_refuses_for_all_and_nothing_is_held() {
    let story = given(&[(Scope::Tenant, 1_000), (user(), 109)])
        .reserve(&asking("a"))
        .refused(user(), "tokens", 110)
        .tokens(&Scope::Tenant, Window::Lifetime, 0, 0);
    assert_eq!(story.ledger.reservations().count(), 0);
}

#[test]
fn a_refusal_says_the_figures() {
    let story = given(&[(user(), 300)])
        .reserve(&asking("a"))
        .settle("a", tokens(120))
        .reserve(&asking("b"))
        .reserve(&asking("c"));
    let refusal = story.decided.expect_err("nothing is left").shortage;
    assert_eq!(
        (refusal.limit, refusal.spent, refusal.reserved),
        (300, 120, 180)
    );
    assert_eq!(
        (refusal.needed, refusal.window, refusal.scope),
        (110, Window::Lifetime, user())
    );
}

#[test]
fn concurrent_calls_never_hold_more_than_there_is() {
    let mut story = given(&[(Scope::Tenant, 1_000)]);
    let granted = (0..20)
        .filter(|n| {
            story = story.clone().reserve(&asking(&n.to_string()));
            story.decided.is_ok()
        })
        .count();
    assert_eq!(granted, 5);
    story.tokens(&Scope::Tenant, Window::Lifetime, 1_000, 0);
}

#[test]
fn asking_again_for_what_is_held_is_nothing() {
    given(&[(user(), 1_000)])
        .reserve(&asking("a"))
        .reserve(&asking("a"))
        .then(&[])
        .tokens(&user(), Window::Lifetime, 200, 0);
}

/// A worker that slept since before the call asks for what was settled long since.
#[test]
fn asking_again_for_what_was_settled_holds_nothing() {
    let story = given(&[(user(), 1_000)])
        .reserve(&asking("a"))
        .settle("a", tokens(150))
        .reserve(&asking("a"))
        .then(&[])
        .tokens(&user(), Window::Lifetime, 0, 150);
    assert!(story.held("a").is_none() && story.ledger.was_settled(id("a")));
}

#[test]
fn what_expired_can_be_asked_for_again() {
    given(&[(user(), 1_000)])
        .reserve(&asking("a"))
        .after(90_000)
        .expire()
        .reserve(&asking("a"))
        .then(&["budget-reserved"])
        .settle("a", tokens(150))
        .then(&["budget-settled"])
        .tokens(&user(), Window::Lifetime, 0, 150)
        .after(90_000)
        .expire()
        .then(&[])
        .settle("a", tokens(150))
        .then(&[]);
}
