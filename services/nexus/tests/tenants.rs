//! Tenants on the bus: each reaches its own subjects and nothing else, whatever it tries, and what it
//! says of who it is counts for nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use nexus_devstack::testing::TestDir;
use nexus_modelserver::{ModelServer, Options};
use serde_json::{Value, json};

use support::{PATIENCE, Platform, until};

const ADMIN: &str = r#"{"user":"root","roles":["admin","approver"]}"#;
const MARK: &str = "forged";

struct Up {
    child: Child,
    endpoints: Value,
}

impl Up {
    async fn start(data: &Path, model: &ModelServer, more: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ready = data.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let mut child = Command::new(Platform::binary())
            .args(["up", "--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .args(more)
            .env("NEXUS_DATA_DIR", data)
            .env("OPENAI_BASE_URL", model.base_url())
            .env("OPENAI_MODEL", "test-model")
            .env_remove("OPENAI_API_KEY")
            .env_remove("ANTHROPIC_API_KEY")
            .current_dir(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let started = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("`nexus up` ended: {status}");
            }
            assert!(started.elapsed() < PATIENCE, "`nexus up` is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let endpoints = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        Self { child, endpoints }
    }

    fn nats(&self) -> String {
        self.endpoints["nats_url"].as_str().unwrap().to_owned()
    }

    async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "`nexus up` does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn get(&self, tenant: &str, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.endpoints["url"].as_str().unwrap());
        let asked = reqwest::Client::new()
            .get(url)
            .header("Nexus-Tenant", tenant);
        support::answer(asked).await
    }

    async fn post(&self, tenant: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.endpoints["url"].as_str().unwrap());
        let asked = reqwest::Client::new()
            .post(url)
            .header("Nexus-Tenant", tenant);
        support::answer(asked.json(body)).await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection of a tenant's, and what the server refused it.
struct Tenant {
    client: Client,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Tenant {
    async fn connect(up: &Up, data: &Path, name: &str) -> Self {
        let seed = data.join("tenants").join(format!("{name}.nk"));
        let seed = std::fs::read_to_string(seed).unwrap().trim().to_owned();
        let refused = Arc::new(Mutex::new(vec![]));
        let heard = Arc::clone(&refused);
        let url = up.nats();
        let bare = format!("nats://{}", url.rsplit_once('@').unwrap().1);
        let client = ConnectOptions::with_nkey(seed)
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    heard.lock().unwrap().push(error.to_string());
                }
                std::future::ready(())
            })
            .connect(bare)
            .await
            .expect("the tenant may connect");
        Self { client, refused }
    }

    /// Waits until the server has refused something of this subject.
    async fn was_refused(&self, what: &str, subject: &str) {
        until(&format!("{what} {subject} is refused"), || async {
            let refused = self.refused.lock().unwrap();
            let subject = format!("\"{}\"", subject.to_lowercase());
            let mut lines = refused.iter().map(|line| line.to_lowercase());
            lines.any(|line| line.contains(what) && line.contains(&subject))
        })
        .await;
    }

    /// A command, and its outcome.
    async fn command(&self, tenant: &str, verb: &str, headers: HeaderMap, body: &Value) -> Value {
        let reply = format!("nexus.{tenant}.reply.{}", uuid::Uuid::new_v4().simple());
        let mut replies = self.client.subscribe(reply.clone()).await.unwrap();
        let mut headers = headers;
        headers.insert("nexus-reply-to", reply.as_str());
        let subject = format!("nexus.{tenant}.cmd.{verb}");
        let stored = self
            .client
            .request_with_headers(subject, headers, body.to_string().into())
            .await
            .expect("it is stored");
        let stored: Value = serde_json::from_slice(&stored.payload).unwrap();
        assert_eq!(stored["stream"], "NEXUS_CMD", "{stored}");
        serde_json::from_slice(&next(&mut replies).await.payload).unwrap()
    }
}

async fn connect_as_platform(url: &str) -> Client {
    // Of a cluster, one node.
    let url = url.split(',').next().unwrap();
    let (user, host) = url
        .strip_prefix("nats://")
        .unwrap()
        .split_once('@')
        .unwrap();
    let (user, password) = user.split_once(':').unwrap();
    let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    options
        .connect(host)
        .await
        .expect("the platform may connect")
}

async fn next(subscriber: &mut Subscriber) -> Message {
    tokio::time::timeout(PATIENCE, subscriber.next())
        .await
        .expect("a message comes")
        .expect("the subscription is open")
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    pairs
        .iter()
        .for_each(|(name, value)| headers.insert(*name, *value));
    headers
}

/// Waits for the end of a run on its tenant's own log; gives the types of its events.
async fn heard_end(log: &mut Subscriber) -> Vec<String> {
    let mut types = vec![];
    while !types.iter().any(|name| name == "nexus.run.completed.v1") {
        let commit: Value = serde_json::from_slice(&next(log).await.payload).unwrap();
        let events = commit.as_array().unwrap();
        types.extend(
            events
                .iter()
                .map(|event| event["type"].as_str().unwrap().to_owned()),
        );
    }
    types
}

/// What acme may not publish to.
const NOT_TO_BE_PUBLISHED: [&str; 34] = [
    // Another tenant.
    "nexus.globex.cmd.run.start",
    "nexus.globex.cmd.run.cancel",
    "nexus.globex.cmd.approval.decide",
    "nexus.globex.evt.run.x",
    "nexus.globex.log.run.x",
    "nexus.globex.live.run.x",
    "nexus.globex.reply.x",
    "nexus.globex.tool.search",
    "nexus.globex.obj.x.0",
    "nexus.globex.tmr.at.x",
    "nexus.globex.dlq.run",
    // Events, and what is made of them.
    "nexus.acme.evt.run.x",
    "nexus.acme.evt.ledger.main",
    "nexus.acme.log.run.x",
    "nexus.acme.live.run.x",
    "nexus.acme.obj.x.0",
    "nexus.acme.snap.run.x.head.0",
    "nexus.acme.ans.x",
    "nexus.acme.tmr.at.x",
    "nexus.acme.tmr.due.budget.settle",
    "nexus.acme.dlq.run",
    // Commands of the platform's own.
    "nexus.acme.cmd.llm.call",
    "nexus.acme.cmd.tool.execute",
    "nexus.acme.cmd.budget.settle",
    "nexus.acme.cmd.budget.reserve",
    "nexus.acme.cmd.policy.evaluate",
    "nexus.acme.cmd.run.deadline",
    // The streams.
    "$JS.API.STREAM.DELETE.NEXUS_EVT",
    "$JS.API.STREAM.PURGE.NEXUS_EVT",
    "$JS.API.STREAM.MSG.GET.NEXUS_EVT",
    "$JS.API.DIRECT.GET.NEXUS_EVT",
    "$JS.API.DIRECT.GET.NEXUS_EVT.nexus.globex.evt.run.x",
    "$JS.API.CONSUMER.CREATE.NEXUS_EVT.x.nexus.acme.evt.>",
    "$SYS.REQ.SERVER.PING",
];

/// What acme may not hear.
const NOT_TO_BE_HEARD: [&str; 12] = [
    "nexus.>",
    "nexus.*.log.>",
    "nexus.globex.log.>",
    "nexus.globex.live.>",
    "nexus.globex.reply.>",
    "nexus.globex.tool.search",
    "nexus.globex.cmd.>",
    "nexus.*.evt.>",
    "nexus.acme.evt.>",
    "nexus.acme.cmd.>",
    "$JS.>",
    "$SYS.>",
];

/// What nobody may do on their own word, with a body that would do it.
fn not_on_ones_word() -> Vec<(&'static str, Value)> {
    let id = "0193e8a0-0000-7000-8000-000000000001";
    let tool = json!({
        "name": "mine", "version": "1.0.0", "description": "x", "category": "compute",
        "kind": "nats", "input_schema": {"type": "object"},
    });
    vec![
        (
            "approval.decide",
            json!({"run_id": id, "approval_id": id, "answer": "approve"}),
        ),
        (
            "budget.set",
            json!({"scope": {"kind": "tenant"}, "limits": {"tokens": 1}}),
        ),
        ("budget.grant", json!({"reservation_id": id})),
        ("budget.refuse", json!({"reservation_id": id})),
        (
            "policy.publish",
            json!({"modules": {"a.rego": "package nexus"}}),
        ),
        ("policy.activate", json!({"digest": "sha256:0"})),
        ("policy.rollback", json!({})),
        ("policy.shadow", json!({})),
        ("tool.register", tool),
        ("tool.remove", json!({"name": "mine", "version": "1.0.0"})),
        (
            "run.resolve",
            json!({"run_id": id, "call_id": "c", "as": "failed"}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reaches_its_own_subjects_and_nothing_else() {
    tries_everything(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_where_three_nodes_are_one() {
    tries_everything(&["--nats-nodes", "3"]).await;
}

async fn tries_everything(nodes: &[&str]) {
    let dir = TestDir::create().unwrap();
    let data = dir.path();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let before = Up::start(data, &model, nodes).await;
    let input = json!({ "input": "What is 6*7?" });
    let (status, old) = before.post("acme", "/v1/runs?wait=60s", &input).await;
    assert_eq!(
        (status, &old["status"]),
        (200, &json!("completed")),
        "{old}"
    );
    before.stop().await;

    let tenants = [nodes, &["--tenants", "acme,globex"]].concat();
    let up = Up::start(data, &model, &tenants).await;
    let kept = format!("/v1/runs/{}/events", old["id"].as_str().unwrap());
    let (status, events) = up.get("acme", &kept).await;
    assert_eq!(status, 200, "what was there is still there: {events}");
    let acme = Tenant::connect(&up, data, "acme").await;
    let globex = Tenant::connect(&up, data, "globex").await;
    let platform = connect_as_platform(&up.nats()).await;
    let mut everything = platform.subscribe(">").await.unwrap();
    platform.flush().await.unwrap();
    let mut others = vec![];
    for subject in [
        "nexus.globex.log.>",
        "nexus.globex.live.>",
        "nexus.globex.reply.>",
    ] {
        others.push(globex.client.subscribe(subject).await.unwrap());
    }
    globex.client.flush().await.unwrap();

    let listed = Command::new(Platform::binary())
        .args(["tenants", "list", "--json"])
        .env("NEXUS_DATA_DIR", data)
        .env_remove("NEXUS_NATS_URL")
        .current_dir(data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&listed.stdout);
    assert!(said.contains("acme") && !said.contains("globex"), "{said}");

    its_own_run_is_seen_and_its_actor_is_not_believed(&up, &acme).await;
    refused_by_the_server(&acme).await;
    refused_by_the_platform(&acme).await;
    side_doors(&acme).await;

    // Whatever was refused has reached nobody. The last message of ours comes after all of them.
    platform.publish("test.end", "".into()).await.unwrap();
    let mut seen = BTreeSet::new();
    loop {
        let message = next(&mut everything).await;
        if message.subject.as_str() == "test.end" {
            break;
        }
        let subject = message.subject.as_str();
        let marked = String::from_utf8_lossy(&message.payload).contains(MARK);
        if marked || subject.contains(MARK) || subject.starts_with("nexus.globex.") {
            seen.insert(subject.to_owned());
        }
    }
    assert_eq!(seen, BTreeSet::new());
    // And the other tenant hears its own run as the first thing that it hears at all.
    let run_id = uuid::Uuid::now_v7().to_string();
    let body = json!({ "input": "What is 6*7?", "run_id": run_id });
    let outcome = globex
        .command("globex", "run.start", HeaderMap::new(), &body)
        .await;
    assert_eq!(outcome["run_id"], json!(run_id), "{outcome}");
    for subscriber in &mut others[..2] {
        let first = next(subscriber).await;
        assert!(
            first.subject.as_str().starts_with("nexus.globex."),
            "{}",
            first.subject
        );
        assert!(!String::from_utf8_lossy(&first.payload).contains("acme"));
    }
    up.stop().await;
}

/// The README's example, with a name that is not its own.
async fn its_own_run_is_seen_and_its_actor_is_not_believed(up: &Up, acme: &Tenant) {
    let run_id = uuid::Uuid::now_v7().to_string();
    let log = format!("nexus.acme.log.run.{run_id}");
    let mut log = acme.client.subscribe(log).await.unwrap();
    let live = format!("nexus.acme.live.run.{run_id}");
    let mut live = acme.client.subscribe(live).await.unwrap();
    acme.client.flush().await.unwrap();
    let body = json!({ "input": "What is 6*7?", "run_id": run_id });
    let named = headers(&[("nexus-actor", ADMIN)]);
    let outcome = acme.command("acme", "run.start", named, &body).await;
    assert_eq!(outcome["run_id"], json!(run_id), "{outcome}");
    let types = heard_end(&mut log).await;
    assert_eq!(types[0], "nexus.run.started.v1");
    next(&mut live).await;
    let (_, events) = up.get("acme", &format!("/v1/runs/{run_id}/events")).await;
    let started = &support::list(&events)[0]["data"]["user"];
    assert_eq!(started, &json!({ "user": "bus" }), "{events}");
    // The last commit can be asked for, by its subject.
    let own = format!("$JS.API.DIRECT.GET.NEXUS_EVT.nexus.acme.evt.run.{run_id}");
    let last = acme.client.request(own, "".into()).await.unwrap();
    assert!(last.headers.unwrap().get("Nats-Sequence").is_some());
}

async fn refused_by_the_server(acme: &Tenant) {
    for subject in NOT_TO_BE_PUBLISHED {
        acme.client.publish(subject, MARK.into()).await.unwrap();
    }
    for subject in NOT_TO_BE_PUBLISHED {
        acme.was_refused("publish", subject).await;
    }
    let mut open = vec![];
    for subject in NOT_TO_BE_HEARD {
        open.push(acme.client.subscribe(subject).await.unwrap());
    }
    for subject in NOT_TO_BE_HEARD {
        acme.was_refused("subscription", subject).await;
    }
}

async fn refused_by_the_platform(acme: &Tenant) {
    let seal = format!("v1={}", "0".repeat(64));
    let claims = headers(&[("nexus-actor", ADMIN), ("nexus-seal", seal.as_str())]);
    for (verb, body) in not_on_ones_word() {
        let outcome = acme.command("acme", verb, claims.clone(), &body).await;
        assert_eq!(outcome["code"], "forbidden", "{verb}: {outcome}");
    }
}

/// Places that the server or the platform writes to for whoever asks.
async fn side_doors(acme: &Tenant) {
    let (subject, body) = ("nexus.acme.cmd.run.start", r#"{"input":""}"#);
    let foreign = "nexus.globex.evt.run.forged";
    let client = &acme.client;
    let published = client
        .publish_with_reply(subject, foreign, body.into())
        .await;
    published.unwrap();
    for place in [
        "nexus.globex.reply.forged",
        "nexus.globex.cmd.run.start",
        "_INBOX.forged",
    ] {
        let headers = headers(&[("nexus-reply-to", place)]);
        client
            .publish_with_headers(subject, headers, body.into())
            .await
            .unwrap();
    }
    let traced = headers(&[("Nats-Trace-Dest", foreign)]);
    client
        .publish_with_headers(subject, traced, body.into())
        .await
        .unwrap();
    acme.was_refused("publish", foreign).await;
    let own = "$JS.API.DIRECT.GET.NEXUS_EVT.nexus.acme.evt.run.x";
    for body in [
        r#"{"seq":1}"#,
        r#"{"multi_last":["nexus.globex.evt.>"],"batch":9}"#,
    ] {
        let answer = client.request(own, body.into()).await.unwrap();
        let refused = answer.status.map(|status| status.as_u16());
        assert!(matches!(refused, Some(404 | 408)), "{refused:?}");
    }
}
