//! The audit: who did what from where, who was refused, and an export that anybody can verify.

use std::process::Command;
use std::time::Duration;

use nexus_bus::{Bus, read, topology};
use nexus_devstack::testing::TestDir;
use nexus_events::access::AccessEvent;
use nexus_events::{Commit, Tenant};
use nexus_gateway::GatewayConfig;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::outages::alone;
use crate::world::{Api, answer, local_config};

const SECRET: &str = "sk-never-to-be-seen-4711";

/// Asks until the condition holds.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came")
}

/// What was recorded of refused requests, as text and as events.
async fn recorded(bus: &Bus) -> Vec<(String, Commit<AccessEvent>)> {
    let all = "nexus.*.evt.access.>";
    let page = read::read_from(bus, topology::EVENTS, all, 1, 256).await;
    let commits = page.unwrap().messages.into_iter().map(|stored| {
        let commit = Commit::decode(&stored.body).unwrap();
        let text = String::from_utf8(stored.body.to_vec()).unwrap();
        (format!("{} {text}", stored.subject), commit)
    });
    commits.collect()
}

fn refused(api: &Api, agent: &str) -> RequestBuilder {
    api.request(Method::POST, &format!("/v1/runs?api_key={SECRET}"))
        .header("Host", "evil.example")
        .header("Authorization", format!("Bearer {SECRET}"))
        .header("Cookie", format!("session={SECRET}"))
        .header("X-Api-Key", SECRET)
        .header("User-Agent", agent)
        .json(&json!({ "input": SECRET }))
}

#[tokio::test]
async fn what_somebody_does_is_recorded_with_where_it_came_from() {
    let api = Api::new();
    let by_ada = |method, path: &str, body: &Value| {
        let request = api.request(method, path).header("Nexus-User", "ada");
        answer(request.header("User-Agent", "browser/7").json(body))
    };
    let opened = by_ada(Method::POST, "/v1/sessions", &json!({}))
        .await
        .ok(201);
    let session = opened["session_id"].as_str().unwrap();
    let limits = |tokens: u64| json!({ "limits": { "tokens": tokens } });
    by_ada(Method::PUT, "/v1/budgets/user/bob", &limits(9))
        .await
        .ok(200);
    by_ada(Method::PUT, "/v1/budgets/user/bob", &limits(7))
        .await
        .ok(200);
    let started = by_ada(Method::POST, "/v1/runs", &json!({ "input": "x" }))
        .await
        .ok(202);
    let run = started["run_id"].as_str().unwrap();
    let cancel = json!({ "reason": "enough" });
    by_ada(Method::POST, &format!("/v1/runs/{run}/cancel"), &cancel)
        .await
        .ok(200);
    let path = format!("/v1/sessions/{session}/close");
    let closed = by_ada(Method::POST, &path, &Value::Null).await.ok(200);

    let page = api
        .get(&format!("/v1/audit?min_seq={}", closed["seq"]))
        .await
        .ok(200);
    let rows = page["items"].as_array().unwrap();
    let actions: Vec<_> = rows
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    let expected = [
        "session.closed",
        "run.cancelled",
        "run.started",
        "budget.limits_set",
        "budget.limits_set",
        "session.opened",
    ];
    assert_eq!(actions, expected);
    for row in rows {
        let from = (&row["user_id"], &row["ip_address"], &row["user_agent"]);
        assert_eq!(
            from,
            (&json!("ada"), &json!("127.0.0.1"), &json!("browser/7")),
            "{row}"
        );
        assert!(row["seq"].as_u64() > Some(0) && row["hash"].as_str().unwrap().len() == 64);
    }
    assert_eq!(rows[1]["reason"], "enough");
    let details = &rows[3]["details"];
    let both = (&details["previous"]["tokens"], &details["limits"]["tokens"]);
    assert_eq!(both, (&json!(9), &json!(7)));
    // What is recorded of a person does not say where that person was.
    let run = api
        .get(&format!("/v1/runs/{run}/events?limit=1"))
        .await
        .ok(200);
    let first = &run["items"][0];
    assert_eq!(first["data"]["user"], json!({ "user": "ada" }));
}

#[tokio::test]
async fn a_refused_request_is_on_record_and_no_credential_is() {
    let world = alone(local_config()).await;
    let answered = answer(refused(&world.api, "probe/1")).await;
    assert_eq!(answered.problem(), (403, "host_refused"));
    let log = until(async || Some(recorded(&world.bus).await).filter(|log| !log.is_empty())).await;
    let [(text, commit)] = log.as_slice() else {
        panic!("{log:?}")
    };
    assert!(!text.contains(SECRET), "{text}");
    assert!(
        text.starts_with("nexus.nexus-installation.evt.access."),
        "{text}"
    );
    let [AccessEvent::AccessDenied(denied)] = commit.events.as_slice() else {
        panic!("{commit:?}")
    };
    assert_eq!(
        (denied.route.as_str(), denied.method.as_str()),
        ("/v1/runs", "POST")
    );
    assert_eq!((denied.status, denied.code.as_str()), (403, "host_refused"));
    assert!(denied.reason.contains("allowed_hosts"), "{denied:?}");
    assert_eq!(
        denied.claimed_tenant.as_deref(),
        Some(world.api.tenant.as_str())
    );
    assert_eq!(denied.source.address, "127.0.0.1".parse().ok());
    assert_eq!(denied.source.user_agent.as_deref(), Some("probe/1"));
    assert_eq!(commit.actor, None);
}

