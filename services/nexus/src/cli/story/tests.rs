#![expect(clippy::unwrap_used, reason = "a test may fail")]
use super::*;

const RUN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn tell(story: &mut Story, data: serde_json::Value) -> String {
    let lines = story.take(Item::read(&data.to_string()).unwrap());
    lines.iter().map(show).collect()
}

fn show(line: &Line) -> String {
    match line {
        Line::Text(text) => format!("[{text}]"),
        Line::Break => "/".to_owned(),
        Line::Note(tone, text) => format!("{{{tone:?}: {text}}}"),
        Line::Word(tone, text) => format!("{{{tone:?}! {text}}}"),
    }
}

fn fact(name: &str, second: u32, data: serde_json::Value) -> serde_json::Value {
    let time = format!("2026-11-22T13:16:{second:02}.000Z");
    serde_json::json!({ "type": format!("nexus.run.{name}.v1"), "time": time, "data": data })
}

fn text(turn: u32, text: &str) -> serde_json::Value {
    serde_json::json!({ "type": "text", "turn": turn, "text": text })
}

fn started() -> serde_json::Value {
    let data = serde_json::json!({
        "run_id": RUN, "session": { "id": RUN }, "user": { "user": "ann" },
        "agent": { "name": "default", "version": "1" }, "model": "m", "tools": ["calculator"],
        "input": "12*7?", "max_turns": 16
    });
    fact("started", 0, data)
}

fn answer(turn: u32, text: &str, calls: serde_json::Value) -> serde_json::Value {
    let data = serde_json::json!({
        "turn": turn, "provider": "openai", "model": "m-1", "text": text, "tool_calls": calls,
        "finish": "stop", "usage": { "input_tokens": 1200, "output_tokens": 30 },
        "cost_usd_micros": 1200, "duration_ms": 840, "time_to_first_token_ms": 120,
        "attempts": 1, "route": "only one"
    });
    fact("llm-completed", 2, data)
}

#[test]
fn a_run_with_a_tool_is_told_in_order() {
    let mut story = Story::default();
    let mut told = Vec::new();
    let calls = serde_json::json!([
        { "id": "c1", "name": "calculator", "arguments": { "expression": "12*7" } }
    ]);
    let decided = serde_json::json!({
        "point": { "at": "tool.call", "turn": 1, "call_id": "c1" }, "allowed": true,
        "reasons": ["known tool"], "rules": ["tools"], "bundle": "builtin", "duration_us": 5
    });
    let granted = serde_json::json!({
        "turn": 1, "reservation_id": RUN, "max_output_tokens": 100, "ledger_seq": 3,
        "amounts": { "tokens": 2000, "cost_usd_micros": 0, "time_ms": 60_000 },
        "expires_at": "2026-11-22T13:20:00Z"
    });
    let done = serde_json::json!({ "turn": 1, "call_id": "c1", "output": "84", "duration_ms": 1 });
    let completed =
        serde_json::json!({ "tokens": 2460, "cost_usd_micros": 2400, "duration_ms": 5200 });
    for data in [
        started(),
        fact("reservation-granted", 1, granted),
        answer(1, "", calls),
        fact("policy-decided", 2, decided),
        fact("tool-completed", 3, done),
        text(2, "It is "),
        text(2, "84"),
        answer(2, "It is 84.", serde_json::json!([])),
        text(2, "late"),
        fact("completed", 5, completed),
    ] {
        told.push(tell(&mut story, data));
    }
    let expected = [
        "{Dim: run      01890a5d-ac96-774b-bcce-b302099a8057 · agent default 1 · model m}",
        "{Dim: budget   holds 2,000 tokens, $0.00, 1 min 0 s for turn 1}",
        "{Dim: model    m-1: 1,200 tokens in, 30 out, $0.0012, 840 ms, first token after 120 ms}\
         {Dim: tool     calculator {\"expression\":\"12*7\"}}",
        "{Dim: policy   allows tool.call calculator (known tool)}",
        "{Dim: tool     calculator gave 84 (1 ms)}",
        "[It is ]",
        "[84]",
        "[.]/{Dim: model    m-1: 1,200 tokens in, 30 out, $0.0012, 840 ms, first token after 120 ms}",
        "",
        "",
    ];
    assert_eq!(told, expected);
    assert_eq!(story.ending.as_ref().unwrap().exit, Exit::Done);
    let summary = format!("completed · 2,460 tokens · $0.0024 · 5.2 s · session {RUN}");
    assert_eq!(story.summary(), summary);
}

