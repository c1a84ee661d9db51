//! Waiting in a line: in order, for one unit of one account, until budget comes back.

use super::*;

const PARK: OnExhausted = OnExhausted::Park;

/// A user with this many tokens, of which "a" holds 200.
fn parking(tokens: u64) -> Story {
    given(&[])
        .with(user(), tokens_only(tokens), PARK)
        .reserve(&asking("a"))
}

/// Asks for exactly this many tokens.
fn exactly(name: &str, tokens: u64) -> Ask {
    Ask {
        input_tokens: tokens,
        max_output_tokens: 0,
        ..asking(name)
    }
}

fn tools_only(tool_calls: u64) -> Limits {
    Limits {
        tool_calls: Some(tool_calls),
        ..Limits::default()
    }
}

#[test]
fn who_does_not_fit_waits_and_nothing_is_held() {
    let story = parking(300)
        .reserve(&asking("b"))
        .then(&["reservation-parked"])
        .waits("b", user(), Unit::Tokens)
        .holds(&["a"])
        .tokens(&user(), Window::Lifetime, 200, 0);
    let waiting = story.ledger.waiting(id("b")).expect("it waits");
    let shortage = &waiting.shortage;
    assert_eq!((shortage.limit, shortage.reserved), (300, 200));
    assert_eq!((shortage.needed, shortage.missing()), (110, 10));
    assert_eq!((waiting.since, waiting.seq), (story.now, 3));
}

#[test]
fn what_comes_back_goes_to_those_who_waited_longest() {
    parking(300)
        .reserve(&asking("b"))
        .reserve(&asking("c"))
        .reserve(&asking("d"))
        .settle("a", tokens(0))
        .then(&["budget-settled", "budget-reserved"])
        .holds(&["b"])
        .settle("b", tokens(0))
        .then(&["budget-settled", "budget-reserved"])
        .holds(&["c"]);
}

#[test]
fn nobody_overtakes_though_he_would_fit() {
    parking(300)
        .reserve(&exactly("large", 250))
        .reserve(&exactly("small", 1))
        .then(&["reservation-parked"])
        .waits("small", user(), Unit::Tokens)
        .settle("a", tokens(0))
        .then(&["budget-settled", "budget-reserved", "budget-reserved"])
        .holds(&["large", "small"]);
}

#[test]
fn the_others_wait_behind_one_who_does_not_fit_yet() {
    parking(300)
        .reserve(&exactly("b", 50))
        .reserve(&exactly("large", 290))
        .reserve(&exactly("small", 1))
        .settle("b", tokens(0))
        .then(&["budget-settled"])
        .settle("a", tokens(0))
        .then(&["budget-settled", "budget-reserved", "budget-reserved"]);
}

#[test]
fn a_line_is_of_one_unit_of_one_account() {
    let others = Ask {
        scopes: vec![Scope::Tenant, Scope::User("grace".into())],
        ..asking_for(RunId::derive(&["other"]), "others")
    };
    parking(300)
        .reserve(&asking("b"))
        .reserve(&asking_tool("tool"))
        .then(&["budget-reserved"])
        .reserve(&others)
        .then(&["budget-reserved"])
        .holds(&["a", "tool", "others"]);
}

#[test]
fn what_is_more_than_the_limit_is_refused_at_once() {
    parking(300)
        .reserve(&exactly("b", 301))
        .refused(user(), "tokens", 301);
}

#[test]
fn nobody_waits_where_another_account_rejects() {
    let story = given(&[(Scope::Tenant, 250)])
        .with(user(), tokens_only(300), PARK)
        .reserve(&asking("a"));
    story
        .reserve(&asking("b"))
        .refused(Scope::Tenant, "tokens", 110)
        .holds(&["a"]);
}

#[test]
fn asking_again_keeps_the_place() {
    parking(300)
        .reserve(&asking("b"))
        .reserve(&asking("c"))
        .reserve(&asking("b"))
        .then(&[])
        .settle("a", tokens(0))
        .holds(&["b"])
        .reserve(&asking("b"))
        .then(&[]);
}

#[test]
fn who_gives_up_lets_the_next_one_move_up() {
    let story = parking(300)
        .reserve(&exactly("large", 250))
        .reserve(&exactly("small", 50))
        .settle("large", Amounts::default())
        .then(&["reservation-withdrawn", "budget-reserved"])
        .holds(&["a", "small"]);
    story
        .settle("large", Amounts::default())
        .then(&[])
        .reserve(&exactly("large", 250))
        .then(&[]);
}

