//! Starting, looking at and controlling runs.

use nexus_events::RunId;
use nexus_events::run::{RunCompleted, RunSignalled};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Api, answer, bus, record};

fn run_of(value: &Value) -> RunId {
    value["run_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_run_is_accepted_and_can_be_read_at_once() {
    let api = Api::new();
    let accepted = api
        .post(
            "/v1/runs",
            &json!({ "input": "hello", "metadata": { "a": "b" } }),
        )
        .await;
    let location = accepted.header("location").to_owned();
    let started = accepted.ok(202);
    assert_eq!(
        location,
        format!("/v1/runs/{}", started["run_id"].as_str().unwrap())
    );
    assert_eq!(
        started["session_id"], started["run_id"],
        "it opened its own session"
    );
    // Without min_seq: from the log where the read models are behind.
    let now = api.get(&location).await.ok(200);
    assert_eq!(
        (&now["input"], &now["status"]),
        (&json!("hello"), &json!("pending"))
    );
    let seq = &started["seq"];
    let run = api.get(&format!("{location}?min_seq={seq}")).await.ok(200);
    assert_eq!((&run["id"], &run["first_seq"]), (&started["run_id"], seq));
    assert_eq!(
        (&run["metadata"]["a"], &run["user_id"]),
        (&json!("b"), &json!("local"))
    );
    assert_eq!(
        (&run["tool_calls"], &run["llm_calls"]),
        (&json!([]), &json!([]))
    );
    let listed = api.get(&format!("/v1/runs?min_seq={seq}")).await.ok(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_names_one_run_for_ever() {
    let api = Api::new();
    let start = |key: &'static str| {
        answer(
            api.request(Method::POST, "/v1/runs")
                .header("Idempotency-Key", key)
                .json(&json!({ "input": "once" })),
        )
    };
    let (first, again, other) = (start("k").await, start("k").await, start("l").await);
    let (first, again, other) = (first.ok(202), again.ok(202), other.ok(202));
    assert_eq!(first, again);
    assert_ne!(first["run_id"], other["run_id"]);
    let in_body = json!({ "input": "once", "idempotency_key": "k" });
    assert_eq!(api.post("/v1/runs", &in_body).await.ok(202), first);
    let both = api
        .request(Method::POST, "/v1/runs")
        .header("Idempotency-Key", "l")
        .json(&in_body);
    let refused = answer(both).await;
    assert_eq!(refused.problem(), (400, "invalid"));
    assert_eq!(refused.body["field"], "idempotency_key");
}

#[tokio::test]
async fn what_the_role_refuses_reaches_the_caller() {
    let api = Api::new();
    for (body, field) in [
        (json!({ "input": " " }), "input"),
        (json!({ "input": "x", "model": "none" }), "model"),
        (json!({ "input": "x", "agent": "none" }), "agent"),
        (json!({ "input": "x", "tools": ["none"] }), "tools"),
    ] {
        let refused = api.post("/v1/runs", &body).await;
        assert_eq!(refused.problem(), (422, "invalid"), "{body}");
        assert_eq!(refused.body["field"], field);
    }
}

#[tokio::test]
async fn waiting_gives_the_run_that_has_ended() {
    let (api, bus) = (Api::new(), bus().await);
    let run = RunId::new(uuid::Uuid::now_v7());
    let body = json!({ "input": "wait for it", "run_id": run });
    let ended = RunCompleted {
        tokens: 0,
        cost_usd_micros: 0,
        duration_ms: 1,
        client_calls: vec![],
    };
    let ending = async {
        // Once it has begun.
        while api.get(&format!("/v1/runs/{run}")).await.status != 200 {}
        record(&bus, &api.tenant, run, vec![ended.into()]).await;
    };
    let (waited, ()) = tokio::join!(api.post("/v1/runs?wait=60s", &body), ending);
    let waited = waited.ok(200);
    assert_eq!(
        (&waited["id"], &waited["status"]),
        (&json!(run), &json!("completed"))
    );
    // It has ended already: no waiting, on both routes.
    for answer in [
        api.post("/v1/runs?wait=60s", &body).await,
        api.get(&format!("/v1/runs/{run}?wait=60s")).await,
    ] {
        assert_eq!(answer.ok(200)["status"], "completed");
    }
}

#[tokio::test]
async fn waiting_has_an_end() {
    let api = Api::new();
    let answer = api
        .post("/v1/runs?wait=50ms", &json!({ "input": "hello" }))
        .await;
    assert!(answer.header("location").starts_with("/v1/runs/"));
    let run = answer.ok(202);
    assert_eq!(run["status"], "pending");
    let path = format!("/v1/runs/{}?wait=10ms", run["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.ok(200)["status"], "pending");
    let unknown = RunId::new(uuid::Uuid::now_v7());
    let missing = api.get(&format!("/v1/runs/{unknown}?wait=60s")).await;
    assert_eq!(missing.problem(), (404, "not_found"));
}

#[tokio::test]
async fn a_run_is_paused_told_resumed_and_cancelled() {
    let api = Api::new();
    let (run, first_seq) = api.start("hello").await;
    let path = |verb: &str| format!("/v1/runs/{run}/{verb}");
    let paused = api
        .post(&path("pause"), &json!({ "reason": "lunch" }))
        .await
        .ok(200);
    assert_eq!(run_of(&paused), run);
    assert!(paused["seq"].as_u64().unwrap() > first_seq);
    let seq = &paused["seq"];
    let status = api
        .get(&format!("/v1/runs/{run}?min_seq={seq}"))
        .await
        .ok(200);
    assert_eq!(status["status"], "paused");
    api.post(&path("signal"), &json!({ "input": "and then" }))
        .await
        .ok(200);
    api.post(&path("resume"), &json!({})).await.ok(200);
    assert_eq!(
        api.post(&path("resume"), &json!({})).await.problem(),
        (409, "wrong_state")
    );
    // No body at all is no reason.
    answer(api.request(Method::POST, &path("cancel")))
        .await
        .ok(200);
    for verb in ["pause", "resume"] {
        let refused: Answer = api.post(&path(verb), &json!({})).await;
        assert_eq!(refused.problem(), (409, "wrong_state"), "{verb}");
    }
    let unknown = RunId::new(uuid::Uuid::now_v7());
    let missing = api
        .post(&format!("/v1/runs/{unknown}/cancel"), &json!({}))
        .await;
    assert_eq!(missing.problem(), (404, "not_found"));
}

#[tokio::test]
async fn a_signal_with_a_key_is_said_once() {
    let api = Api::new();
    let (run, _) = api.start("hello").await;
    let path = format!("/v1/runs/{run}/signal");
    for _ in 0..2 {
        let said = api
            .request(Method::POST, &path)
            .header("Idempotency-Key", "k");
        let said = answer(said.json(&json!({ "input": "once" }))).await;
        assert!(said.status.is_success(), "{said:?}");
    }
    let events = api
        .get(&format!(
            "/v1/runs/{run}/events?types=nexus.run.signalled.v1"
        ))
        .await;
    assert_eq!(events.ok(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn runs_are_filtered_and_paged() {
    let (api, bus) = (Api::new(), bus().await);
    let mut newest = vec![];
    for n in 0..5 {
        newest.insert(0, api.start(&n.to_string()).await.0);
    }
    let seq = record(
        &bus,
        &api.tenant,
        newest[0],
        vec![
            RunSignalled {
                input: "x".into(),
                tokens: None,
            }
            .into(),
        ],
    )
    .await;
    let mut path = format!("/v1/runs?limit=2&min_seq={seq}");
    let mut listed = vec![];
    loop {
        let page = api.get(&path).await.ok(200);
        let ids = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].clone());
        listed.extend(ids);
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/runs?limit=2&cursor={next}");
    }
    let expected: Vec<Value> = newest.iter().map(|run| json!(run)).collect();
    assert_eq!(listed, expected);
    for (filter, count) in [
        ("status=pending", 5),
        ("status=completed", 0),
        ("agent=default", 5),
        ("agent=other", 0),
        ("user=local", 5),
        ("user=ada", 0),
        ("since=2020-01-01T00:00:00Z", 5),
        ("until=2020-01-01T00:00:00Z", 0),
    ] {
        let page = api.get(&format!("/v1/runs?{filter}")).await.ok(200);
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{filter}");
    }
    let session = format!("/v1/runs?session_id={}", newest[0]);
    assert_eq!(
        api.get(&session).await.ok(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_sequence_that_is_not_reached_in_time_is_said_so() {
    let api = Api::new();
    let (run, _) = api.start("hello").await;
    let far = 1_u64 << 40;
    let late = api.get(&format!("/v1/runs/{run}?min_seq={far}")).await;
    assert_eq!(late.problem(), (503, "read_models_lag"));
    assert_eq!(late.header("retry-after"), "1");
    assert!(late.body["detail"].as_str().unwrap().contains("behind"));
}

#[tokio::test]
async fn a_trace_is_carried_through() {
    let api = Api::new();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{trace}-00f067aa0ba902b7-01");
    let request = api
        .request(Method::POST, "/v1/runs")
        .header("traceparent", &given);
    let started = answer(request.json(&json!({ "input": "hello" }))).await;
    assert_eq!(started.header("traceparent"), given);
    let run = run_of(&started.ok(202));
    let view = api.get(&format!("/v1/runs/{run}")).await;
    assert_ne!(
        view.header("traceparent"),
        "",
        "one is made where none came"
    );
    assert_eq!(view.ok(200)["trace_id"], trace);
}
