//! Budgets over HTTP: who waits and who may go on, holds from outside, spend and alerts.

use std::time::Duration;

use nexus_bus::{CommandMeta, publish_command};
use nexus_events::command::{Reserve, RunRef};
use nexus_events::run::{PolicyDecided, PolicyPoint};
use nexus_events::{Command, CommandId, RunId};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, Api, answer, bus, record};

fn decided(point: PolicyPoint) -> PolicyDecided {
    PolicyDecided {
        point,
        allowed: true,
        reasons: vec![],
        rules: vec![],
        bundle: "builtin".into(),
        duration_us: 1,
        error: None,
        void: None,
        approval: None,
        obligations: Default::default(),
        shadow: None,
        budget_left: None,
    }
}

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Asks until the answer is as it should be.
async fn until(api: &Api, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let answer = api.get(path).await.ok(200);
        if is(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} does not come to what it should")
}

/// A run whose first model call asks the ledger, as it does once policy has allowed it.
async fn asking(api: &Api) -> RunId {
    let (run_id, first_seq) = api.start("hello").await;
    let bus = bus().await;
    let points = [PolicyPoint::RunStart, PolicyPoint::LlmCall { turn: 1 }];
    let events = points.map(|point| decided(point).into()).to_vec();
    let last_seq = record(&bus, &api.tenant, run_id, events).await;
    let reserve = Reserve {
        run: RunRef {
            run_id,
            first_seq,
            last_seq,
        },
        turn: 1,
        call_id: None,
    };
    let meta = CommandMeta::new(CommandId::random(Uuid::now_v7()), "test");
    publish_command(&bus, &api.tenant, &Command::from(reserve), &meta)
        .await
        .unwrap();
    run_id
}

/// The one who waits.
async fn waiting(api: &Api) -> Value {
    let path = "/v1/reservations?status=waiting";
    let page = until(api, path, |page| items(page).len() == 1).await;
    page["items"][0].clone()
}

#[tokio::test]
async fn a_run_waits_for_a_person_who_grants() {
    let api = Api::new();
    let limits =
        json!({ "limits": { "tokens": 10 }, "on_exhausted": "approve", "thresholds": [50] });
    let set = api.put("/v1/budgets/tenant", &limits).await.ok(200);
    assert_eq!(set["windows"][0]["on_exhausted"], "approve");
    assert_eq!(set["windows"][0]["thresholds"], json!([50]));
    let run = asking(&api).await;
    let waits = waiting(&api).await;
    let line = &waits["waits_for"];
    assert_eq!(
        (
            &line["place"],
            &line["asks_person"],
            &line["unit"],
            &line["limit"]
        ),
        (&json!(1), &json!(true), &json!("tokens"), &json!(10))
    );
    assert_eq!(line["scope"], json!({ "kind": "tenant" }));
    let id = waits["id"].as_str().unwrap();
    let standing = api.get("/v1/budgets/tenant").await.ok(200);
    assert_eq!(standing["waiting"], json!([waits]));
    let path = format!("/v1/runs/{run}");
    let seen = until(&api, &path, |run| run["status"] == "waiting").await;
    assert_eq!(seen["waiting_for"][0]["reservation_id"], id);
    let listed = api.get("/v1/runs?status=waiting").await.ok(200);
    assert_eq!(listed["items"][0]["id"], json!(run));

    let grant = format!("/v1/reservations/{id}/grant");
    let little = api.post(&grant, &json!({ "amount": 1 })).await;
    assert_eq!(little.problem(), (422, "invalid"));
    assert_eq!(little.body["field"], "amount");
    let other = Api::new();
    for word in ["grant", "refuse", "release"] {
        let path = format!("/v1/reservations/{id}/{word}");
        let missing = other.post(&path, &json!({})).await;
        assert_eq!(missing.problem(), (404, "not_found"), "{word}");
    }
    let missing = other.get(&format!("/v1/reservations/{id}")).await;
    assert_eq!(missing.problem(), (404, "not_found"));

    let granted = answer(api.request(Method::POST, &grant)).await.ok(200);
    assert_eq!(granted["reservation_id"], id);
    // Twice is once.
    answer(api.request(Method::POST, &grant)).await.ok(200);
    let path = format!("/v1/reservations/{id}?min_seq={}", granted["seq"]);
    let held = api.get(&path).await.ok(200);
    assert_eq!(
        (&held["status"], &held["run_id"]),
        (&json!("held"), &json!(run))
    );
    assert!(held.get("waits_for").is_none(), "{held}");
    let standing = api.get("/v1/budgets/tenant").await.ok(200);
    assert_eq!(standing["waiting"], json!([]));
    let used = standing["windows"][0]["reserved"]["tokens"].as_u64();
    assert_eq!(standing["windows"][0]["limits"]["tokens"].as_u64(), used);
    assert_eq!(standing["reservations"][0]["id"], id);
    until(&api, &format!("/v1/runs/{run}"), |run| {
        run["status"] == "running"
    })
    .await;
    let refuse = format!("/v1/reservations/{id}/refuse");
    let late = api.post(&refuse, &json!({})).await;
    assert_eq!(late.problem(), (404, "not_found"), "nobody waits any more");
}