#[test]
fn an_answer_that_began_again_or_was_not_heard_whole_is_shown_whole() {
    let mut story = Story::default();
    tell(&mut story, text(1, "Hal"));
    let again = serde_json::json!({ "type": "restart", "turn": 1, "reason": "cut" });
    let warning = "/{Warn: the model is called again (cut); the above is void}";
    assert_eq!(tell(&mut story, again), warning);
    tell(&mut story, text(1, "Hel"));
    tell(&mut story, text(1, "o"));
    let told = tell(&mut story, answer(1, "Hello", serde_json::json!([])));
    assert!(
        told.starts_with("/{Warn: some of it was not heard; the whole answer:}[Hello]/"),
        "{told}"
    );
}

#[test]
fn an_answer_is_shown_without_any_delta() {
    let told = tell(
        &mut Story::default(),
        answer(1, "Hello", serde_json::json!([])),
    );
    assert!(told.starts_with("[Hello]/{Dim: model"), "{told}");
}

#[test]
fn the_end_says_why() {
    let failed = |code: &str| {
        let mut story = Story::default();
        tell(&mut story, started());
        tell(&mut story, answer(1, "x", serde_json::json!([])));
        tell(
            &mut story,
            fact(
                "failed",
                4,
                serde_json::json!({ "code": code, "message": "no" }),
            ),
        );
        (story.ending.clone().unwrap().exit, story.summary())
    };
    let (exit, summary) = failed("budget_exhausted");
    assert_eq!(exit, Exit::BudgetExhausted);
    let expected =
        format!("failed · budget_exhausted: no · 1,230 tokens · $0.0012 · 4.0 s · session {RUN}");
    assert_eq!(summary, expected);
    assert_eq!(failed("policy_denied").0, Exit::Denied);

    let mut story = Story::default();
    tell(
        &mut story,
        fact("cancelled", 1, serde_json::json!({ "reason": "enough" })),
    );
    assert_eq!(story.ending.clone().unwrap().exit, Exit::Cancelled);
    assert_eq!(
        story.summary(),
        "cancelled · enough · 0 tokens · $0.00 · 0 ms"
    );
}

#[test]
fn a_refusal_gives_the_figures() {
    let refused = serde_json::json!({
        "turn": 1, "scope": { "kind": "user", "id": "ann" }, "window": "day", "unit": "tokens",
        "limit": 1000, "spent": 900, "reserved": 50, "needed": 300
    });
    let told = tell(
        &mut Story::default(),
        fact("reservation-refused", 1, refused),
    );
    let expected = "{Bad: budget   refuses turn 1: user ann has 50 of 1,000 tokens left (day), \
                    300 are needed}";
    assert_eq!(told, expected);
}

fn granted(second: u32, call: Option<&str>) -> serde_json::Value {
    let data = serde_json::json!({
        "turn": 1, "call_id": call, "reservation_id": RUN, "max_output_tokens": 100, "ledger_seq": 3,
        "amounts": { "tokens": 2000, "cost_usd_micros": 0, "time_ms": 60_000 },
        "expires_at": "2026-11-22T13:20:00Z"
    });
    fact("reservation-granted", second, data)
}