#[tokio::test]
async fn it_is_in_the_audit_of_the_installation_and_in_no_tenants() {
    let api = Api::new();
    let agent = format!("probe/{}", api.tenant);
    let request = refused(&api, &agent);
    assert_eq!(answer(request).await.status, StatusCode::FORBIDDEN);
    let path = "/v1/audit?action=access.&limit=200";
    let installation = Tenant::installation();
    let row = until(async || {
        let request = api.client.get(format!("{}{path}", api.base));
        let request = request.header("Nexus-Tenant", installation.as_str());
        let page = answer(request).await.ok(200);
        assert!(!page.to_string().contains(SECRET), "{page}");
        let rows = page["items"].as_array().unwrap();
        let mut ours = rows
            .iter()
            .filter(|row| row["user_agent"] == agent.as_str());
        ours.next().cloned()
    });
    let row = row.await;
    let expected = json!({
        "method": "POST", "status": 403, "code": "host_refused",
        "claimed_tenant": api.tenant.as_str(),
    });
    assert_eq!(row["details"], expected);
    assert_eq!(
        (&row["user_id"], &row["action"]),
        (&json!("anonymous"), &json!("access.denied"))
    );
    assert_eq!(api.get(path).await.ok(200)["items"], json!([]));
}

#[tokio::test]
async fn a_flood_of_refused_requests_is_a_few_events_and_a_count() {
    let config = GatewayConfig {
        denials_per_minute: 3,
        ..local_config()
    };
    let world = alone(config).await;
    for _ in 0..50 {
        assert_eq!(
            answer(refused(&world.api, "probe/1")).await.status,
            StatusCode::FORBIDDEN
        );
    }
    let few = until(async || Some(recorded(&world.bus).await).filter(|log| log.len() == 3)).await;
    assert!(few.iter().all(|(_, commit)| commit.events.len() == 1));
    // A gateway that stops says what it has counted so far.
    world.stop.cancel();
    let all = until(async || Some(recorded(&world.bus).await).filter(|log| log.len() > 3)).await;
    let Some((_, commit)) = all.get(3) else {
        panic!("{all:?}")
    };
    let [AccessEvent::DenialsCounted(counted)] = commit.events.as_slice() else {
        panic!("{commit:?}")
    };
    assert_eq!((counted.count, all.len()), (47, 4));
    assert_eq!(counted.source.address, "127.0.0.1".parse().ok());
}

#[tokio::test]
async fn a_tenant_that_may_not_be_named_is_named_in_the_record_alone() {
    let config = GatewayConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        allow_unauthenticated: true,
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..local_config()
    };
    let world = alone(config).await;
    let base = world.api.base.replace("0.0.0.0", "127.0.0.1");
    let request = world.api.client.get(format!("{base}/v1/runs"));
    let request = request
        .header("Nexus-Tenant", "victim")
        .header("X-Forwarded-For", "203.0.113.9");
    assert_eq!(answer(request).await.problem(), (403, "identity_refused"));
    let log = until(async || Some(recorded(&world.bus).await).filter(|log| !log.is_empty())).await;
    let (text, commit) = &log[0];
    assert!(text.starts_with("nexus.nexus-installation.evt."), "{text}");
    let [AccessEvent::AccessDenied(denied)] = commit.events.as_slice() else {
        panic!("{commit:?}")
    };
    assert_eq!(denied.claimed_tenant.as_deref(), Some("victim"));
    assert_eq!(denied.source.address, "203.0.113.9".parse().ok());
}

#[tokio::test]
async fn an_export_is_whole_and_the_example_says_so() {
    let api = Api::new();
    let mut seq = 0;
    for _ in 0..20 {
        seq = api.start("hello").await.1;
    }
    let lines = async |path: String| {
        let answered = api.get(&path).await;
        assert_eq!(answered.header("content-type"), "application/x-ndjson");
        // One line alone would be read as JSON.
        answered.ok(200).as_str().unwrap_or_default().to_owned()
    };
    let all = lines(format!("/v1/audit/export?min_seq={seq}")).await;
    let rows: Vec<Value> = all
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 20);
    let none = lines("/v1/audit/export?action=policy.".to_owned()).await;
    assert_eq!(none, "");
    let some = lines(format!(
        "/v1/audit/export?action=run.&since={}",
        rows[10]["created_at"].as_str().unwrap()
    ))
    .await;

    assert!(all.ends_with(&some) && some.lines().count() >= 10, "{some}");

    let dir = TestDir::create().unwrap();
    let file = dir.path().join("audit.jsonl");
    std::fs::write(&file, &all).unwrap();
    let python = std::env::var("NEXUS_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("../../docs/examples/verify_audit.py");
    let Ok(output) = Command::new(python).arg(script).arg(&file).output() else {
        eprintln!("skipped: there is no Python");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("whole up to entry 20, 0 gaps"), "{said}");
}