#[tokio::test]
async fn a_run_that_is_refused_fails_with_the_reason() {
    let api = Api::new();
    let limits = json!({ "limits": { "tokens": 10 }, "on_exhausted": "approve" });
    api.put("/v1/budgets/tenant", &limits).await.ok(200);
    let run = asking(&api).await;
    let waits = waiting(&api).await;
    let path = format!("/v1/reservations/{}/refuse", waits["id"].as_str().unwrap());
    let long = api
        .post(&path, &json!({ "reason": "x".repeat(2_001) }))
        .await;
    assert_eq!(long.problem(), (400, "invalid"));
    let refused = api
        .post(&path, &json!({ "reason": "not this month" }))
        .await;
    refused.ok(200);
    let path = format!("/v1/runs/{run}");
    let failed = until(&api, &path, |run| run["status"] == "failed").await;
    assert_eq!(failed["error_code"], "budget_exhausted");
    let message = failed["error_message"].as_str().unwrap();
    assert!(
        message.contains("not this month") && message.contains("limit 10"),
        "{message}"
    );
    assert!(failed.get("waiting_for").is_none(), "{failed}");
}

async fn hold(api: &Api, tokens: u64) -> Answer {
    let body = json!({
        "amounts": { "tokens": tokens }, "scopes": [{ "kind": "agent", "id": "theirs" }],
        "model": "elsewhere", "hold_seconds": 60
    });
    let request = api.request(Method::POST, "/v1/reservations");
    answer(request.header("Nexus-User", "ada").json(&body)).await
}

