//! Responses by OpenAI's protocol. The tests say what the model does, in the place of its role.

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::chat::{becomes, begun, done};
use crate::world::{Answer, Api, answer, bus, delta, record};

fn ask(api: &Api, change: impl FnOnce(&mut Value)) -> RequestBuilder {
    let mut body = json!({ "model": "small", "input": "hello", "novel": true });
    change(&mut body);
    api.request(Method::POST, "/v1/responses").json(&body)
}

fn get(api: &Api, path: &str) -> RequestBuilder {
    api.request(Method::GET, &format!("/v1/responses/{path}"))
}

fn streams(body: &mut Value) {
    body["stream"] = true.into();
}

fn weather(body: &mut Value) {
    body["tools"] = json!([{ "type": "function", "name": "weather" }]);
}

/// The events of a stream, each named as its data says; signs of life are none.
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.body.as_str().unwrap();
    (text.trim().split("\n\n"))
        .filter(|frame| !frame.starts_with(':'))
        .map(|frame| {
            let (event, data) = frame.split_once("\ndata: ").unwrap();
            let value: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event, format!("event: {}", value["type"].as_str().unwrap()));
            value
        })
        .collect()
}

#[tokio::test]
async fn a_response_is_a_run_and_can_be_asked_for_again() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = tokio::spawn(answer(ask(&api, |body| {
        body["instructions"] = "Be brief.".into();
        body["metadata"] = json!({ "a": "b" });
        body["max_output_tokens"] = 50.into();
        weather(body);
    })));
    let run = begun(&api).await;
    record(&bus, &api.tenant, run, done("Let me see.", &["c1"])).await;
    let body = waiting.await.unwrap().ok(200);
    assert_eq!(body["id"], format!("resp_{run}"));
    assert_eq!(
        (&body["object"], &body["status"]),
        (&json!("response"), &json!("completed"))
    );
    assert_eq!(body["output"][0]["content"][0]["text"], "Let me see.");
    assert_eq!(body["output"][1]["call_id"], "c1");
    assert_eq!(body["output"][1]["arguments"], "{\"city\":\"Rome\"}");
    assert_eq!(body["usage"]["total_tokens"], 13);
    assert_eq!(body["tools"][0]["name"], "weather");
    assert_eq!(
        (&body["metadata"]["a"], &body["max_output_tokens"]),
        (&json!("b"), &json!(50))
    );
    assert_eq!(
        answer(get(&api, &format!("resp_{run}"))).await.ok(200),
        body
    );
    let events = api.get(&format!("/v1/runs/{run}/events")).await.ok(200);
    assert_eq!(events["items"][0]["data"]["given"]["instructs"], true);
}

#[tokio::test]
async fn a_stream_goes_on_where_its_reader_was() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = tokio::spawn(answer(ask(&api, streams)));
    let run = begun(&api).await;
    delta(&bus, &api.tenant, run, 1, "Grüß").await;
    record(&bus, &api.tenant, run, done("Grüß Gott.", &[])).await;
    let live = events(&waiting.await.unwrap());
    assert_eq!(live.last().unwrap()["type"], "response.completed");
    let others = |events: &[Value]| -> Vec<Value> {
        let others = events
            .iter()
            .filter(|event| event["type"] != "response.output_text.delta");
        others.cloned().collect()
    };
    let again = answer(get(&api, &format!("resp_{run}?stream=true"))).await;
    assert_eq!(others(&events(&again)), others(&live));
    // In the middle of the text: after the piece that ends with "Gr".
    let first = (live.iter()).find(|event| event["type"] == "response.content_part.added");
    let after = first.unwrap()["sequence_number"].as_u64().unwrap() + 2;
    let path = format!("resp_{run}?stream=true&starting_after={after}");
    let rest = events(&answer(get(&api, &path)).await);
    assert_eq!(rest[0]["delta"], "üß Gott.", "{rest:?}");
    assert_eq!(others(&rest), others(&live)[5..]);
    let last = live.last().unwrap()["sequence_number"].as_u64().unwrap();
    let path = format!("resp_{run}?stream=true&starting_after={last}");
    let nothing = answer(get(&api, &path)).await.ok(200);
    assert!(!nothing.to_string().contains("data:"), "{nothing}");
}

