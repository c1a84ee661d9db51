//! What only Anthropic's protocol asks of a conversation, and says of its usage.

use nexus_events::model::ToolCall;
use nexus_modelserver::{Fault, UsageReport, WireTokens};
use serde_json::Value;

use super::*;

fn body(request: &ChatRequest) -> Value {
    serde_json::to_value(anthropic_wire::Body::new(request)).unwrap()
}

fn call(id: &str, arguments: Value) -> ToolCall {
    ToolCall {
        id: id.into(),
        name: "calculator".into(),
        arguments,
    }
}

fn result(id: &str) -> Message {
    Message::Tool {
        call_id: id.into(),
        name: "calculator".into(),
        text: "84".into(),
    }
}

#[test]
fn all_results_of_a_turn_and_what_follows_are_one_message() {
    let mut request = ask("m", "go");
    request.messages.extend([
        Message::Assistant {
            text: " ".into(),
            tool_calls: vec![call("a:1", json!({ "x": 1 })), call("b", json!("{\"x"))],
        },
        result("a:1"),
        result("b"),
        Message::User { text: "so?".into() },
        Message::System {
            text: "Be kind.".into(),
        },
    ]);
    let body = body(&request);
    assert_eq!(body["system"][1]["text"], "Be kind.");
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    let calls = &messages[1]["content"];
    assert_eq!(calls[0]["id"], "a_1", "an id of another provider");
    assert_eq!(calls[1]["input"], json!({ "arguments": "{\"x" }));
    let kinds = messages[2]["content"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|block| block["type"].as_str()).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"].map(Some));
    assert_eq!(messages[2]["content"][0]["tool_use_id"], "a_1");
    let marks = body.to_string().matches("cache_control").count();
    assert_eq!(marks, 2, "after the system and after the last message");
}

#[test]
fn tools_are_kept_in_the_cache_where_there_is_no_system() {
    let mut request = with_calculator(ask("m", "go"));
    request.messages.remove(0);
    let body = body(&request);
    assert!(body.get("system").is_none());
    assert_eq!(body["tools"][0]["cache_control"]["type"], "ephemeral");
}

#[tokio::test]
async fn what_the_cache_gave_and_took_is_told_apart() {
    let report = WireTokens {
        input: 1_000,
        output: 7,
        cached: 600,
        cache_write: 300,
    };
    let reply = Reply {
        usage: UsageReport::Lie(report),
        ..Reply::text("hi")
    };
    let setup = setup(Wire::Anthropic, [reply]).await;
    let usage = setup.complete(&ask("m", "hello")).await.0.unwrap().usage;
    let expected = Usage {
        input_tokens: 1_000,
        output_tokens: 7,
        cached_input_tokens: 600,
        cache_write_tokens: 300,
        estimated: false,
    };
    assert_eq!(usage, expected);
}

#[tokio::test]
async fn an_address_is_written_with_the_version_or_without() {
    for end in ["/v1", "/v1/", "", "/"] {
        let setup = setup_with(Wire::Anthropic, [], |config| {
            let base = config.base_url.take().unwrap();
            let base = base.trim_end_matches("/v1");
            config.base_url = Some(format!("{base}{end}"));
        })
        .await;
        assert!(setup.complete(&ask("m", "hello")).await.0.is_ok(), "{end}");
    }
}

#[tokio::test]
async fn a_prompt_of_which_nothing_is_known_was_written_into_the_cache() {
    let setup = setup(Wire::Anthropic, [Reply::fault(Fault::CutAfter(0))]).await;
    let usage = setup.fails(&ask("m", "hello")).await.partial.usage;
    assert!(usage.input_tokens > 0 && usage.estimated);
    assert_eq!(usage.cache_write_tokens, usage.input_tokens);
}

#[test]
fn reports_add_up_whoever_is_silent() {
    let wire = |value: Value| serde_json::from_value::<anthropic_wire::WireUsage>(value).unwrap();
    let start = wire(json!({ "input_tokens": 10, "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 3, "output_tokens": 1 }));
    let start = start.of(None);
    assert_eq!(start.input_tokens, 18);
    let end = wire(json!({ "output_tokens": 40 })).of(Some(start));
    assert_eq!((end.input_tokens, end.output_tokens), (18, 40));
    // A server that says the truth only at the end.
    let end = wire(json!({ "input_tokens": 9, "output_tokens": 2 }));
    let zero = wire(json!({ "input_tokens": 0, "output_tokens": 0 })).of(None);
    assert_eq!(end.of(Some(zero)).input_tokens, 9);
}

#[test]
fn errors_of_a_stream_are_told_apart() {
    let failure = |kind: &str| anthropic_wire::failure(&json!({ "type": kind, "message": "m" }));
    for passing in ["overloaded_error", "api_error", "rate_limit_error", "novel"] {
        assert!(
            matches!(failure(passing), Failure::Transient { .. }),
            "{passing}"
        );
    }
    assert_eq!(
        failure("invalid_request_error").code(),
        "invalid_request_error"
    );
}
