//! A person grants more, or refuses.

use super::*;

const APPROVE: OnExhausted = OnExhausted::Approve;

/// A user with 150 tokens, of which "a" took all but nothing is left for "b", who waits.
fn asking_person() -> Story {
    given(&[])
        .with(user(), tokens_only(150), APPROVE)
        .reserve(&asking("a"))
        .reserve(&asking("b"))
        .then(&["reservation-parked"])
        .waits("b", user(), Unit::Tokens)
}

fn limit(story: &Story, scope: &Scope) -> Option<u64> {
    let account = story.ledger.account(scope, Window::Lifetime);
    account.and_then(|account| account.limits.tokens)
}

#[test]
fn what_is_missing_is_granted_and_nothing_more() {
    let story = asking_person()
        .grant("b", None)
        .then(&["limits-set", "budget-reserved"])
        .holds(&["a", "b"])
        .tokens(&user(), Window::Lifetime, 260, 0);
    assert_eq!(limit(&story, &user()), Some(260));
    let account = story.ledger.account(&user(), Window::Lifetime);
    assert_eq!(account.map(|account| account.on_exhausted), Some(APPROVE));
}

#[test]
fn more_may_be_granted_and_less_is_refused_with_the_figures() {
    let story = asking_person();
    let error = story.granting("b", Some(109)).expect_err("too little");
    assert_eq!(error.code(), "invalid");
    assert!(
        error.to_string().contains("at least 110 are missing"),
        "{error}"
    );
    let story = story.grant("b", Some(500));
    assert_eq!(limit(&story, &user()), Some(650));
    assert_eq!(
        story.held("b").map(|held| held.max_output_tokens),
        Some(100)
    );
}

#[test]
fn granting_twice_is_granting_once() {
    let story = asking_person().grant("b", None).grant("b", None).then(&[]);
    let nobody = story.granting("z", None).expect_err("nobody waits");
    assert_eq!(nobody.code(), "not_found");
    let never = story.granting("a", None).expect_err("it never waited");
    assert_eq!(never.code(), "not_found");
}

#[test]
fn the_figures_are_those_of_now() {
    let story = asking_person()
        .settle("a", tokens(60))
        .then(&["budget-settled"]);
    let story = story.grant("b", None);
    assert_eq!(limit(&story, &user()), Some(170));
}

#[test]
fn what_comes_back_serves_who_waits_for_a_person_too() {
    asking_person()
        .settle("a", tokens(10))
        .then(&["budget-settled", "budget-reserved"])
        .holds(&["b"]);
}

#[test]
fn others_may_overtake_who_waits_for_a_person() {
    let story = given(&[])
        .with(user(), tokens_only(300), APPROVE)
        .reserve(&asking("a"));
    let small = Ask {
        input_tokens: 10,
        max_output_tokens: 0,
        ..asking("small")
    };
    story
        .reserve(&asking("b"))
        .then(&["reservation-parked"])
        .reserve(&small)
        .then(&["budget-reserved"])
        .holds(&["a", "small"]);
}

#[test]
fn who_is_granted_overtakes_those_before_him() {
    let story = given(&[])
        .with(user(), tokens_only(200), OnExhausted::Park)
        .reserve(&asking("a"))
        .reserve(&asking("b"))
        .reserve(&asking("c"))
        .grant("c", None)
        .then(&["limits-set", "budget-reserved"])
        .holds(&["a", "c"])
        .waits("b", user(), Unit::Tokens);
    assert_eq!(limit(&story, &user()), Some(310));
}

#[test]
fn what_is_granted_beyond_serves_the_others() {
    given(&[])
        .with(user(), tokens_only(200), OnExhausted::Park)
        .reserve(&asking("a"))
        .reserve(&asking("b"))
        .reserve(&asking("c"))
        .grant("c", Some(400))
        .then(&["limits-set", "budget-reserved", "budget-reserved"])
        .holds(&["a", "b", "c"]);
}

#[test]
fn who_is_granted_one_thing_may_have_to_wait_for_another() {
    asking_person()
        .with(Scope::Tenant, tokens_only(180), OnExhausted::Park)
        .grant("b", None)
        .then(&["limits-set", "reservation-requeued"])
        .waits("b", Scope::Tenant, Unit::Tokens)
        .settle("a", tokens(0))
        .then(&["budget-settled", "budget-reserved"])
        .holds(&["b"]);
}

#[test]
fn a_refusal_is_final_and_says_why() {
    let story = asking_person()
        .refuse("b")
        .then(&["reservation-refused"])
        .refuse("b")
        .then(&[]);
    let refusal = story.answer("b").and_then(|answer| answer.refusal.clone());
    let refusal = refusal.expect("it was refused");
    assert_eq!(refusal.reason.as_deref(), Some("too dear"));
    assert!(refusal.describe().contains("more was refused: too dear"));
    let late = story.granting("b", None).expect_err("it waits no more");
    assert_eq!(late.code(), "not_found");
    let story = story
        .settle("a", tokens(0))
        .then(&["budget-settled"])
        .reserve(&asking("b"))
        .refused(user(), "tokens", 110)
        .settle("b", Amounts::default())
        .then(&["reservation-withdrawn"]);
    assert_eq!(story.answer("b"), None);
}

#[test]
fn a_refusal_lets_the_next_one_move_up() {
    let small = Ask {
        input_tokens: 10,
        max_output_tokens: 0,
        ..asking("small")
    };
    given(&[])
        .with(user(), tokens_only(220), OnExhausted::Park)
        .reserve(&asking("a"))
        .reserve(&asking("b"))
        .reserve(&small)
        .then(&["reservation-parked"])
        .refuse("b")
        .then(&["reservation-refused", "budget-reserved"])
        .holds(&["a", "small"]);
}

/// The ledger has no account for what a run brings before the run holds something there.
#[test]
fn a_run_that_brings_too_little_can_be_granted_more() {
    let scope = Scope::Run(run());
    let brings = Ask {
        own_limits: vec![OwnLimits {
            on_exhausted: APPROVE,
            ..own(scope.clone(), tokens_only(100))
        }],
        ..asking("a")
    };
    let story = given(&[])
        .reserve(&brings)
        .then(&["reservation-parked"])
        .grant("a", None)
        .then(&["limits-set", "budget-reserved"])
        .holds(&["a"]);
    assert_eq!(limit(&story, &scope), Some(110));
}
