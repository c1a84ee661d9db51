#![expect(clippy::unwrap_used, reason = "a test may fail")]

use nexus_content::{FilterConfig, Filters, Setting};
use nexus_events::catalog::Price;
use nexus_events::content::{Action, Class};
use nexus_events::ledger::Amounts;
use nexus_events::model::{Message, ToolSpec};
use serde_json::json;

use super::*;
use crate::provider::{PriceSource, ToolChoice};

fn model() -> ModelInfo {
    ModelInfo {
        name: "small".to_owned(),
        provider: "test".to_owned(),
        wire_name: "small-1".to_owned(),
        context_tokens: 8_000,
        max_output_tokens: 1_000,
        price: Price {
            input: 1_000_000,
            cached_input: 1_000_000,
            output: 1_000_000,
            cache_write: None,
        },
        price_source: PriceSource::Configured,
        reasoning: false,
        tokenizer: None,
        tool_overhead_tokens: 0,
        capabilities: [Capability::Chat, Capability::Sampling].into(),
    }
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "small-1".to_owned(),
        messages: vec![Message::User {
            text: "hello".to_owned(),
        }],
        tools: vec![ToolSpec {
            name: "add".to_owned(),
            description: "adds".to_owned(),
            parameters: serde_json::from_str(r#"{"a": 1, "b": {"c": 1, "d": 2}}"#).unwrap(),
        }],
        max_tokens: 100,
        temperature: Some(0.0),
        ..ChatRequest::default()
    }
}

fn digest(change: impl FnOnce(&mut ChatRequest)) -> String {
    let mut request = request();
    change(&mut request);
    of("acme", &model(), &request, &Rules::default(), &[])
}

fn of(
    tenant: &str,
    model: &ModelInfo,
    request: &ChatRequest,
    rules: &Rules,
    left: &[String],
) -> String {
    key::digest(&tenant.parse().unwrap(), &[model], request, (rules, left)).unwrap()
}

#[test]
fn every_part_of_a_question_makes_another() {
    let usual = digest(|_| ());
    let secret = FilterConfig {
        output: [(Class::Secret, Setting::Redact)].into(),
        ..FilterConfig::default()
    };
    let filters = Filters::new(&secret).unwrap();
    let (usual_rules, request) = (Rules::default(), request());
    let named = ModelInfo {
        name: "other".to_owned(),
        ..model()
    };
    let elsewhere = ModelInfo {
        wire_name: "small-2".to_owned(),
        ..model()
    };
    let named_tool = ToolChoice::Named("add".to_owned());
    let others = [
        digest(|r| r.tool_choice = named_tool.clone()),
        digest(|r| r.tool_choice = ToolChoice::Named("sum".to_owned())),
        digest(|r| {
            r.messages = vec![Message::System {
                text: "hello".to_owned(),
            }]
        }),
        digest(|r| {
            r.messages[0] = Message::User {
                text: "hello ".to_owned(),
            }
        }),
        digest(|r| {
            r.messages.push(Message::User {
                text: String::new(),
            })
        }),
        digest(|r| r.tools.clear()),
        digest(|r| r.tools[0].name = "sum".to_owned()),
        digest(|r| r.tools[0].description = "sums".to_owned()),
        digest(|r| r.tools[0].parameters = json!({ "a": 1 })),
        digest(|r| r.tool_choice = ToolChoice::None),
        digest(|r| r.temperature = None),
        digest(|r| r.top_p = Some(0.5)),
        digest(|r| r.stop = vec!["x".to_owned()]),
        digest(|r| r.seed = Some(1)),
        digest(|r| r.response_schema = Some(json!({}))),
        of("other", &model(), &request, &usual_rules, &[]),
        of("acme", &named, &request, &usual_rules, &[]),
        of("acme", &elsewhere, &request, &usual_rules, &[]),
        of("acme", &model(), &request, filters.of("acme"), &[]),
        of(
            "acme",
            &model(),
            &request,
            &usual_rules,
            &["ssn".to_owned()],
        ),
    ];
    let mut all: std::collections::BTreeSet<_> = others.iter().collect();
    all.insert(&usual);
    assert_eq!(all.len(), others.len() + 1);
}

#[test]
fn how_a_question_is_written_makes_none() {
    let usual = digest(|_| ());
    let turned = r#"{"b": {"d": 2, "c": 1}, "a": 1}"#;
    assert_eq!(
        usual,
        digest(|r| r.tools[0].parameters = serde_json::from_str(turned).unwrap())
    );
    assert_eq!(
        usual,
        digest(|r| r.max_tokens = 7),
        "only whole answers are kept"
    );
    assert_eq!(usual, digest(|r| r.input_bound = Some(7)));
}

fn config(toml: &str) -> Result<Caches, CacheError> {
    Caches::new([("default".to_owned(), toml::from_str(toml).unwrap())].into())
}

fn asked(
    toml: &str,
    agent: &str,
    request: &mut ChatRequest,
    model: &ModelInfo,
) -> Option<Question> {
    let tenant = "acme".parse().unwrap();
    let caches = config(toml).unwrap();
    caches.question(agent, &tenant, &[model], request, (&Rules::default(), &[]))
}