#[test]
fn a_run_that_waits_says_for_what_and_what_lets_it_go_on() {
    let mut story = Story::default();
    let shortage = |unit: &str, rule: &str| {
        serde_json::json!({
            "scope": { "kind": "user", "id": "ann" }, "window": "day", "unit": unit, "limit": 1000,
            "spent": 900, "reserved": 50, "needed": 300, "on_exhausted": rule
        })
    };
    let parked = |call: Option<&str>, shortage: serde_json::Value| {
        let data = serde_json::json!({
            "turn": 1, "call_id": call, "reservation_id": RUN, "shortage": shortage
        });
        fact("parked", 10, data)
    };
    let told = tell(&mut story, parked(None, shortage("tokens", "park")));
    let expected = format!(
        "{{Warn! budget   waits for tokens of user ann (day): limit 1,000, spent 900, held 50, 300 \
         needed; it has its place in the line; grant with: nexus budgets grant {RUN}}}"
    );
    assert_eq!(told, expected);
    let told = tell(&mut story, granted(42, None));
    let expected = "{Good: budget   goes on after 32.0 s}\
                    {Dim: budget   holds 2,000 tokens, $0.00, 1 min 0 s for turn 1}";
    assert_eq!(told, expected);
    let told = tell(
        &mut story,
        parked(Some("c1"), shortage("cost_usd_micros", "approve")),
    );
    assert!(
        told.contains("waits for money of user ann (day): limit $0.001,"),
        "{told}"
    );
    assert!(told.contains("a person is asked"), "{told}");
    let told = tell(&mut story, granted(10, Some("c1")));
    assert!(
        told.ends_with("{Dim: budget   holds 1 min 0 s for tool c1}"),
        "{told}"
    );
    assert_eq!(story.calls(), 1, "a tool's spending is no model call's");
    let change = serde_json::json!({ "turn": 1, "from": "large", "to": "small" });
    let told = tell(&mut story, fact("model-downgraded", 11, change));
    let expected = "{Warn: model    small from here on: the budget does not fit large}";
    assert_eq!(told, expected);
}

#[test]
fn what_a_newer_platform_says_does_not_stop_the_story() {
    let mut story = Story::default();
    let told = tell(
        &mut story,
        serde_json::json!({ "type": "nexus.run.dreamt.v1", "data": {} }),
    );
    assert_eq!(
        told,
        "{Dim: nexus.run.dreamt.v1 (not known to this version)}"
    );
    assert!(Item::read("nonsense").is_err());
}

#[test]
fn a_call_that_was_under_way_is_charged_after_the_end() {
    let mut story = Story::default();
    let granted = serde_json::json!({
        "turn": 1, "reservation_id": RUN, "max_output_tokens": 100, "ledger_seq": 3,
        "amounts": { "tokens": 2000, "cost_usd_micros": 0, "time_ms": 60_000 },
        "expires_at": "2026-11-22T13:20:00Z"
    });
    tell(&mut story, fact("reservation-granted", 1, granted));
    tell(&mut story, fact("cancelled", 1, serde_json::json!({})));
    assert!(story.has_open_call());
    assert_eq!(story.calls(), 1);
    story.charge(604, 18_120);
    assert!(!story.has_open_call());
    assert_eq!(story.summary(), "cancelled · 604 tokens · $0.01812 · 0 ms");

    let mut story = Story::default();
    tell(&mut story, answer(1, "x", serde_json::json!([])));
    assert!(!story.has_open_call());
}

#[test]
fn a_question_says_what_is_asked_and_how_to_answer() {
    let mut story = Story::default();
    let id = "5d0c1a7e-93b2-8f64-a1c8-0b7e4d2f9a36";
    let asked = serde_json::json!({
        "approval_id": id, "point": { "at": "tool.call", "turn": 1, "call_id": "c1" },
        "tool": "calculator", "arguments": { "expression": "12*7" }, "subject": "sha256:0",
        "bundle": "builtin", "reasons": [], "requester": "ann", "roles": ["admin", "boss"],
        "count": 2, "expires_at": "2026-11-22T13:20:00Z"
    });
    let said = |by: &str, missing: u32| serde_json::json!({ "approval_id": id, "approver": by, "missing": missing });
    let denied = serde_json::json!({ "approval_id": id, "approver": "eve", "reason": "no" });
    let told: Vec<String> = [
        fact("approval-requested", 1, asked),
        fact("approval-granted", 2, said("bob", 1)),
        fact("approval-denied", 3, denied),
    ]
    .into_iter()
    .map(|data| tell(&mut story, data))
    .collect();
    let expected = [
        format!(
            "{{Warn: approval waits for 2 people who are admin or boss, until \
             2026-11-22T13:20:00.000Z: calculator {{\"expression\":\"12*7\"}}}}\
             {{Dim:          answer with: nexus approvals approve {id} (or deny), as somebody \
             else than ann}}"
        ),
        "{Dim: approval given by bob; 1 more to agree}".to_owned(),
        "{Bad: approval denied by eve: no}".to_owned(),
    ];
    assert_eq!(told, expected);
}
