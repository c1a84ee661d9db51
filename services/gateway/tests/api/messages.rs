//! Messages by Anthropic's protocol. The tests say what the model does, in the place of its role.

use nexus_events::run::RunFailed;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::chat::{becomes, begun, done};
use crate::world::{Answer, Api, answer, bus, delta, record};

fn ask(api: &Api, change: impl FnOnce(&mut Value)) -> RequestBuilder {
    let mut body = json!({
        "model": "small", "max_tokens": 50, "novel": true,
        "messages": [{ "role": "user", "content": "hello" }],
    });
    change(&mut body);
    api.request(Method::POST, "/v1/messages")
        .header("anthropic-version", "2023-06-01")
        .json(&body)
}

fn streams(body: &mut Value) {
    body["stream"] = true.into();
}

fn weather(body: &mut Value) {
    body["tools"] = json!([{ "name": "weather", "input_schema": { "type": "object" } }]);
}

/// The events of a stream, each named as its data says.
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.body.as_str().unwrap();
    (text.trim().split("\n\n"))
        .map(|frame| {
            let (event, data) = frame.split_once("\ndata: ").unwrap();
            let value: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event, format!("event: {}", value["type"].as_str().unwrap()));
            value
        })
        .collect()
}

#[tokio::test]
async fn an_answer_is_a_run() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = tokio::spawn(answer(ask(&api, |body| {
        body["system"] = "Be brief.".into();
        body["metadata"] = json!({ "user_id": "u1" });
        weather(body);
    })));
    let run = begun(&api).await;
    record(&bus, &api.tenant, run, done("Let me see.", &["c1"])).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.header("nexus-run-id"), run.to_string());
    assert!(answer.header("request-id").starts_with("req_"));
    let expected = json!({
        "id": format!("msg_{run}"), "type": "message", "role": "assistant", "model": "small",
        "content": [
            { "type": "text", "text": "Let me see." },
            { "type": "tool_use", "id": "c1", "name": "weather", "input": { "city": "Rome" } },
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {
            "input_tokens": 6, "output_tokens": 3,
            "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0,
        },
    });
    assert_eq!(answer.ok(200), expected);
    let events = api.get(&format!("/v1/runs/{run}/events")).await.ok(200);
    let started = &events["items"][0]["data"];
    assert_eq!(started["input"], "hello");
    assert_eq!(started["metadata"], json!({ "user": "u1" }));
    assert_eq!(started["given"]["instructs"], true);
    assert_eq!(started["given"]["sampling"]["max_output_tokens"], 50);
}

#[tokio::test]
async fn fragments_are_deltas_and_the_record_completes_them() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = tokio::spawn(answer(ask(&api, |body| {
        streams(body);
        weather(body);
    })));
    let run = begun(&api).await;
    delta(&bus, &api.tenant, run, 1, "Hi").await;
    record(&bus, &api.tenant, run, done("Hi there.", &["c1", "c2"])).await;
    let events = events(&waiting.await.unwrap());
    let types: Vec<&str> = (events.iter())
        .map(|e| e["type"].as_str().unwrap())
        .collect();
    assert_eq!(types[0], "message_start");
    assert_eq!(types[types.len() - 2..], ["message_delta", "message_stop"]);
    let texts: String = (events.iter())
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(texts, "Hi there.");
    let calls: Vec<&Value> = (events.iter())
        .map(|event| &event["content_block"])
        .filter(|block| block["type"] == "tool_use")
        .collect();
    assert_eq!((calls.len(), &calls[1]["id"]), (2, &json!("c2")));
    let end = &events[events.len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "tool_use");
    assert_eq!(end["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn a_run_that_is_refused_is_an_error_with_its_status() {
    for (code, status, kind) in [
        ("policy_denied", 403, "permission_error"),
        ("budget_exhausted", 429, "rate_limit_error"),
        ("provider_unavailable", 529, "overloaded_error"),
    ] {
        let (api, bus) = (Api::new(), bus().await);
        let waiting = tokio::spawn(answer(ask(&api, streams)));
        let run = begun(&api).await;
        let failed = RunFailed {
            code: code.to_owned(),
            message: "not today".to_owned(),
        };
        record(&bus, &api.tenant, run, vec![failed.into()]).await;
        let answer = waiting.await.unwrap();
        assert_eq!(answer.header("x-should-retry"), "false");
        let body = answer.ok(status);
        assert_eq!(body["error"]["type"], kind);
        assert_eq!(body["error"]["message"], format!("not today ({code})"));
    }
}

#[tokio::test]
async fn who_goes_away_is_not_worked_for() {
    let (api, bus) = (Api::new(), bus().await);
    let (response, run) = tokio::join!(ask(&api, streams).send(), async {
        let run = begun(&api).await;
        delta(&bus, &api.tenant, run, 1, "It is").await;
        run
    });
    drop(response.unwrap());
    becomes(&api, run, "cancelled").await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_protocols_shape() {
    let api = Api::new();
    let image = json!([{ "role": "user", "content": [{ "type": "image", "source": {} }] }]);
    for (field, value, status, words) in [
        ("model", json!("x"), 404, "model: "),
        ("model", Value::Null, 400, "model: "),
        ("messages", json!([]), 400, "messages: "),
        ("messages", image, 400, "messages[0].content: only text"),
        ("max_tokens", json!("many"), 400, "max_tokens: "),
        ("max_tokens", json!(0), 400, "max_tokens: "),
        ("temperature", json!(3), 400, "temperature: "),
        ("stop_sequences", json!(["", "a"]), 400, "stop_sequences: "),
    ] {
        let refused = answer(ask(&api, |body| body[field] = value.clone())).await;
        let body = refused.ok(status);
        let kind = match status {
            404 => "not_found_error",
            _ => "invalid_request_error",
        };
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!(kind))
        );
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(words), "{body}");
        assert!(
            body["request_id"].as_str().unwrap().starts_with("req_"),
            "{body}"
        );
    }
}
