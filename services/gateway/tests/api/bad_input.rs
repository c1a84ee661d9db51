//! What every route says to what it cannot take: always a problem, with a stable code and the field.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Api, answer};

const ID: &str = "0190aaaa-0000-7000-8000-000000000000";

/// Requests with JSON bodies: method, path, body, status, code, field.
const BODIES: &[(&str, &str, &str, u16, &str, &str)] = &[
    ("POST", "/v1/runs", "", 400, "invalid_json", ""),
    ("POST", "/v1/runs", "{", 400, "invalid_json", ""),
    ("POST", "/v1/runs", "{}", 400, "missing_field", "input"),
    (
        "POST",
        "/v1/runs",
        r#"{"input":5}"#,
        400,
        "invalid",
        "input",
    ),
    (
        "POST",
        "/v1/runs",
        r#"{"input":"x","unknown":5}"#,
        400,
        "unknown_field",
        "unknown",
    ),
    (
        "POST",
        "/v1/runs",
        r#"{"input":"x","budget":{"dollars":5}}"#,
        400,
        "unknown_field",
        "budget.dollars",
    ),
    (
        "POST",
        "/v1/runs",
        r#"{"input":"x","run_id":"7"}"#,
        400,
        "invalid",
        "run_id",
    ),
    ("POST", "/v1/runs", "[]", 400, "invalid", ""),
    (
        "POST",
        "/v1/runs?wait=1h",
        r#"{"input":"x"}"#,
        400,
        "invalid",
        "wait",
    ),
    (
        "POST",
        "/v1/runs?wait=11m",
        r#"{"input":"x"}"#,
        400,
        "invalid",
        "wait",
    ),
    (
        "POST",
        "/v1/runs?later=1",
        r#"{"input":"x"}"#,
        400,
        "unknown_field",
        "later",
    ),
    (
        "POST",
        "/v1/runs/x/cancel",
        "{}",
        400,
        "invalid_id",
        "run_id",
    ),
    (
        "POST",
        "/v1/runs/{id}/cancel",
        r#"{"why":"x"}"#,
        400,
        "unknown_field",
        "why",
    ),
    (
        "POST",
        "/v1/runs/x/pause",
        "{}",
        400,
        "invalid_id",
        "run_id",
    ),
    (
        "POST",
        "/v1/runs/{id}/pause",
        r#"{"reason":5}"#,
        400,
        "invalid",
        "reason",
    ),
    (
        "POST",
        "/v1/runs/x/resume",
        "{}",
        400,
        "invalid_id",
        "run_id",
    ),
    ("POST", "/v1/runs/{id}/resume", "5", 400, "invalid", ""),
    (
        "POST",
        "/v1/runs/x/signal",
        r#"{"input":"x"}"#,
        400,
        "invalid_id",
        "run_id",
    ),
    (
        "POST",
        "/v1/runs/{id}/signal",
        "{}",
        400,
        "missing_field",
        "input",
    ),
    (
        "POST",
        "/v1/sessions",
        r#"{"name":"x"}"#,
        400,
        "unknown_field",
        "name",
    ),
    (
        "POST",
        "/v1/sessions",
        r#"{"session_id":"x"}"#,
        400,
        "invalid",
        "session_id",
    ),
    (
        "POST",
        "/v1/sessions/x/close",
        "",
        400,
        "invalid_id",
        "session_id",
    ),
    (
        "PUT",
        "/v1/budgets/tenant",
        "{}",
        400,
        "missing_field",
        "limits",
    ),
    (
        "PUT",
        "/v1/budgets/planet",
        r#"{"limits":{}}"#,
        400,
        "invalid",
        "scope",
    ),
    (
        "PUT",
        "/v1/budgets/user",
        r#"{"limits":{}}"#,
        400,
        "invalid_id",
        "id",
    ),
    (
        "PUT",
        "/v1/budgets/run/x",
        r#"{"limits":{}}"#,
        400,
        "invalid_id",
        "id",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{"euros":1}}"#,
        400,
        "unknown_field",
        "limits.euros",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{"tokens":-1}}"#,
        400,
        "invalid",
        "limits.tokens",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{},"window":"week"}"#,
        400,
        "invalid",
        "window",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{"time_ms":1,"time_seconds":1}}"#,
        400,
        "invalid",
        "limits.time_seconds",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{"tokens":18446744073709551615}}"#,
        400,
        "invalid",
        "limits.tokens",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{},"on_exhausted":"panic"}"#,
        400,
        "invalid",
        "on_exhausted",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{},"thresholds":[101]}"#,
        400,
        "invalid",
        "thresholds",
    ),
    (
        "PUT",
        "/v1/budgets/user/ada",
        r#"{"limits":{"runs":18446744073709551615}}"#,
        400,
        "invalid",
        "limits.runs",
    ),
    (
        "POST",
        "/v1/reservations",
        "{}",
        400,
        "missing_field",
        "amounts",
    ),
    (
        "POST",
        "/v1/reservations",
        r#"{"amounts":{}}"#,
        422,
        "invalid",
        "amounts",
    ),
    (
        "POST",
        "/v1/reservations",
        r#"{"amounts":{"runs":1}}"#,
        400,
        "unknown_field",
        "amounts.runs",
    ),
    (
        "POST",
        "/v1/reservations",
        r#"{"amounts":{"tokens":18446744073709551615}}"#,
        400,
        "invalid",
        "amounts.tokens",
    ),
    (
        "POST",
        "/v1/reservations",
        r#"{"amounts":{"tokens":1},"hold_seconds":0}"#,
        422,
        "invalid",
        "hold_seconds",
    ),
    (
        "POST",
        "/v1/reservations",
        r#"{"amounts":{"tokens":1},"scopes":[{"kind":"planet"}]}"#,
        400,
        "invalid",
        "scopes[0].kind",
    ),
    (
        "POST",
        "/v1/reservations/x/grant",
        "",
        400,
        "invalid_id",
        "reservation_id",
    ),
    (
        "POST",
        "/v1/reservations/{id}/grant",
        r#"{"amount":-1}"#,
        400,
        "invalid",
        "amount",
    ),
    (
        "POST",
        "/v1/reservations/{id}/grant",
        r#"{"tokens":1}"#,
        400,
        "unknown_field",
        "tokens",
    ),
    (
        "POST",
        "/v1/reservations/{id}/grant",
        "",
        404,
        "not_found",
        "",
    ),
    (
        "POST",
        "/v1/reservations/x/refuse",
        "",
        400,
        "invalid_id",
        "reservation_id",
    ),
    (
        "POST",
        "/v1/reservations/{id}/refuse",
        r#"{"why":"x"}"#,
        400,
        "unknown_field",
        "why",
    ),
    (
        "POST",
        "/v1/reservations/{id}/refuse",
        "",
        404,
        "not_found",
        "",
    ),
    (
        "POST",
        "/v1/reservations/x/release",
        "",
        400,
        "invalid_id",
        "reservation_id",
    ),
    (
        "POST",
        "/v1/reservations/{id}/release",
        r#"{"spent":{"euros":1}}"#,
        400,
        "unknown_field",
        "spent.euros",
    ),
    (
        "POST",
        "/v1/reservations/{id}/release",
        "",
        404,
        "not_found",
        "",
    ),
    (
        "POST",
        "/v1/policies",
        "{}",
        400,
        "missing_field",
        "modules",
    ),
    (
        "POST",
        "/v1/policies",
        r#"{"modules":[]}"#,
        400,
        "invalid",
        "modules",
    ),
    (
        "POST",
        "/v1/policies/latest/activate",
        "",
        400,
        "invalid_id",
        "digest",
    ),
];

