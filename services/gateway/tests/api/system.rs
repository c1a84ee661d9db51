//! What operators and tools ask.

use reqwest::Method;
use serde_json::Value;

use crate::world::{Api, answer};

#[tokio::test]
async fn it_lives_and_is_ready() {
    let api = Api::new();
    api.start("hello").await;
    assert_eq!(api.get("/healthz").await.ok(200)["status"], "ok");
    let ready = api.get("/readyz").await.ok(200);
    assert_eq!(ready["ready"], true, "{ready}");
    let page = api.get("/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.body.as_str().unwrap().contains("curl"));
}

#[tokio::test]
async fn metrics_have_routes_and_no_ids() {
    let api = Api::new();
    let (run, _) = api.start("hello").await;
    api.put(
        "/v1/budgets/tenant",
        &serde_json::json!({ "limits": { "tokens": 100 } }),
    )
    .await
    .ok(200);
    api.get(&format!("/v1/runs/{run}")).await.ok(200);
    api.get("/v1/nothing").await;
    let answer = api.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = answer.body.as_str().unwrap();
    for expected in [
        r#"nexus_agent_requests_total{route="/v1/runs",method="POST",status="202"}"#,
        r#"nexus_agent_requests_total{route="/v1/runs/{run_id}",method="GET",status="200"}"#,
        r#"nexus_agent_requests_total{route="unmatched",method="GET",status="404"}"#,
        r#"nexus_agent_request_duration_seconds_bucket{le="0.01",route="/v1/runs"}"#,
        r#"nexus_queue_waiting_commands{role="run"}"#,
        "nexus_queue_oldest_age_seconds",
        "nexus_gateway_read_model_lag",
        "nexus_gateway_dead_letters",
        &format!(
            r#"nexus_budget_utilization_ratio{{tenant="{}",window="lifetime"}} 0.0"#,
            api.tenant
        ),
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains(&run.to_string()));
}

#[tokio::test]
async fn every_documented_route_is_served_and_takes_no_other_method() {
    let api = Api::new();
    let document = api.get("/openapi.json").await.ok(200);
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled = path
            .replace("{run_id}", "x")
            .replace("{session_id}", "x")
            .replace("{digest}", "x");
        let filled = filled.replace("{scope}", "planet").replace("{id}", "x");
        let documented = |method: &str| operations.get(method).is_some();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let request = api.request(method.parse::<Method>().unwrap(), &filled);
            let answer = answer(request).await;
            let code = answer.body["code"].as_str().unwrap_or("");
            assert_ne!(code, "unknown_route", "{path}");
            let refused = answer.status == 405;
            assert_eq!(
                refused,
                !documented(&method.to_lowercase()),
                "{method} {path} {answer:?}"
            );
        }
    }
    let operations: Vec<&Value> = document["paths"].as_object().unwrap().values().collect();
    assert!(operations.len() >= 20);
}
