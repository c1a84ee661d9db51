//! Roles, bus or database away; readers that do not read; a gateway that stops.

use std::time::Duration;

use nexus_bus::{Bus, BusConfig, Store, TopologyConfig, ensure};
use nexus_devstack::testing::{TestNats, TestStack, fresh_database};
use nexus_events::run::{RunCancelled, RunSignalled};
use nexus_gateway::{Gateway, GatewayConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::world::{Api, gateway, local_config, projections, record, record_with, spawn_roles};

/// A gateway of a test's own, without roles.
pub(crate) struct Alone {
    pub(crate) nats: TestNats,
    pub(crate) bus: Bus,
    pub(crate) api: Api,
    pub(crate) stop: CancellationToken,
}

pub(crate) async fn alone(config: GatewayConfig) -> Alone {
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
        .await
        .unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let projections = projections(&fresh_database().await.unwrap()).await;
    let stop = CancellationToken::new();
    let base = gateway(config, &bus, &projections, stop.clone()).await;
    Alone {
        nats,
        bus,
        api: Api::at(&base),
        stop,
    }
}

/// Asks until the answer is as wanted.
async fn until(api: &Api, path: &str, status: u16) -> serde_json::Value {
    for _ in 0..600 {
        let answer = api.get(path).await;
        if answer.status == status {
            return answer.body;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} never became {status}");
}

#[tokio::test]
async fn a_run_is_accepted_while_every_role_is_down() {
    let world = alone(GatewayConfig {
        reply_timeout_ms: 50,
        ..local_config()
    })
    .await;
    let api = &world.api;
    let accepted = api
        .post("/v1/runs", &json!({ "input": "later" }))
        .await
        .ok(202);
    assert_eq!(accepted["seq"], json!(null));
    let path = format!("/v1/runs/{}", accepted["run_id"].as_str().unwrap());
    let queued = api.get(&path).await;
    assert_eq!(queued.header("retry-after"), "1");
    assert_eq!(queued.ok(202), accepted);
    let cancelled = api.post(&format!("{path}/pause"), &json!({})).await.ok(202);
    assert_eq!(cancelled["seq"], json!(null));
    let set = api
        .put("/v1/budgets/tenant", &json!({ "limits": {} }))
        .await
        .ok(202);
    assert_eq!(set, json!({ "seq": null }));
    let sent = api
        .post("/v1/policies", &json!({ "modules": {} }))
        .await
        .ok(202);
    assert_eq!(sent, json!({ "digest": null, "seq": null }));
    // A stream of it can be opened already, and begins when the roles are back.
    let run = accepted["run_id"].as_str().unwrap().parse().unwrap();
    let mut stream = api.stream(run, None, "").await.unwrap();
    spawn_roles(&world.bus, world.stop.clone());
    assert_eq!(stream.next().await.unwrap().event, "nexus.run.started.v1");
    until(api, &path, 200).await;
}

#[tokio::test]
async fn a_run_that_was_accepted_and_is_refused_later_is_one_that_failed() {
    let world = alone(GatewayConfig {
        reply_timeout_ms: 50,
        ..local_config()
    })
    .await;
    let api = &world.api;
    let start = json!({ "input": "hello", "agent": "nobody" });
    let accepted = api.post("/v1/runs", &start).await.ok(202);
    assert_eq!(accepted["seq"], json!(null));
    spawn_roles(&world.bus, world.stop.clone());
    let run_id = accepted["run_id"].as_str().unwrap();
    let run = until(api, &format!("/v1/runs/{run_id}"), 200).await;
    assert_eq!(run["status"], "failed", "{run}");
    let mut events = (api.stream(run_id.parse().unwrap(), None, "").await).unwrap();
    assert_eq!(events.next().await.unwrap().event, "nexus.run.started.v1");
    let failed = events.next().await.unwrap();
    assert_eq!(failed.event, "nexus.run.failed.v1");
    assert!(
        failed.data.to_string().contains("\"code\":\"invalid\""),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_refusal_that_was_heard_leaves_no_run() {
    let world = alone(local_config()).await;
    spawn_roles(&world.bus, world.stop.clone());
    let run_id = uuid::Uuid::now_v7();
    let start = json!({ "input": "hello", "agent": "nobody", "run_id": run_id });
    let refused = world.api.post("/v1/runs", &start).await;
    assert_eq!(refused.problem(), (422, "invalid"));
    let subject = format!("nexus.{}.evt.run.{run_id}", world.api.tenant);
    let recorded = nexus_bus::read::last(&world.bus, nexus_bus::topology::EVENTS, &subject).await;
    assert!(recorded.unwrap().is_none());
}

#[tokio::test]
async fn the_bus_goes_and_comes_back_and_listeners_miss_nothing() {
    let mut world = alone(GatewayConfig {
        request_timeout_ms: 1_000,
        ..local_config()
    })
    .await;
    spawn_roles(&world.bus, world.stop.clone());
    let (run, _) = world.api.start("hello").await;
    let mut stream = world.api.stream(run, None, "").await.unwrap();
    assert_eq!(stream.next().await.unwrap().event, "nexus.run.started.v1");
    world.nats.nats.kill().await;
    let unready = until(&world.api, "/readyz", 503).await;
    assert_eq!(unready["checks"][0]["ok"], false);
    let refused = world.api.post("/v1/runs", &json!({ "input": "x" })).await;
    assert_eq!(refused.problem(), (503, "bus_unavailable"));
    world.nats.nats.restart().await.unwrap();
    // By a connection that is there before the gateway's is.
    let other = Bus::connect(BusConfig::new(world.nats.url(), "other"))
        .await
        .unwrap();
    let events = vec![
        RunSignalled {
            input: "missed".into(),
            tokens: None,
        }
        .into(),
        RunCancelled { reason: None }.into(),
    ];
    record(&other, &world.api.tenant, run, events).await;
    assert_eq!(stream.next().await.unwrap().event, "nexus.run.signalled.v1");
    assert_eq!(stream.next().await.unwrap().event, "nexus.run.cancelled.v1");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn without_the_database_runs_are_read_from_the_log() {
    let mut stack = TestStack::start().await.unwrap();
    let bus = Bus::connect(BusConfig::new(stack.nats.url(), "test"))
        .await
        .unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let projections = projections(&stack.fresh_database().await.unwrap()).await;
    let stop = CancellationToken::new();
    spawn_roles(&bus, stop.clone());
    let api = Api::at(&gateway(local_config(), &bus, &projections, stop).await);
    stack.postgres.kill().await;
    let (run, seq) = api.start("hello").await;
    assert_eq!(
        api.get(&format!("/v1/runs/{run}")).await.ok(200)["input"],
        "hello"
    );
    let events = api.get(&format!("/v1/runs/{run}/events")).await.ok(200);
    assert_eq!(events["items"][0]["seq"], seq);
    assert_eq!(
        api.get("/v1/runs").await.problem(),
        (503, "database_unavailable")
    );
    let unready = api.get("/readyz").await.ok(503);
    assert_eq!(
        (&unready["ready"], &unready["checks"][1]["ok"]),
        (&json!(false), &json!(false))
    );
    api.get("/healthz").await.ok(200);
}

#[tokio::test]
async fn a_gateway_that_stops_ends_its_streams_with_the_reason() {
    let world = alone(local_config()).await;
    spawn_roles(&world.bus, CancellationToken::new());
    let (run, _) = world.api.start("hello").await;
    let mut stream = world.api.stream(run, None, "").await.unwrap();
    assert_eq!(stream.next().await.unwrap().event, "nexus.run.started.v1");
    world.stop.cancel();
    let last = stream.next().await.unwrap();
    assert_eq!(
        (last.event.as_str(), &last.data["reason"]),
        ("closed", &json!("stopping"))
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_dropped() {
    let config = GatewayConfig {
        stall_timeout_ms: 300,
        max_listeners: 1,
        ..local_config()
    };
    let world = alone(config).await;
    spawn_roles(&world.bus, world.stop.clone());
    let (run, _) = world.api.start("hello").await;
    let address = world.api.base.strip_prefix("http://").unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    let tenant = &world.api.tenant;
    let request = format!(
        "GET /v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nNexus-Tenant: {tenant}\r\n\
         Accept: text/event-stream\r\n\r\n"
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    slow.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert_eq!(
        world.api.stream(run, None, "").await.err().unwrap(),
        503,
        "one is the most"
    );
    // More than sockets hold; the reader takes nothing of it.
    let (store, text) = (Store::new(world.bus.clone(), 10), "x".repeat(60_000));
    for _ in 0..200 {
        let said = RunSignalled {
            input: text.as_str().into(),
            tokens: None,
        };
        record_with(&store, tenant, run, vec![said.into()]).await;
    }
    for _ in 0..600 {
        match world.api.stream(run, None, "").await {
            Ok(_) => return,
            Err(status) => assert_eq!(status, 503),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the slow reader was not dropped");
}

#[tokio::test]
async fn it_does_not_listen_for_other_machines_unless_told() {
    let config = GatewayConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..GatewayConfig::default()
    };
    let refused = Gateway::bind(config.clone()).await.unwrap_err().to_string();
    assert!(
        refused.contains("allow_unauthenticated = true"),
        "{refused}"
    );
    assert!(
        Gateway::bind(GatewayConfig {
            allow_unauthenticated: true,
            ..config
        })
        .await
        .is_ok()
    );
}