/// Requests without bodies: path, status, code, field.
const QUERIES: &[(&str, u16, &str, &str)] = &[
    ("/v1/runs?limit=0", 400, "invalid", "limit"),
    ("/v1/runs?limit=201", 400, "invalid", "limit"),
    ("/v1/runs?limit=x", 400, "invalid", "limit"),
    ("/v1/runs?cursor=x", 400, "invalid", "cursor"),
    ("/v1/runs?status=done", 400, "invalid", "status"),
    ("/v1/runs?since=yesterday", 400, "invalid", "since"),
    ("/v1/runs?until=1", 400, "invalid", "until"),
    ("/v1/runs?session_id=x", 400, "invalid", "session_id"),
    ("/v1/runs?min_seq=-1", 400, "invalid", "min_seq"),
    ("/v1/runs?colour=red", 400, "unknown_field", "colour"),
    ("/v1/runs/x", 400, "invalid_id", "run_id"),
    ("/v1/runs/{id}?min_seq=x", 400, "invalid", "min_seq"),
    ("/v1/runs/{id}?wait=soon", 400, "invalid", "wait"),
    ("/v1/runs/x/events", 400, "invalid_id", "run_id"),
    ("/v1/runs/{id}/events?after=x", 400, "invalid", "after"),
    ("/v1/runs/{id}/events?limit=999", 400, "invalid", "limit"),
    ("/v1/runs/{id}/events?tail=1", 400, "unknown_field", "tail"),
    ("/v1/sessions?status=open", 400, "invalid", "status"),
    ("/v1/sessions?limit=0", 400, "invalid", "limit"),
    ("/v1/sessions/x", 400, "invalid_id", "session_id"),
    ("/v1/sessions/{id}", 404, "not_found", ""),
    ("/v1/sessions/x/messages", 400, "invalid_id", "session_id"),
    ("/v1/sessions/{id}/messages", 404, "not_found", ""),
    (
        "/v1/sessions/{id}/messages?cursor=x",
        400,
        "invalid",
        "cursor",
    ),
    ("/v1/sessions/x/runs", 400, "invalid_id", "session_id"),
    ("/v1/sessions/{id}/runs", 404, "not_found", ""),
    ("/v1/sessions/{id}/runs?limit=0", 400, "invalid", "limit"),
    ("/v1/budgets?limit=0", 400, "invalid", "limit"),
    ("/v1/budgets?cursor=x", 400, "invalid", "cursor"),
    ("/v1/budgets?scope=planet", 400, "invalid", "scope"),
    ("/v1/budgets?kind=user", 400, "unknown_field", "kind"),
    ("/v1/budgets/alerts?kind=noise", 400, "invalid", "kind"),
    ("/v1/budgets/alerts?id=ada", 400, "invalid", "id"),
    ("/v1/budgets/alerts?scope=user", 400, "invalid_id", "id"),
    ("/v1/budgets/alerts?limit=0", 400, "invalid", "limit"),
    ("/v1/budgets/alerts?cursor=x", 400, "invalid", "cursor"),
    ("/v1/reservations?status=lost", 400, "invalid", "status"),
    ("/v1/reservations?run_id=x", 400, "invalid", "run_id"),
    ("/v1/reservations?limit=0", 400, "invalid", "limit"),
    ("/v1/reservations?cursor=1.2", 400, "invalid", "cursor"),
    ("/v1/reservations?user=x", 400, "unknown_field", "user"),
    ("/v1/reservations/x", 400, "invalid_id", "reservation_id"),
    ("/v1/reservations/{id}", 404, "not_found", ""),
    ("/v1/spend?by=colour", 400, "invalid", "by"),
    ("/v1/spend?from=yesterday", 400, "invalid", "from"),
    ("/v1/spend?to=2026-02-30", 400, "invalid", "to"),
    ("/v1/spend?limit=201", 400, "invalid", "limit"),
    ("/v1/spend?cursor=x", 400, "invalid", "cursor"),
    ("/v1/spend?who=x", 400, "unknown_field", "who"),
    ("/v1/budgets/planet", 400, "invalid", "scope"),
    ("/v1/budgets/user", 400, "invalid_id", "id"),
    ("/v1/budgets/session/x", 400, "invalid_id", "id"),
    ("/v1/policies?min_seq=x", 400, "invalid", "min_seq"),
    ("/v1/audit?limit=0", 400, "invalid", "limit"),
    ("/v1/audit?since=x", 400, "invalid", "since"),
    ("/v1/audit?who=x", 400, "unknown_field", "who"),
    ("/v1/nothing", 404, "unknown_route", ""),
    ("/v2/runs", 404, "unknown_route", ""),
    ("/v1/runs/", 404, "unknown_route", ""),
];