#[test]
fn only_calls_without_chance_are_kept() {
    let mut usual = ChatRequest {
        temperature: None,
        ..request()
    };
    assert!(asked("", "other", &mut usual, &model()).is_none());
    assert_eq!(
        usual.temperature, None,
        "who did not ask for it is left alone"
    );
    assert!(asked("", "default", &mut usual, &model()).is_some());
    assert_eq!(usual.temperature, Some(0.0));
    let mut sampled = ChatRequest {
        temperature: Some(0.7),
        ..request()
    };
    assert!(asked("", "default", &mut sampled, &model()).is_none());
    let thinks = ModelInfo {
        reasoning: true,
        ..model()
    };
    assert!(asked("", "default", &mut request(), &thinks).is_none());
}

#[test]
fn a_cache_is_configured_within_bounds() {
    for wrong in ["ttl_seconds = 0", "ttl_seconds = 604801"] {
        assert_eq!(
            config(wrong).unwrap_err(),
            CacheError::Ttl("default".to_owned())
        );
    }
    for wrong in [
        "hit_price_percent = 101",
        "hit_price_percent = 5\nhits = \"full\"",
    ] {
        assert_eq!(
            config(wrong).unwrap_err(),
            CacheError::Price("default".to_owned())
        );
    }
}

fn at(seconds: u64) -> Timestamp {
    let text = format!("2026-01-01T00:{:02}:{:02}.000Z", seconds / 60, seconds % 60);
    serde_json::from_value(json!(text)).unwrap()
}

fn answer() -> LlmCompleted {
    let found = |direction| Finding {
        direction,
        class: Class::Email,
        action: Action::Mark,
        count: 1,
    };
    LlmCompleted {
        turn: 1,
        provider: "test".to_owned(),
        model: "small-1".to_owned(),
        text: "hello".into(),
        tool_calls: vec![],
        finish: FinishReason::Stop,
        usage: Usage {
            input_tokens: 9,
            output_tokens: 2,
            ..Usage::default()
        },
        cost_usd_micros: 11,
        duration_ms: 700,
        time_to_first_token_ms: Some(5),
        attempts: 2,
        response_id: Some("chatcmpl-1".to_owned()),
        route: "test".to_owned(),
        findings: vec![found(Direction::Input), found(Direction::Output)],
        cached: None,
        routing: None,
    }
}

fn grant(tokens: u64) -> ReservationGranted {
    let grant = json!({
        "turn": 3, "reservation_id": "0190b2f5-7c1e-7d2a-9f6b-2f6d1a2b3c4d", "ledger_seq": 1,
        "amounts": Amounts { tokens, cost_usd_micros: 1_000, ..Amounts::default() },
        "max_output_tokens": 100, "expires_at": "2026-01-01T01:00:00.000Z",
    });
    serde_json::from_value(grant).unwrap()
}

fn again(toml: &str, age: u64, tokens: u64, max_tokens: u32) -> Option<LlmCompleted> {
    let mut request = ChatRequest {
        max_tokens,
        ..request()
    };
    let question = asked(toml, "default", &mut request, &model()).unwrap();
    let kept = Kept {
        at: at(0),
        answer: answer(),
    };
    given_again(&question, kept, &grant(tokens), at(age))
}

#[test]
fn an_answer_costs_what_is_configured() {
    let free = again("", 1, 1_000, 100).unwrap();
    assert_eq!((free.usage, free.cost_usd_micros), (Usage::default(), 0));
    assert_eq!((free.turn, free.attempts, free.response_id), (3, 0, None));
    assert_eq!(free.cached.unwrap().at, at(0));
    assert_eq!(free.findings.len(), 1, "of the input this call has its own");
    let full = again("hits = \"full\"", 1, 1_000, 100).unwrap();
    assert_eq!((full.usage, full.cost_usd_micros), (answer().usage, 11));
    let tenth = again("hit_price_percent = 10", 1, 1_000, 100).unwrap();
    assert_eq!((tenth.usage, tenth.cost_usd_micros), (answer().usage, 2));
}

#[test]
fn what_is_too_old_too_long_or_too_dear_is_asked_anew() {
    assert!(again("ttl_seconds = 60", 60, 1_000, 100).is_some());
    assert!(again("ttl_seconds = 60", 61, 1_000, 100).is_none());
    assert!(again("", 1, 1_000, 1).is_none());
    assert!(again("hits = \"full\"", 1, 10, 100).is_none());
}

#[test]
fn only_whole_answers_are_kept() {
    let kept = |done: LlmCompleted| {
        let question = asked("", "default", &mut request(), &model());
        fresh(question, &ModelOutcome::Completed(done), at(0)).is_some()
    };
    assert!(kept(answer()));
    assert!(!kept(LlmCompleted {
        finish: FinishReason::Length,
        ..answer()
    }));
    assert!(!kept(LlmCompleted {
        text: "x".repeat(LARGEST_BYTES).into(),
        ..answer()
    }));
    assert!(fresh(None, &ModelOutcome::Completed(answer()), at(0)).is_none());
}
