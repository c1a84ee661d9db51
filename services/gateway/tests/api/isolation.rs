//! A tenant sees only itself, on every route that takes an id or lists something.

use nexus_events::RunId;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{Api, answer};

#[tokio::test]
async fn another_tenant_sees_nothing_and_changes_nothing() {
    let (ours, theirs) = (Api::new(), Api::new());
    let (run, _) = ours.start("secret").await;
    let opened = ours.post("/v1/sessions", &json!({})).await.ok(201);
    let session = opened["session_id"].as_str().unwrap().to_owned();
    let seq = opened["seq"].as_u64().unwrap();
    let limits = json!({ "limits": { "tokens": 77 } });
    ours.put("/v1/budgets/tenant", &limits).await.ok(200);
    ours.get(&format!("/v1/runs/{run}?min_seq={seq}"))
        .await
        .ok(200);

    for path in [
        format!("/v1/runs/{run}"),
        format!("/v1/runs/{run}?wait=10s"),
        format!("/v1/runs/{run}/events"),
        format!("/v1/runs/{run}/events?after=1"),
        format!("/v1/sessions/{session}"),
        format!("/v1/sessions/{session}/messages"),
        format!("/v1/sessions/{session}/runs"),
        format!("/v1/sessions/{run}"),
    ] {
        assert_eq!(
            theirs.get(&path).await.problem(),
            (404, "not_found"),
            "{path}"
        );
    }
    for last in [None, Some("1"), Some("999999")] {
        let stream = theirs.stream(run, last, "").await;
        assert_eq!(stream.err(), Some(StatusCode::NOT_FOUND));
    }
    for (path, body) in [
        (format!("/v1/runs/{run}/cancel"), json!({})),
        (format!("/v1/runs/{run}/pause"), json!({})),
        (format!("/v1/runs/{run}/resume"), json!({})),
        (format!("/v1/runs/{run}/signal"), json!({ "input": "x" })),
        (format!("/v1/sessions/{session}/close"), json!({})),
    ] {
        assert_eq!(
            theirs.post(&path, &body).await.problem(),
            (404, "not_found"),
            "{path}"
        );
    }
    let hold = json!({ "amounts": { "tokens": 5 } });
    let held = ours.post("/v1/reservations", &hold).await.ok(201);
    let held = held["reservation_id"].as_str().unwrap();
    let release = format!("/v1/reservations/{held}/release");
    let spent = json!({ "spent": { "tokens": 7 } });
    let refused = theirs.post(&release, &spent).await;
    assert_eq!(refused.problem(), (404, "not_found"));
    let done = ours.post(&release, &spent).await.ok(200);
    let seq = seq.max(done["seq"].as_u64().unwrap());
    for path in [
        "/v1/runs",
        "/v1/sessions",
        "/v1/budgets",
        "/v1/budgets/alerts",
        "/v1/reservations",
        "/v1/spend",
        "/v1/audit",
    ] {
        let page = theirs.get(&format!("{path}?min_seq={seq}")).await.ok(200);
        assert_eq!(page["items"], json!([]), "{path}");
    }
    let standing = theirs.get("/v1/budgets/tenant").await.ok(200);
    assert!(!standing.to_string().contains("77"), "{standing}");
    // A tenant in the path means the caller's own.
    let standing = theirs
        .get(&format!("/v1/budgets/tenant/{}", ours.tenant))
        .await
        .ok(200);
    assert!(!standing.to_string().contains("77"), "{standing}");

    let status = ours.get(&format!("/v1/runs/{run}")).await.ok(200)["status"].clone();
    assert_eq!(status, "pending");
}

#[tokio::test]
async fn the_same_id_and_key_are_two_runs_in_two_tenants() {
    let (ours, theirs) = (Api::new(), Api::new());
    let run = RunId::new(uuid::Uuid::now_v7());
    for (api, input) in [(&ours, "ours"), (&theirs, "theirs")] {
        api.post("/v1/runs", &json!({ "input": input, "run_id": run }))
            .await
            .ok(202);
    }
    for (api, input) in [(&ours, "ours"), (&theirs, "theirs")] {
        assert_eq!(
            api.get(&format!("/v1/runs/{run}")).await.ok(200)["input"],
            input
        );
    }
    let keyed = |api: &Api| {
        let request = api
            .request(Method::POST, "/v1/runs")
            .header("Idempotency-Key", "k");
        answer(request.json(&json!({ "input": "x" })))
    };
    let (ours, theirs) = (keyed(&ours).await.ok(202), keyed(&theirs).await.ok(202));
    assert_ne!(ours["run_id"], theirs["run_id"]);
}