#[tokio::test]
async fn bad_bodies_are_refused_with_code_and_field() {
    let api = Api::new();
    for (method, path, body, status, code, field) in BODIES {
        let path = path.replace("{id}", ID);
        let method: Method = method.parse().unwrap();
        let request = api
            .request(method, &path)
            .header("Content-Type", "application/json");
        let refused = answer(request.body(*body)).await;
        assert_eq!(
            refused.problem(),
            (*status, *code),
            "{path} {body} {refused:?}"
        );
        assert_eq!(
            refused.body["field"].as_str().unwrap_or(""),
            *field,
            "{path} {body}"
        );
        assert!(!refused.body["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn bad_queries_and_paths_are_refused_with_code_and_field() {
    let api = Api::new();
    for (path, status, code, field) in QUERIES {
        let path = path.replace("{id}", ID);
        let refused = api.get(&path).await;
        assert_eq!(refused.problem(), (*status, *code), "{path} {refused:?}");
        assert_eq!(
            refused.body["field"].as_str().unwrap_or(""),
            *field,
            "{path}"
        );
    }
}

#[tokio::test]
async fn only_json_is_taken_and_not_too_much_of_it() {
    let api = Api::new();
    for path in ["/v1/runs", "/v1/sessions", "/v1/policies"] {
        let plain = api
            .request(Method::POST, path)
            .header("Content-Type", "text/plain")
            .body("{}");
        assert_eq!(
            answer(plain).await.problem(),
            (415, "unsupported_media_type"),
            "{path}"
        );
        let huge = json!({ "input": "x".repeat(100_000) });
        let refused = api.post(path, &huge).await;
        assert_eq!(refused.problem(), (413, "too_large"), "{path}");
        assert!(refused.body["detail"].as_str().unwrap().contains("65536"));
    }
    // Without an announced length, too.
    let chunks =
        futures_util::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(1000))));
    let request = api
        .request(Method::POST, "/v1/runs")
        .header("Content-Type", "application/json");
    let refused = answer(request.body(reqwest::Body::wrap_stream(chunks))).await;
    assert_eq!(refused.problem(), (413, "too_large"));
}