#[tokio::test]
async fn what_is_spent_outside_is_held_before_and_told_after() {
    let api = Api::new();
    let body = json!({ "window": "day", "limits": { "tokens": 100 }, "thresholds": [40] });
    api.put("/v1/budgets/user/ada", &body).await.ok(200);
    let held = hold(&api, 60).await;
    let location = held.header("location").to_owned();
    let held = held.ok(201);
    let id = held["reservation_id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/reservations/{id}"));
    assert_eq!(held["amounts"]["tokens"], 60);
    let shown = api
        .get(&format!("{location}?min_seq={}", held["seq"]))
        .await
        .ok(200);
    assert_eq!(
        (&shown["run_id"], &shown["model"]),
        (&Value::Null, &json!("elsewhere"))
    );
    assert_eq!(shown["expires_at"], held["expires_at"]);

    let refused = hold(&api, 60).await;
    assert_eq!(refused.problem(), (429, "budget_exhausted"));
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&after), "until midnight: {after}");
    let shortage = &refused.body["shortage"];
    assert_eq!(
        (
            &shortage["scope"]["id"],
            &shortage["window"],
            &shortage["reserved"]
        ),
        (&json!("ada"), &json!("day"), &json!(60))
    );

    let release = format!("{location}/release");
    let spent = json!({ "spent": { "tokens": 45, "cost_usd_micros": 9 } });
    let done = api.post(&release, &spent).await.ok(200);
    // Twice is once.
    api.post(&release, &spent).await.ok(200);
    let seq = &done["seq"];
    let gone = api.get(&format!("{location}?min_seq={seq}")).await;
    assert_eq!(gone.problem(), (404, "not_found"));
    let again = json!({ "reservation_id": id, "amounts": { "tokens": 1 } });
    let again = api.post("/v1/reservations", &again).await;
    assert_eq!(again.problem(), (409, "wrong_state"));

    let spend = api.get("/v1/spend?by=user,model,agent").await.ok(200);
    let row = json!({
        "user": "ada", "agent": "theirs", "model": "elsewhere", "calls": 1, "tool_calls": 0,
        "tokens": 45, "cost_usd_micros": 9, "time_ms": 0, "overruns": 1, "late": 0
    });
    assert_eq!(spend["items"], json!([row]));
    assert_eq!(spend["total"]["tokens"], 45);
    let nobody = api
        .get("/v1/spend?user=grace&from=2026-01-01")
        .await
        .ok(200);
    assert_eq!(
        (&nobody["items"], &nobody["total"]["calls"]),
        (&json!([]), &json!(0))
    );

    let alerts = api
        .get("/v1/budgets/alerts?kind=threshold&scope=user&id=ada")
        .await
        .ok(200);
    let alert = &alerts["items"][0];
    assert_eq!(
        (
            &alert["percent"],
            &alert["limit"],
            &alert["spent"],
            &alert["unit"]
        ),
        (&json!(40), &json!(100), &json!(45), &json!("tokens"))
    );
    let alerts = api.get("/v1/budgets/alerts").await.ok(200);
    let kinds: Vec<_> = items(&alerts).iter().map(|alert| &alert["kind"]).collect();
    assert_eq!(
        kinds,
        ["threshold", "overrun"],
        "nine micro-dollars were not held"
    );
}

#[tokio::test]
async fn a_key_names_one_hold() {
    let api = Api::new();
    let hold = || {
        let request = api.request(Method::POST, "/v1/reservations");
        let body = json!({ "amounts": { "tool_calls": 1 } });
        answer(request.header("Idempotency-Key", "k").json(&body))
    };
    let (first, again) = (hold().await.ok(201), hold().await.ok(201));
    assert_eq!(first["reservation_id"], again["reservation_id"]);
    assert_eq!(first["expires_at"], again["expires_at"]);
    let both = json!({ "reservation_id": first["reservation_id"], "amounts": { "tokens": 1 } });
    let request = api.request(Method::POST, "/v1/reservations").json(&both);
    let both = answer(request.header("Idempotency-Key", "k")).await;
    assert_eq!(both.problem(), (400, "invalid"));
}

#[tokio::test]
async fn budgets_are_listed_by_kind_with_every_unit() {
    let api = Api::new();
    let limits = json!({ "limits": { "tool_calls": 5, "runs": 2 } });
    let set = api.put("/v1/budgets/agent/helper", &limits).await.ok(200);
    assert_eq!(set["windows"][0]["limits"], limits["limits"]);
    assert_eq!(set["windows"][0]["remaining"], limits["limits"]);
    api.put("/v1/budgets/tenant", &limits).await.ok(200);
    let agents = api.get("/v1/budgets?scope=agent").await.ok(200);
    assert_eq!(items(&agents).len(), 1);
    assert_eq!(agents["items"][0]["scope"]["id"], "helper");
    // What is not said stays as it was.
    let park = json!({ "limits": { "runs": 1 }, "on_exhausted": "park" });
    api.put("/v1/budgets/agent/helper", &park).await.ok(200);
    let more = json!({ "limits": { "runs": 3 } });
    let row = api.put("/v1/budgets/agent/helper", &more).await.ok(200)["windows"][0].clone();
    assert_eq!(row["limits"], json!({ "runs": 3 }));
    assert_eq!(
        (&row["on_exhausted"], &row["thresholds"]),
        (&json!("park"), &json!([80, 95]))
    );
}
