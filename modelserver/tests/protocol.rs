//! The server over real sockets, spoken to byte by byte, so that no client's leniency hides a fault.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use nexus_modelserver::{Counters, Fault, ModelServer, Options, Reply, Script, ScriptedCall};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends one request with `Connection: close` and reads until the server closes.
async fn exchange(server: &ModelServer, method: &str, path: &str, body: &str) -> String {
    send(server, method, path, "application/json", body).await
}

/// The same as a POST with this content type, and further headers after it.
async fn exchange_as(server: &ModelServer, path: &str, kind: &str, body: &str) -> String {
    send(server, "POST", path, kind, body).await
}

async fn send(server: &ModelServer, method: &str, path: &str, kind: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset still delivered what came before.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn chat(server: &ModelServer, model: &str, extra: Value) -> String {
    let mut body = json!({ "model": model,
        "messages": [{ "role": "user", "content": "What is 12*7?" }] });
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    exchange(server, "POST", "/v1/chat/completions", &body.to_string()).await
}

async fn start() -> ModelServer {
    ModelServer::start(Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_whole_answer_and_a_stream() {
    let server = start().await;
    let whole = chat(&server, "m", json!({})).await;
    let body: Value = serde_json::from_str(whole.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        body["choices"][0]["message"]["content"],
        "You said: What is 12*7?"
    );
    assert_eq!(body["choices"][0]["finish_reason"], "stop");

    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let streamed = chat(&server, "m", options).await;
    assert!(streamed.contains("content-type: text/event-stream"));
    assert!(streamed.contains("data: [DONE]\n\n"));
    let counted = server.counters();
    assert_eq!((counted.calls, counted.completed), (2, 2));
    let usage = format!(
        r#""total_tokens":{}"#,
        (counted.input_tokens + counted.output_tokens) / 2
    );
    assert!(streamed.contains(&usage), "{usage} in {streamed}");
}

#[tokio::test]
async fn tool_calls_are_streamed_in_pieces() {
    let server = start().await;
    let arguments = json!({ "expression": "12*7" });
    let calls = ["a", "b"].map(|name| ScriptedCall::new(name, &arguments));
    server.set_script(Script::queue([Reply::tools(calls)]));
    let streamed = chat(&server, "m", json!({ "stream": true })).await;
    assert_eq!(
        streamed.matches(r#""tool_calls":[{"#).count(),
        8,
        "{streamed}"
    );
    assert!(streamed.contains(r#""finish_reason":"tool_calls""#));
}

#[tokio::test]
async fn a_cut_ends_without_the_last_chunk() {
    let server = start().await;
    let streamed = chat(&server, "fault:cut=2", json!({ "stream": true })).await;
    assert_eq!(streamed.matches("data: ").count(), 2, "{streamed}");
    assert!(!streamed.contains("[DONE]") && !streamed.ends_with("0\r\n\r\n"));
    assert_eq!(server.counters().cut, 1);
}

#[tokio::test]
async fn errors_have_openais_body() {
    let server = start().await;
    let limited = chat(&server, "fault:429=7", json!({})).await;
    assert!(limited.starts_with("HTTP/1.1 429") && limited.contains("retry-after: 7"));
    assert!(limited.contains(r#""code":"rate_limit_exceeded""#));
    let wrong = chat(&server, "m", json!({ "stream": "yes" })).await;
    assert!(wrong.starts_with("HTTP/1.1 400"), "{wrong}");
    assert!(
        chat(&server, "fault:typo", json!({}))
            .await
            .starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_hanging_answer_is_seen() {
    let server = start().await;
    for model in ["fault:hang", "fault:hang=1"] {
        let asked = chat(&server, model, json!({ "stream": true }));
        assert!(
            tokio::time::timeout(Duration::from_millis(50), asked)
                .await
                .is_err()
        );
    }
    assert!(
        server.wait_until(PATIENCE, |c| c.abandoned == 2).await,
        "{:?}",
        server.counters()
    );
}

#[tokio::test]
async fn scripts_and_counters_work_from_outside() {
    let server = start().await;
    let script = json!({ "rules": [
        { "contains": "12*7", "times": 1, "reply": { "fault": { "status": { "status": 503 } } } },
        { "model": "m", "reply": { "text": "eighty-four" } } ] });
    let set = exchange(&server, "POST", "/_script", &script.to_string()).await;
    assert!(set.starts_with("HTTP/1.1 204"), "{set}");
    assert!(
        chat(&server, "m", json!({}))
            .await
            .starts_with("HTTP/1.1 503")
    );
    assert!(chat(&server, "m", json!({})).await.contains("eighty-four"));
    let counters = exchange(&server, "GET", "/_counters", "").await;
    assert!(counters.contains(r#""calls":2"#), "{counters}");
    assert!(
        exchange(&server, "GET", "/_requests", "")
            .await
            .contains("12*7")
    );
    assert!(
        exchange(&server, "GET", "/v1/models", "")
            .await
            .contains("test-model")
    );
    let unknown = exchange(&server, "POST", "/_script", r#"{"quue":[]}"#).await;
    assert!(unknown.starts_with("HTTP/1.1 422"), "{unknown}");
}

#[tokio::test]
async fn the_instant_mode_answers_every_form_and_counts() {
    let options = Options {
        instant: Some("ready".into()),
        ..Options::default()
    };
    let server = ModelServer::start(options).await.unwrap();
    assert!(
        chat(&server, "m", json!({}))
            .await
            .contains(r#""content":"ready""#)
    );
    let streamed = chat(&server, "m", json!({ "stream": true })).await;
    assert!(streamed.contains("[DONE]") && !streamed.contains("usage"));
    let wanted = json!({ "stream": true, "stream_options": { "include_usage": true } });
    assert!(
        chat(&server, "m", wanted)
            .await
            .contains(r#""completion_tokens":2"#)
    );
    let expected = Counters {
        calls: 3,
        completed: 3,
        input_tokens: 48,
        output_tokens: 6,
        ..server.counters()
    };
    assert_eq!(server.counters(), expected);
    assert!(server.recorded().is_empty());
}

#[tokio::test]
async fn stopping_ends_hanging_answers_and_frees_the_port() {
    let server = start().await;
    let address = server.address();
    server.set_script(Script::queue([Reply::fault(Fault::HangAfter(1))]));
    let mut socket = TcpStream::connect(address).await.unwrap();
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    assert!(server.wait_until(PATIENCE, |c| c.input_tokens > 0).await);
    tokio::time::timeout(PATIENCE, server.shutdown())
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest))
        .await
        .unwrap();
    ModelServer::start_on(address, Options::default())
        .await
        .unwrap();
}

/// The same question by Anthropic's protocol.
async fn message(server: &ModelServer, model: &str, extra: Value) -> String {
    let mut body = json!({ "model": model, "max_tokens": 1_000,
        "messages": [{ "role": "user", "content": "What is 12*7?" }] });
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let body = body.to_string();
    let head = "application/json\r\nanthropic-version: 2023-06-01";
    exchange_as(server, "/v1/messages", head, &body).await
}

#[tokio::test]
async fn messages_are_answered_whole_and_streamed_and_each_is_accounted_for() {
    let server = start().await;
    let tools = json!([{ "name": "calculator", "input_schema": { "type": "object" } }]);
    let whole = message(&server, "m", json!({ "tools": tools })).await;
    let body: Value = serde_json::from_str(whole.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["stop_reason"], "tool_use");
    assert_eq!(body["content"][0]["input"], json!({ "expression": "12*7" }));

    let streamed = message(&server, "m", json!({ "stream": true })).await;
    let order = [
        "event: message_start",
        "event: ping",
        "event: content_block_start",
        "text_delta",
        "event: content_block_stop",
        r#""stop_reason":"end_turn""#,
        "event: message_stop",
    ];
    let places: Vec<_> = order.iter().map(|text| streamed.find(text)).collect();
    assert!(places.is_sorted() && !places.contains(&None), "{places:?}");
    let (sent, counted) = (server.sent(), server.counters());
    assert!(sent.iter().all(|s| s.whole && s.path == "/v1/messages"));
    let total = |of: fn(&nexus_modelserver::Sent) -> u64| sent.iter().map(of).sum::<u64>();
    assert_eq!(total(|s| s.input_tokens), counted.input_tokens);
    assert_eq!(total(|s| s.output_tokens), counted.output_tokens);
    assert_eq!(body["usage"]["output_tokens"], sent[0].output_tokens);
    let listed = exchange(&server, "GET", "/_sent", "").await;
    assert!(listed.contains(r#""path":"/v1/messages""#), "{listed}");
}

#[tokio::test]
async fn messages_fail_in_anthropics_words() {
    let server = start().await;
    for (model, status, kind) in [
        ("fault:429=7", "HTTP/1.1 429", "rate_limit_error"),
        ("fault:529", "HTTP/1.1 529", "overloaded_error"),
        ("fault:500", "HTTP/1.1 500", "api_error"),
        ("fault:typo", "HTTP/1.1 404", "not_found_error"),
    ] {
        let refused = message(&server, model, json!({})).await;
        assert!(
            refused.starts_with(status) && refused.contains(kind),
            "{refused}"
        );
        assert_eq!(refused.contains("retry-after: 7"), model == "fault:429=7");
    }
    let empty = json!({ "messages": [{ "role": "user",
        "content": [{ "type": "text", "text": "" }] }] });
    let refused = message(&server, "m", empty).await;
    assert!(refused.contains("invalid_request_error"), "{refused}");
    let no_version = exchange(&server, "POST", "/v1/messages", "{}").await;
    assert!(no_version.starts_with("HTTP/1.1 400"), "{no_version}");
    let broken = message(&server, "fault:error=2", json!({ "stream": true })).await;
    assert!(broken.contains("event: error") && broken.contains("overloaded_error"));
}

#[tokio::test]
async fn embeddings_follow_from_the_text() {
    let server = start().await;
    let body = json!({ "model": "m", "input": ["a", "b", "a"], "dimensions": 3 });
    let answer = exchange(&server, "POST", "/v1/embeddings", &body.to_string()).await;
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let vector = |at: usize| body["data"][at]["embedding"].as_array().unwrap().clone();
    assert_eq!((vector(0).len(), vector(0)), (3, vector(2)));
    assert_ne!(vector(0), vector(1));
    assert_eq!(body["usage"]["total_tokens"], 3);
}