#[tokio::test]
async fn wrong_methods_and_bad_headers_are_refused() {
    let api = Api::new();
    let wrong = answer(api.request(Method::DELETE, "/v1/runs")).await;
    assert_eq!(wrong.problem(), (405, "method_not_allowed"));
    assert!(wrong.header("allow").contains("POST"), "{wrong:?}");
    for (header, value, status, code) in [
        ("Nexus-Tenant", "Not_A_Tenant", 400, "invalid"),
        ("Nexus-Tenant", "a.b", 400, "invalid"),
        ("Nexus-User", "", 400, "invalid"),
        ("Idempotency-Key", "", 400, "invalid"),
        ("Origin", "http://evil.example", 403, "origin_refused"),
        ("Host", "evil.example", 403, "host_refused"),
    ] {
        let url = format!("{}/v1/runs", api.base);
        let request = api
            .client
            .post(url)
            .header(header, value)
            .json(&json!({ "input": "x" }));
        let refused = answer(request).await;
        assert_eq!(refused.problem(), (status, code), "{header}: {value}");
        assert_eq!(refused.body["field"], header);
    }
    let long = "k".repeat(257);
    let request = api
        .request(Method::POST, "/v1/runs")
        .header("Idempotency-Key", long);
    assert_eq!(
        answer(request.json(&json!({ "input": "x" })))
            .await
            .problem(),
        (400, "invalid")
    );
    let path = format!("/v1/runs/{ID}/events");
    let stream = api
        .request(Method::GET, &path)
        .header("Accept", "text/event-stream");
    let refused = answer(stream.header("Last-Event-ID", "x")).await;
    assert_eq!(refused.problem(), (400, "invalid"));
    assert_eq!(refused.body["field"], "Last-Event-ID");
}

#[tokio::test]
async fn a_head_that_is_too_large_or_no_http_ends_the_connection() {
    let api = Api::new();
    let address = api.base.strip_prefix("http://").unwrap();
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    for (request, status) in [(long.as_str(), "431"), ("nonsense\r\n\r\n", "400")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be cut before all of it is taken.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut head = vec![0; 12];
        if stream.read_exact(&mut head).await.is_ok() {
            assert_eq!(String::from_utf8_lossy(&head), format!("HTTP/1.1 {status}"));
        }
    }
    api.get("/healthz").await.ok(200);
}
