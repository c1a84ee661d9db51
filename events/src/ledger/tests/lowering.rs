//! What is left lowers an answer's length and time, down to what is not worth a call.

use super::*;

fn lowered(limits: Limits, ask: &Ask) -> Result<(u64, Amounts), &'static str> {
    let story = given(&[])
        .set(user(), Window::Lifetime, limits)
        .reserve(ask);
    match story.decided {
        Ok(_) => {
            let held = story
                .ledger
                .reservation(ask.reservation_id)
                .expect("it is held");
            Ok((held.max_output_tokens, held.amounts))
        }
        Err(refusal) => Err(refusal.shortage.unit.as_str()),
    }
}

/// 1 dollar a million tokens of prompt, 10 a million of answer: 100 and 1,000 micro-dollars for
/// what [`asking`] wants.
fn priced() -> Ask {
    let price = Price {
        input: 1_000_000,
        cached_input: 0,
        output: 10_000_000,
        ..Price::default()
    };
    Ask {
        price,
        ..asking("a")
    }
}

fn cost_only(cost_usd_micros: u64) -> Limits {
    Limits {
        cost_usd_micros: Some(cost_usd_micros),
        ..Limits::default()
    }
}

fn time_only(time_ms: u64) -> Limits {
    Limits {
        time_ms: Some(time_ms),
        ..Limits::default()
    }
}

#[test]
fn tokens_lower_the_answer() {
    let output = |limit| lowered(tokens_only(limit), &asking("a")).map(|(output, _)| output);
    assert_eq!(output(1_000), Ok(100));
    assert_eq!(output(200), Ok(100));
    assert_eq!(output(199), Ok(99));
    assert_eq!(output(110), Ok(10));
    assert_eq!(output(109), Err("tokens"));
    assert_eq!(output(100), Err("tokens"));
    assert_eq!(output(0), Err("tokens"));
}

#[test]
fn a_prompt_alone_needs_its_tokens() {
    let ask = Ask {
        max_output_tokens: 0,
        ..asking("a")
    };
    assert_eq!(
        lowered(tokens_only(100), &ask).map(|(output, _)| output),
        Ok(0)
    );
    assert_eq!(lowered(tokens_only(99), &ask), Err("tokens"));
}

#[test]
fn cost_lowers_the_answer_and_never_more_is_held_than_there_is() {
    let held = |limit| {
        lowered(cost_only(limit), &priced()).map(|(output, held)| (output, held.cost_usd_micros))
    };
    assert_eq!(held(5_000), Ok((100, 1_100)));
    assert_eq!(held(1_100), Ok((100, 1_100)));
    assert_eq!(held(1_099), Ok((99, 1_090)));
    assert_eq!(held(200), Ok((10, 200)));
    assert_eq!(held(199), Err("cost_usd_micros"));
    assert_eq!(held(0), Err("cost_usd_micros"));
}

#[test]
fn fractions_of_a_micro_dollar_are_rounded_up() {
    let price = Price {
        input: 1,
        cached_input: 0,
        output: 3,
        ..Price::default()
    };
    let ask = Ask {
        price,
        ..asking("a")
    };
    // 100 + 300 millionths.
    assert_eq!(
        lowered(cost_only(1), &ask).map(|(output, held)| (output, held.cost_usd_micros)),
        Ok((100, 1))
    );
    assert_eq!(lowered(cost_only(0), &ask), Err("cost_usd_micros"));
}

#[test]
fn a_free_answer_to_a_paid_prompt_needs_the_prompts_price() {
    let price = Price {
        input: 1_000_000,
        cached_input: 0,
        output: 0,
        ..Price::default()
    };
    let ask = Ask {
        price,
        ..asking("a")
    };
    assert_eq!(
        lowered(cost_only(100), &ask).map(|(output, _)| output),
        Ok(100)
    );
    assert_eq!(lowered(cost_only(99), &ask), Err("cost_usd_micros"));
}

#[test]
fn time_lowers_the_call() {
    let time = |limit| lowered(time_only(limit), &asking("a")).map(|(_, held)| held.time_ms);
    assert_eq!(time(100_000), Ok(60_000));
    assert_eq!(time(59_999), Ok(59_999));
    assert_eq!(time(1_000), Ok(1_000));
    assert_eq!(time(999), Err("time_ms"));
}

#[test]
fn the_smallest_of_all_scopes_and_units_counts() {
    let story = given(&[(Scope::Tenant, 180), (user(), 170)])
        .set(
            Scope::Run(run()),
            Window::Lifetime,
            Limits {
                tokens: Some(190),
                ..cost_only(500)
            },
        )
        .reserve(&priced());
    let held = story.held("a").expect("it is held");
    // 40 tokens of answer for the 400 micro-dollars that the prompt leaves.
    assert_eq!((held.max_output_tokens, held.amounts.tokens), (40, 140));
    assert_eq!(held.amounts.cost_usd_micros, 500);
}

#[test]
fn prices_beyond_all_measure_do_not_overflow() {
    let price = Price {
        input: u64::MAX,
        cached_input: u64::MAX,
        output: u64::MAX,
        ..Price::default()
    };
    let ask = Ask {
        price,
        input_tokens: u64::MAX,
        max_output_tokens: u64::MAX,
        ..asking("a")
    };
    let story = given(&[]).reserve(&ask);
    let held = story.held("a").expect("nothing is limited");
    assert_eq!(
        (held.amounts.tokens, held.amounts.cost_usd_micros),
        (u64::MAX, u64::MAX)
    );
    assert_eq!(
        lowered(cost_only(u64::MAX - 1), &ask),
        Err("cost_usd_micros")
    );
}