#[test]
fn who_finds_something_else_missing_waits_for_that_and_keeps_his_rank() {
    let story = given(&[])
        .with(user(), tokens_only(300), PARK)
        .with(Scope::Tenant, tools_only(1), PARK)
        .reserve(&asking("a"))
        .reserve(&asking_tool("tool"));
    let both = Ask {
        tool_calls: 1,
        ..asking("both")
    };
    story
        .reserve(&both)
        .waits("both", Scope::Tenant, Unit::ToolCalls)
        .reserve(&asking("b"))
        .waits("b", user(), Unit::Tokens)
        .settle("tool", Amounts::default())
        .then(&["budget-settled", "reservation-requeued"])
        .waits("both", user(), Unit::Tokens)
        .settle("a", tokens(0))
        .then(&["budget-settled", "budget-reserved"])
        .holds(&["both"]);
}

#[test]
fn who_comes_to_need_what_is_rejected_is_refused() {
    let story = parking(300)
        .reserve(&asking("b"))
        .set(Scope::Tenant, Window::Lifetime, tokens_only(250))
        .settle("a", tokens(150))
        .then(&["budget-settled", "reservation-refused"])
        .holds(&[]);
    let refusal = story.answer("b").and_then(|answer| answer.refusal.clone());
    let shortage = refusal.expect("it was refused").shortage;
    assert_eq!((shortage.scope, shortage.limit), (Scope::Tenant, 250));
}

#[test]
fn a_higher_limit_serves_the_line() {
    parking(300)
        .reserve(&asking("b"))
        .reserve(&asking("c"))
        .set(user(), Window::Lifetime, tokens_only(600))
        .then(&["limits-set", "budget-reserved", "budget-reserved"])
        .holds(&["a", "b", "c"]);
}

#[test]
fn what_expires_serves_the_line() {
    parking(300)
        .reserve(&asking("b"))
        .after(90_000)
        .expire()
        .then(&["reservation-expired", "budget-reserved"])
        .holds(&["b"]);
}

#[test]
fn the_next_window_serves_the_line_when_somebody_looks() {
    let story = given(&[]).set(user(), Window::Hour, tokens_only(300));
    let set = SetLimits {
        scope: user(),
        window: Window::Hour,
        limits: tokens_only(300),
        on_exhausted: Some(PARK),
        thresholds: None,
    };
    let events = set_limits(&story.ledger, &set, story.now);
    let story = (story.record(events))
        .reserve(&asking("a"))
        .settle("a", tokens(200))
        .reserve(&asking("b"))
        .then(&["reservation-parked"]);
    let next_hour = Timestamp::parse_rfc3339("2026-11-22T14:00:00Z").expect("a time");
    assert_eq!(story.ledger.next_due(story.now), Some(next_hour));
    let minutes = next_hour.millis_since(story.now);
    story
        .clone()
        .after(minutes - 1)
        .expire()
        .then(&[])
        .after(1)
        .expire()
        .then(&["budget-reserved"])
        .holds(&["b"]);
}

#[test]
fn who_waited_has_an_answer_until_he_settles() {
    let story = parking(300)
        .reserve(&asking("b"))
        .settle("a", tokens(0))
        .holds(&["b"]);
    let answer = story.answer("b").expect("it waited");
    assert_eq!((answer.refusal.clone(), answer.seq), (None, 4));
    assert_eq!(answer.step, step_of(run()));
    assert_eq!(story.answer("a"), None, "it never waited");
    assert_eq!(story.ledger.answers_after(3).len(), 1);
    assert_eq!(story.ledger.answers_after(4).len(), 0);
    let story = story.settle("b", tokens(50));
    assert_eq!(story.answer("b"), None);
}

/// Whoever was to tell the run died, and comes back when it is too late.
#[test]
fn an_answer_outlives_what_was_held() {
    let story = parking(300)
        .reserve(&asking("b"))
        .settle("a", tokens(0))
        .after(90_000)
        .expire()
        .then(&["reservation-expired"]);
    assert!(story.answer("b").is_some());
    let story = story
        .reserve(&asking("b"))
        .then(&["budget-reserved"])
        .settle("b", tokens(50));
    assert_eq!(story.answer("b"), None);
}
