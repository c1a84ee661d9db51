//! A cheaper model instead of a refusal.

use super::*;

/// A call of a model for 1,100 micro-dollars, at least 200, and two that cost a tenth and nothing.
fn dear(name: &str) -> Ask {
    let cheaper = |model: &str, price: u64| Cheaper {
        model: model.into(),
        price: Price {
            input: price,
            cached_input: 0,
            output: price * 10,
            ..Price::default()
        },
        max_output_tokens: 50,
    };
    Ask {
        price: Price {
            input: 1_000_000,
            cached_input: 0,
            output: 10_000_000,
            ..Price::default()
        },
        cheaper: vec![cheaper("medium", 100_000), cheaper("free", 0)],
        ..asking(name)
    }
}

fn money(cost_usd_micros: u64) -> Story {
    let limits = Limits {
        cost_usd_micros: Some(cost_usd_micros),
        ..Limits::default()
    };
    given(&[]).with(user(), limits, OnExhausted::Downgrade)
}

fn offered(story: &Story) -> Option<&str> {
    let refusal = story.decided.as_ref().expect_err("it does not fit");
    refusal.downgrade_to.as_deref()
}

#[test]
fn who_fits_keeps_his_model() {
    money(200).reserve(&dear("a")).then(&["budget-reserved"]);
}

#[test]
fn the_dearest_model_that_fits_is_offered() {
    assert_eq!(offered(&money(199).reserve(&dear("a"))), Some("medium"));
    assert_eq!(offered(&money(20).reserve(&dear("a"))), Some("medium"));
    assert_eq!(offered(&money(19).reserve(&dear("a"))), Some("free"));
    let story = money(0).reserve(&dear("a"));
    assert_eq!(offered(&story), Some("free"));
    story.refused(user(), "cost_usd_micros", 200).holds(&[]);
}

#[test]
fn no_model_helps_where_tokens_are_missing() {
    let story = given(&[]).with(user(), tokens_only(50), OnExhausted::Downgrade);
    assert_eq!(offered(&story.reserve(&dear("a"))), None);
}

#[test]
fn a_cheaper_model_goes_before_waiting() {
    let story = money(19)
        .with(Scope::Tenant, tokens_only(200), OnExhausted::Park)
        .reserve(&Ask {
            price: Price::default(),
            ..dear("a")
        })
        .reserve(&dear("b"));
    // It will have to wait for tokens with that model, too.
    assert_eq!(offered(&story), Some("free"));
}

#[test]
fn who_waits_is_offered_a_cheaper_model_when_his_turn_comes() {
    let story = money(2_000)
        .with(Scope::Tenant, tokens_only(200), OnExhausted::Park)
        .reserve(&dear("a"))
        .reserve(&dear("b"))
        .then(&["reservation-parked"])
        .set(
            user(),
            Window::Lifetime,
            Limits {
                cost_usd_micros: Some(1_150),
                ..Limits::default()
            },
        )
        .settle(
            "a",
            Amounts {
                cost_usd_micros: 1_100,
                ..Amounts::default()
            },
        )
        .then(&["budget-settled", "threshold-reached", "reservation-refused"]);
    let refusal = story.answer("b").and_then(|answer| answer.refusal.clone());
    let refusal = refusal.expect("it was refused");
    assert_eq!(refusal.downgrade_to.as_deref(), Some("medium"));
    // The run asks for that under another id, and gives this one up.
    story
        .reserve(&dear("b"))
        .refused(user(), "cost_usd_micros", 200)
        .settle("b", Amounts::default())
        .then(&["reservation-withdrawn"]);
}