#[tokio::test]
async fn in_the_background_it_goes_on_without_its_reader_until_it_is_stopped() {
    let (api, bus) = (Api::new(), bus().await);
    let begun = answer(ask(&api, |body| body["background"] = true.into()))
        .await
        .ok(200);
    assert_eq!(begun["status"], "in_progress", "{begun}");
    let id = begun["id"].as_str().unwrap().to_owned();
    let run = id.strip_prefix("resp_").unwrap().parse().unwrap();
    // Who reads for a while and goes away stops nothing.
    let mut reading = get(&api, &format!("{id}?stream=true"))
        .send()
        .await
        .unwrap()
        .bytes_stream();
    let first = reading.next().await.unwrap().unwrap();
    assert!(!first.is_empty());
    drop(reading);
    delta(&bus, &api.tenant, run, 1, "It").await;
    let now = answer(get(&api, &id)).await.ok(200);
    assert_eq!(now["status"], "in_progress");
    let cancel = || api.request(Method::POST, &format!("/v1/responses/{id}/cancel"));
    let stopped = answer(cancel()).await.ok(200);
    assert_eq!(
        (&stopped["id"], &stopped["status"]),
        (&json!(id), &json!("cancelled"))
    );
    becomes(&api, run, "cancelled").await;
    assert_eq!(answer(cancel()).await.ok(200)["status"], "cancelled");
}

#[tokio::test]
async fn who_goes_away_from_the_foreground_is_not_worked_for() {
    let api = Api::new();
    let (response, run) = tokio::join!(ask(&api, streams).send(), begun(&api));
    drop(response.unwrap());
    becomes(&api, run, "cancelled").await;
}

#[tokio::test]
async fn the_next_response_goes_on_with_the_session() {
    let (api, bus) = (Api::new(), bus().await);
    let waiting = tokio::spawn(answer(ask(&api, weather)));
    let first = begun(&api).await;
    record(&bus, &api.tenant, first, done("", &["c1"])).await;
    let id = waiting.await.unwrap().ok(200)["id"].clone();
    let result = json!([{ "type": "function_call_output", "call_id": "c1", "output": "31" }]);
    let next = |change: fn(&mut Value)| {
        ask(&api, |body| {
            body["previous_response_id"] = id.clone();
            body["input"] = result.clone();
            body["background"] = true.into();
            change(body);
        })
    };
    let unknown = |body: &mut Value| body["input"][0]["call_id"] = "c9".into();
    let refused = answer(next(unknown)).await.ok(400);
    assert_eq!(refused["error"]["param"], "input[0]", "{refused}");
    let keyed = || next(|_| ()).header("Idempotency-Key", "one");
    let second = answer(keyed()).await.ok(200);
    assert_eq!(second["previous_response_id"], id);
    let run = second["id"]
        .as_str()
        .unwrap()
        .strip_prefix("resp_")
        .unwrap();
    let events = api.get(&format!("/v1/runs/{run}/events")).await.ok(200);
    let started = &events["items"][0]["data"];
    assert_eq!(started["session"]["id"], first.to_string());
    assert_eq!(started["session"]["previous"]["run_id"], first.to_string());
    let context = started["given"]["context"].to_string();
    assert!(
        context.contains("c1") && context.contains("weather"),
        "{started}"
    );
    assert_eq!(answer(keyed()).await.ok(200)["id"], second["id"]);
    // The first is no longer the newest.
    let refused = answer(next(|_| ())).await.ok(409);
    assert_eq!(refused["error"]["code"], "response_superseded");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_protocols_shape() {
    let api = Api::new();
    let absent = json!("resp_00000000-0000-7000-8000-000000000000");
    for (field, value, status, code, param) in [
        ("model", json!("x"), 404, "model_not_found", "model"),
        ("input", json!([]), 400, "invalid", "input"),
        ("input", json!(1), 400, "invalid", "input"),
        ("input", json!(" "), 400, "invalid", "input"),
        (
            "max_output_tokens",
            json!(0),
            400,
            "invalid",
            "max_output_tokens",
        ),
        ("store", json!("yes"), 400, "invalid", "store"),
        (
            "conversation",
            json!("conv_1"),
            400,
            "invalid",
            "conversation",
        ),
        (
            "tools",
            json!([{ "type": "web_search" }]),
            400,
            "invalid",
            "tools[0].type",
        ),
        (
            "previous_response_id",
            json!("x"),
            400,
            "invalid",
            "previous_response_id",
        ),
        (
            "previous_response_id",
            absent.clone(),
            400,
            "previous_response_not_found",
            "previous_response_id",
        ),
    ] {
        let body = answer(ask(&api, |body| body[field] = value.clone()))
            .await
            .ok(status);
        let error = &body["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!(code), &json!(param)),
            "{body}"
        );
    }
    for path in [absent.as_str().unwrap(), "x"] {
        for path in [path.to_owned(), format!("{path}?stream=true")] {
            let body = answer(get(&api, &path)).await.ok(404);
            assert_eq!(body["error"]["code"], "not_found", "{body}");
        }
    }
}
