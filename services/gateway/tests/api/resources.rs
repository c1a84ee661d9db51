//! Sessions, budgets, policies, audit, and what a run may name.

use reqwest::Method;
use serde_json::json;

use crate::world::{Api, answer};

#[tokio::test]
async fn a_session_is_opened_used_and_closed() {
    let api = Api::new();
    let body = json!({ "budget": { "tokens": 1000 }, "metadata": { "team": "a" } });
    let opened = api.post("/v1/sessions", &body).await;
    let location = opened.header("location").to_owned();
    let opened = opened.ok(201);
    let id = opened["session_id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/sessions/{id}"));
    // Without min_seq: whoever has just opened it is not told that it is missing.
    let session = api.get(&location).await.ok(200);
    assert_eq!(
        (&session["status"], &session["budget"]["tokens"]),
        (&json!("active"), &json!(1000))
    );
    let run = json!({ "input": "hello", "session_id": id });
    let started = api.post("/v1/runs", &run).await.ok(202);
    assert_eq!(started["session_id"], id);
    let seq = &started["seq"];
    let runs = api
        .get(&format!("{location}/runs?min_seq={seq}"))
        .await
        .ok(200);
    assert_eq!(runs["items"][0]["id"], started["run_id"]);
    let messages = api.get(&format!("{location}/messages")).await.ok(200);
    assert_eq!(messages["items"][0]["content"], "hello");
    let busy = api.post("/v1/runs", &run).await;
    assert_eq!(busy.problem(), (409, "session_busy"));
    let closed = answer(api.request(Method::POST, &format!("{location}/close")))
        .await
        .ok(200);
    let seq = &closed["seq"];
    let session = api.get(&format!("{location}?min_seq={seq}")).await.ok(200);
    assert_eq!(session["status"], "closed");
    let listed = api.get("/v1/sessions?status=closed").await.ok(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        api.get("/v1/sessions?status=active").await.ok(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_session_that_a_run_opened_is_there_at_once() {
    let api = Api::new();
    let (run, _) = api.start("hello").await;
    let session = api.get(&format!("/v1/sessions/{run}")).await.ok(200);
    assert_eq!(session["last_run_id"], json!(run));
}

#[tokio::test]
async fn a_key_names_one_session() {
    let api = Api::new();
    let open = || {
        let request = api
            .request(Method::POST, "/v1/sessions")
            .header("Idempotency-Key", "k");
        answer(request)
    };
    let (first, again) = (open().await.ok(201), open().await.ok(201));
    assert_eq!(first, again);
    let both = json!({ "session_id": first["session_id"] });
    let both = api
        .request(Method::POST, "/v1/sessions")
        .header("Idempotency-Key", "k")
        .json(&both);
    assert_eq!(answer(both).await.problem(), (400, "invalid"));
}

#[tokio::test]
async fn limits_are_set_and_stand() {
    let api = Api::new();
    let body = json!({ "window": "day", "limits": { "tokens": 500, "time_seconds": 2 } });
    let standing = api.put("/v1/budgets/user/ada%20l", &body).await.ok(200);
    let row = &standing["windows"][0];
    assert_eq!(row["scope"], json!({ "kind": "user", "id": "ada l" }));
    assert_eq!(
        (&row["window"], &row["limited"]),
        (&json!("day"), &json!(true))
    );
    assert_eq!(row["limits"], json!({ "tokens": 500, "time_ms": 2000 }));
    assert_eq!(row["remaining"], row["limits"]);
    assert_eq!(standing["reservations"], json!([]));
    assert_eq!(api.get("/v1/budgets/user/ada%20l").await.ok(200), standing);
    let tenant = api
        .put("/v1/budgets/tenant", &json!({ "limits": { "tokens": 9 } }))
        .await
        .ok(200);
    assert_eq!(tenant["windows"][0]["window"], "lifetime");
    assert_eq!(api.get("/v1/budgets/tenant/whatever").await.ok(200), tenant);
    let first = api.get("/v1/budgets?limit=1").await.ok(200);
    let next = first["next_cursor"].as_str().unwrap();
    let cursor: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let second = api
        .get(&format!("/v1/budgets?limit=1&cursor={cursor}"))
        .await
        .ok(200);
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert_ne!(first["items"], second["items"]);
}

#[tokio::test]
async fn the_shipped_policy_is_always_listed() {
    let listed = Api::new().get("/v1/policies").await.ok(200);
    assert_eq!(
        (&listed["items"][0]["digest"], &listed["items"][0]["active"]),
        (&json!("builtin"), &json!(true))
    );
}

#[tokio::test]
async fn who_did_what_is_on_record() {
    let api = Api::new();
    let request = api
        .request(Method::POST, "/v1/runs")
        .header("Nexus-User", "ada");
    let started = answer(request.json(&json!({ "input": "hello" })))
        .await
        .ok(202);
    let path = format!("/v1/audit?min_seq={}&user=ada", started["seq"]);
    let page = api.get(&path).await.ok(200);
    let entry = &page["items"][0];
    assert_eq!(
        (&entry["user_id"], &entry["resource_id"]),
        (&json!("ada"), &started["run_id"])
    );
    assert_eq!(
        api.get("/v1/audit?user=grace").await.ok(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn what_a_run_may_name() {
    let api = Api::new();
    let models = api.get("/v1/models").await.ok(200);
    assert_eq!(models["object"], "list");
    let names: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(
        names,
        ["small", "large", "agent:default"],
        "the default first"
    );
    let tools = api.get("/v1/tools").await.ok(200);
    assert_eq!(tools["items"][0]["input_schema"]["type"], "object");
    let agents = api.get("/v1/agents").await.ok(200);
    assert_eq!(agents["items"][0]["name"], "default");
}
