//! Chat completions by OpenAI's protocol. The tests say what the model does, in the place of its role.

use std::time::Duration;

use futures_util::StreamExt;
use nexus_events::RunId;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::run::{EarlierCall, LlmCompleted, RunCompleted, RunEvent, RunFailed};
use nexus_events::subject;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::world::{Answer, Api, answer, bus, delta, record};

fn ask(api: &Api, change: impl FnOnce(&mut Value)) -> RequestBuilder {
    let mut body = json!({
        "model": "small", "messages": [{ "role": "user", "content": "hello" }], "novel": true,
    });
    change(&mut body);
    api.request(Method::POST, "/v1/chat/completions")
        .json(&body)
}

fn asked(api: &Api, change: impl FnOnce(&mut Value)) -> JoinHandle<Answer> {
    tokio::spawn(answer(ask(api, change)))
}

fn streams(body: &mut Value) {
    body["stream"] = true.into();
}

/// The tenant's one run, once the read models have it.
pub(crate) async fn begun(api: &Api) -> RunId {
    loop {
        let runs = api.get("/v1/runs").await.ok(200);
        if let Some(id) = runs["items"][0]["id"].as_str() {
            return id.parse().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn becomes(api: &Api, run: RunId, status: &str) {
    loop {
        let found = api.get(&format!("/v1/runs/{run}")).await.ok(200);
        if found["status"] == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn said(text: &str, calls: &[&str]) -> LlmCompleted {
    let call = |id: &&str| ToolCall {
        id: (*id).to_owned(),
        name: "weather".to_owned(),
        arguments: json!({ "city": "Rome" }),
    };
    LlmCompleted {
        turn: 1,
        provider: "test".to_owned(),
        model: "small".to_owned(),
        text: text.into(),
        tool_calls: calls.iter().map(call).collect(),
        finish: FinishReason::Stop,
        usage: Usage {
            input_tokens: 10,
            output_tokens: 3,
            cached_input_tokens: 4,
            cache_write_tokens: 0,
            estimated: false,
        },
        cost_usd_micros: 0,
        duration_ms: 1,
        time_to_first_token_ms: None,
        attempts: 1,
        response_id: None,
        route: String::new(),
        routing: None,
        findings: vec![],
        cached: None,
    }
}

/// What the role records of an answer.
pub(crate) fn done(text: &str, calls: &[&str]) -> Vec<RunEvent> {
    let handed = calls.iter().map(|id| EarlierCall {
        turn: 1,
        call_id: (*id).to_owned(),
    });
    let end = RunCompleted {
        tokens: 13,
        cost_usd_micros: 0,
        duration_ms: 1,
        client_calls: handed.collect(),
    };
    vec![said(text, calls).into(), end.into()]
}

/// The data of the chunks of a stream.
fn chunks(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.body.as_str().unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let lines: Vec<&str> = lines.collect();
    let (last, rest) = lines.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    rest.iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn an_answer_is_a_run() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = asked(&api, |body| {
        body["metadata"] = json!({ "a": "b" });
        body["messages"] = json!([
            { "role": "system", "content": "Be brief." }, { "role": "user", "content": "hello" },
        ]);
    });
    let run = begun(&api).await;
    record(&bus, &api.tenant, run, done("Hi.", &[])).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.header("nexus-run-id"), run.to_string());
    let body = answer.ok(200);
    assert_eq!(body["id"], format!("chatcmpl-{run}"));
    assert_eq!(body["object"], "chat.completion");
    let message = json!({ "role": "assistant", "content": "Hi.", "refusal": null });
    assert_eq!(body["choices"][0]["message"], message);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let usage = json!({
        "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
        "prompt_tokens_details": { "cached_tokens": 4 },
    });
    assert_eq!(body["usage"], usage);
    let events = api.get(&format!("/v1/runs/{run}/events")).await.ok(200);
    let started = &events["items"][0]["data"];
    assert_eq!(started["input"], "hello");
    assert_eq!(started["tools"], json!([]));
    assert_eq!(started["metadata"], json!({ "a": "b" }));
    assert_eq!(started["given"]["instructs"], true);
}

#[tokio::test]
async fn fragments_are_chunks_and_the_record_completes_them() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = asked(&api, |body| {
        streams(body);
        body["stream_options"] = json!({ "include_usage": true });
    });
    let run = begun(&api).await;
    delta(&bus, &api.tenant, run, 1, "Hi").await;
    let restart = json!({ "type": "restart", "turn": 1, "reason": "cut" }).to_string();
    let live = subject::live_run(&api.tenant, run);
    bus.client().publish(live, restart.into()).await.unwrap();
    delta(&bus, &api.tenant, run, 1, "Hi th").await;
    record(&bus, &api.tenant, run, done("Hi there.", &[])).await;
    let chunks = chunks(&waiting.await.unwrap());
    let texts: String = (chunks.iter())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(texts, "Hi there.");
    let last = &chunks[chunks.len() - 2];
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"], Value::Null);
    assert_eq!(chunks.last().unwrap()["usage"]["total_tokens"], 13);
}

#[tokio::test]
async fn calls_for_the_client_are_its_answer() {
    let (api, bus) = (Api::new(), bus().await);
    let tools = json!([{ "type": "function", "function": { "name": "weather" } }]);
    let waiting = asked(&api, |body| body["tools"] = tools.clone());
    let run = begun(&api).await;
    record(&bus, &api.tenant, run, done("", &["c1", "c2"])).await;
    let body = waiting.await.unwrap().ok(200);
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = json!({
        "id": "c1", "type": "function",
        "function": { "name": "weather", "arguments": "{\"city\":\"Rome\"}" },
    });
    assert_eq!(choice["message"]["tool_calls"][0], call);
    assert_eq!(choice["message"]["tool_calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_run_that_is_refused_is_an_error_with_its_status() {
    for stream in [false, true] {
        let (api, bus) = (Api::new(), bus().await);
        let waiting = asked(&api, |body| body["stream"] = stream.into());
        let run = begun(&api).await;
        let failed = RunFailed {
            code: "policy_denied".to_owned(),
            message: "not today".to_owned(),
        };
        record(&bus, &api.tenant, run, vec![failed.into()]).await;
        let answer = waiting.await.unwrap();
        assert_eq!(answer.header("x-should-retry"), "false");
        assert_eq!(answer.header("nexus-run-id"), run.to_string());
        let error = json!({ "error": {
            "message": "not today", "type": "permission_error", "param": null,
            "code": "policy_denied",
        } });
        assert_eq!(answer.ok(403), error);
    }
}

#[tokio::test]
async fn another_answer_ends_the_stream_with_an_error_and_the_run() {
    let (api, bus) = (Api::new(), bus().await);
    let (response, run) = tokio::join!(ask(&api, streams).send(), async {
        let run = begun(&api).await;
        delta(&bus, &api.tenant, run, 1, "It is").await;
        run
    });
    let mut said = response.unwrap().bytes_stream();
    let first = said.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("It is"));
    record(&bus, &api.tenant, run, vec![self::said("Yes", &[]).into()]).await;
    let mut rest = String::new();
    while let Some(Ok(bytes)) = said.next().await {
        rest.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(rest.contains("answer_restarted"), "{rest}");
    assert!(!rest.contains("[DONE]"), "{rest}");
    becomes(&api, run, "cancelled").await;
}

#[tokio::test]
async fn who_goes_away_is_not_worked_for() {
    // Whole: the connection is closed while the answer is waited for.
    let api = Api::new();
    let waiting = asked(&api, |_| ());
    let run = begun(&api).await;
    waiting.abort();
    becomes(&api, run, "cancelled").await;
    // As a stream, in the middle of it.
    let (api, bus) = (Api::new(), bus().await);
    let request = ask(&api, streams).send();
    let (response, run) = tokio::join!(request, async {
        let run = begun(&api).await;
        delta(&bus, &api.tenant, run, 1, "It is").await;
        run
    });
    drop(response.unwrap());
    becomes(&api, run, "cancelled").await;
}

#[tokio::test]
async fn who_comes_back_with_the_same_key_gets_the_answer() {
    let (api, bus) = (Api::new(), bus().await);
    let keyed = |change: fn(&mut Value)| ask(&api, change).header("Idempotency-Key", "one");
    let waiting = tokio::spawn(answer(keyed(|_| ())));
    let run = begun(&api).await;
    waiting.abort();
    record(&bus, &api.tenant, run, done("Hi.", &[])).await;
    let whole = answer(keyed(|_| ())).await.ok(200);
    assert_eq!(whole["choices"][0]["message"]["content"], "Hi.");
    let chunks = chunks(&answer(keyed(streams)).await);
    assert_eq!(chunks[0]["id"], format!("chatcmpl-{run}"));
    assert_eq!(chunks[0]["choices"][0]["delta"]["content"], "Hi.");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_protocols_shape() {
    let api = Api::new();
    let weather = json!({ "type": "function", "function": { "name": "weather" } });
    type Change = Box<dyn Fn(&mut Value)>;
    let cases: Vec<(Change, u16, &str, &str)> = vec![
        (
            Box::new(|b| b["model"] = "x".into()),
            404,
            "model_not_found",
            "model",
        ),
        (
            Box::new(|b| b["model"] = Value::Null),
            400,
            "invalid",
            "model",
        ),
        (
            Box::new(|b| b["messages"] = json!([])),
            400,
            "invalid",
            "messages",
        ),
        (
            Box::new(|b| b["stream"] = "yes".into()),
            400,
            "invalid",
            "stream",
        ),
        (
            Box::new(|b| b["temperature"] = 3.into()),
            400,
            "invalid",
            "temperature",
        ),
        (
            Box::new(|b| b["max_tokens"] = 0.into()),
            400,
            "invalid",
            "max_completion_tokens",
        ),
        (
            Box::new(move |b| b["tools"] = json!([weather, weather])),
            400,
            "invalid",
            "tools",
        ),
    ];
    for (change, status, code, param) in cases {
        let refused = answer(ask(&api, change)).await;
        assert_eq!(refused.header("content-type"), "application/json");
        let body = refused.ok(status);
        let error = &body["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&code.into(), &param.into()),
            "{body}"
        );
        assert_eq!(error["type"], "invalid_request_error");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    // A layer around the route speaks the same.
    let nameless = api.client.post(format!("{}/v1/chat/completions", api.base));
    let foreign = nameless
        .header("Nexus-Tenant", "Not A Tenant")
        .json(&json!({}));
    let refused = answer(foreign).await;
    assert!(refused.body["error"]["message"].is_string(), "{refused:?}");
}
