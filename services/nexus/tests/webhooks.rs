//! Webhooks from real processes to a real receiver.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use nexus_modelserver::Options;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use support::{Platform, free_port, until};

const CONFIG: &str = r#"
[webhooks]
secret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
allow_http = true
allow_private = ["127.0.0.0/8"]
# More of them than a receiver fails at random: what is refused after the last is given up.
retry_pauses_ms = [50, 100, 200, 400, 400, 400, 400, 400, 400, 400, 400, 400]
timeout_ms = 3000
"#;

/// A message as it came, and what was answered.
#[derive(Clone, Debug)]
struct Got {
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
}

impl Got {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn place(&self) -> (u64, u64) {
        let data = &self.event()["data"];
        (
            data["seq"].as_u64().unwrap(),
            data["index"].as_u64().unwrap(),
        )
    }
}

/// What to answer to the nth message, and after how many milliseconds.
type Answers = fn(usize) -> (u16, u64);

struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    async fn start(port: u16, answers: Answers) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(vec![]));
        let into = Arc::clone(&got);
        let came = Arc::new(Mutex::new(0));
        let take = move |headers: HeaderMap, body: Bytes| {
            let nth = {
                let mut came = came.lock().unwrap();
                *came += 1;
                *came
            };
            let into = Arc::clone(&into);
            async move {
                let (status, delay_ms) = answers(nth);
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
                let headers = headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)));
                into.lock().unwrap().push(Got {
                    headers: headers.collect(),
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    status,
                });
                let location = [("location", "http://10.0.0.1/")];
                (
                    StatusCode::from_u16(status).unwrap(),
                    location,
                    "x".repeat(100_000),
                )
            }
        };
        let router = Router::new().route("/hook", post(take));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, got, task }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Those that it took.
    fn taken(&self) -> Vec<Got> {
        let taken = |got: &Got| (200..300).contains(&got.status);
        self.all().into_iter().filter(taken).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn create(platform: &Platform, url: &str, types: &[&str]) -> (String, String) {
    let body = json!({ "url": url, "types": types });
    let (status, made) = platform.post("/v1/webhooks", &body).await;
    assert_eq!(status, 201, "{made}");
    assert!(made["seq"].as_u64().is_some(), "{made}");
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("webhook_id"), text("secret"))
}

async fn platform() -> Platform {
    let mut platform = Platform::configured(Options::default(), CONFIG).await;
    platform.start_role("webhooks");
    platform
}

async fn start(platform: &Platform, count: usize) -> Vec<String> {
    let mut runs = vec![];
    for nth in 0..count {
        let body = json!({ "input": format!("say {nth}") });
        let (status, run) = platform.post("/v1/runs", &body).await;
        assert_eq!(status, 202, "{run}");
        runs.push(run["run_id"].as_str().unwrap().to_owned());
    }
    runs
}

/// Where a run's events are, in order.
async fn places(platform: &Platform, run: &str) -> Vec<(u64, u64)> {
    platform.ended(run).await;
    let events = platform.events(run).await;
    let number = |event: &Value, field: &str| event[field].as_u64().unwrap();
    events
        .iter()
        .map(|event| (number(event, "seq"), number(event, "index")))
        .collect()
}

/// Waits until every event of the runs was taken; then each run's came in its order, and whatever
/// came twice was the same message.
async fn all_came_in_order(platform: &Platform, receiver: &Receiver, runs: &[String]) {
    let mut expected = BTreeMap::new();
    for run in runs {
        expected.insert(run.clone(), places(platform, run).await);
    }
    let heard = || {
        let mut heard: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for got in receiver.taken() {
            let aggregate = got.event()["data"]["aggregate"].clone();
            // The ledger's and sessions' have an order of their own.
            let Some(run) = aggregate.as_str().unwrap().strip_prefix("run/") else {
                continue;
            };
            let run = run.to_owned();
            let places = heard.entry(run).or_default();
            if !places.contains(&got.place()) {
                places.push(got.place());
            }
        }
        heard
    };
    until("everything came", || async {
        let heard = heard();
        expected
            .iter()
            .all(|(run, places)| heard.get(run).map(Vec::len) >= Some(places.len()))
    })
    .await;
    let heard = heard();
    for (run, places) in &expected {
        assert_eq!(heard.get(run), Some(places), "{run}");
    }
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    let mut ids: BTreeMap<(u64, u64), BTreeSet<String>> = BTreeMap::new();
    for got in receiver.all() {
        let body = bodies
            .entry(got.id().to_owned())
            .or_insert_with(|| got.body.clone());
        assert_eq!(*body, got.body);
        ids.entry(got.place())
            .or_default()
            .insert(got.id().to_owned());
    }
    assert!(
        ids.values().all(|ids| ids.len() == 1),
        "one id a place: {ids:?}"
    );
}

/// Programs of others believe the signatures.
fn verified(platform: &Platform, got: &[Got], secret: &str) {
    let Ok(python) = std::env::var("NEXUS_TEST_PYTHON") else {
        eprintln!("skipped: NEXUS_TEST_PYTHON names no Python with the package standardwebhooks");
        return;
    };
    let mut lines = String::new();
    for got in got {
        writeln!(
            lines,
            "{}",
            json!({ "headers": got.headers, "body": got.body })
        )
        .unwrap();
    }
    let path = platform.stack.dir().join("messages.jsonl");
    std::fs::write(&path, lines).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for script in [
        "tests/webhooks/official.py",
        "../../docs/examples/verify_webhook.py",
    ] {
        let mut command = Command::new(&python);
        let output = command
            .arg(root.join(script))
            .arg(secret)
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}{complaint}");
        assert!(said.contains(&format!("{} messages", got.len())), "{said}");
    }
}

async fn show(platform: &Platform, id: &str) -> Value {
    let (status, shown) = platform.get(&format!("/v1/webhooks/{id}")).await;
    assert_eq!(status, 200, "{shown}");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_signed_and_come_in_the_order_of_each_run_though_the_receiver_fails() {
    let platform = platform().await;
    // Two of five are refused, in one way or another.
    let receiver = Receiver::start(0, |nth| match nth % 5 {
        1 => (500, 0),
        3 => (302, 5),
        _ => (200, 10),
    })
    .await;
    let (id, secret) = create(&platform, &receiver.url(), &["nexus.run.*"]).await;
    let runs = start(&platform, 12).await;
    all_came_in_order(&platform, &receiver, &runs).await;
    let taken = receiver.taken();
    assert!(taken.iter().all(|got| {
        got.event()["type"]
            .as_str()
            .unwrap()
            .starts_with("nexus.run.")
    }));
    assert!(receiver.all().len() > taken.len(), "some were tried again");
    verified(&platform, &taken, &secret);

    let other = platform
        .http()
        .get(platform.url("/v1/webhooks"))
        .header("Nexus-Tenant", "globex");
    assert_eq!(support::answer(other).await, (200, json!({ "items": [] })));
    let path = platform.url(&format!("/v1/webhooks/{id}"));
    let other = platform.http().get(path).header("Nexus-Tenant", "globex");
    assert_eq!(support::answer(other).await.0, 404);

    // Both secrets sign while the one before is in grace; then the receiver knows the new one only.
    let rotated = platform.json(&["webhooks", "rotate", &id, "--grace", "1h", "--json"]);
    let new_secret = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(new_secret, secret);
    until("it signs with both", || async {
        let (status, done) = platform
            .post(&format!("/v1/webhooks/{id}/test"), &json!({}))
            .await;
        assert_eq!(status, 200, "{done}");
        done["delivered"] == true
    })
    .await;
    let tests: Vec<Got> = (receiver.taken().into_iter())
        .filter(|got| got.event()["type"] == "nexus.webhook.test.v1")
        .collect();
    assert_eq!(tests[0].headers["webhook-signature"].split(' ').count(), 2);
    verified(&platform, &tests, &secret);
    verified(&platform, &tests, &new_secret);
}

/// Another process of the role.
struct Worker(Child);

impl Worker {
    fn start(platform: &Platform) -> Self {
        let mut command = platform.command(&["role", "webhooks"]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_delivers_may_be_killed_at_any_moment() {
    let mut platform = platform().await;
    let other = Worker::start(&platform);
    let receiver = Receiver::start(0, |nth| match nth % 7 {
        0 => (503, 20),
        _ => (204, 60),
    })
    .await;
    let (id, _) = create(&platform, &receiver.url(), &[]).await;
    let mut runs = start(&platform, 10).await;
    let came = |least: usize| {
        let got = Arc::clone(&receiver.got);
        async move { got.lock().unwrap().len() >= least }
    };
    until("messages come", || came(15)).await;
    platform.stop_role("webhooks");
    runs.extend(start(&platform, 5).await);
    let before = receiver.all().len();
    until("the other one goes on", || came(before + 15)).await;
    drop(other);
    platform.start_role("webhooks");
    runs.extend(start(&platform, 3).await);
    all_came_in_order(&platform, &receiver, &runs).await;
    until("its cursor is behind all of them", || async {
        let shown = show(&platform, &id).await;
        shown["waiting"] == 0 && shown["status"] == "enabled"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_gets_all_that_it_missed() {
    let platform = platform().await;
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/hook");
    let (id, _) = create(&platform, &url, &["nexus.run.*"]).await;
    let mut runs = start(&platform, 6).await;
    until("it fails", || async {
        show(&platform, &id).await["status"] == "failing"
    })
    .await;
    let (_, tries) = platform.get(&format!("/v1/webhooks/{id}/deliveries")).await;
    let error = tries["items"][0]["error"].as_str().unwrap();
    assert!(error.contains("cannot be reached"), "{tries}");
    for run in &runs {
        platform.ended(run).await;
    }
    let receiver = Receiver::start(port, |_| (200, 0)).await;
    all_came_in_order(&platform, &receiver, &runs).await;

    // Disabled it keeps its place.
    let path = |verb: &str| format!("/v1/webhooks/{id}/{verb}");
    assert_eq!(
        platform
            .post(&path("disable"), &json!({ "reason": "x" }))
            .await
            .0,
        200
    );
    assert_eq!(show(&platform, &id).await["disabled_by"], "hand");
    let more = start(&platform, 1).await;
    platform.ended(&more[0]).await;
    runs.extend(more);
    assert_eq!(platform.post(&path("enable"), &json!({})).await.0, 200);
    all_came_in_order(&platform, &receiver, &runs).await;

    // All again, under the same ids.
    let before: BTreeSet<String> = receiver
        .all()
        .iter()
        .map(|got| got.id().to_owned())
        .collect();
    let count = receiver.all().len();
    let again = platform.json(&["webhooks", "redeliver", &id, "--from", "1", "--json"]);
    assert_eq!(again["webhook_id"], json!(id));
    until("all came again", || async {
        receiver.all().len() >= count + before.len()
    })
    .await;
    let after: BTreeSet<String> = receiver
        .all()
        .iter()
        .map(|got| got.id().to_owned())
        .collect();
    assert_eq!(before, after);

    let listed = platform.json(&["webhooks", "list", "--json"]);
    assert_eq!(listed["items"][0]["id"], json!(id));
    let path = platform.url(&format!("/v1/webhooks/{id}"));
    assert_eq!(support::answer(platform.http().delete(&path)).await.0, 200);
    assert_eq!(support::answer(platform.http().get(&path)).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_called_is_not_and_who_is_gone_is_left_alone() {
    let platform = platform().await;
    for url in [
        "https://10.1.2.3/",
        "http://169.254.169.254/latest",
        "http://[::1]:1/",
        "ftp://a/",
    ] {
        let (status, refused) = platform.post("/v1/webhooks", &json!({ "url": url })).await;
        assert_eq!(
            (status, &refused["code"]),
            (422, &json!("invalid")),
            "{refused}"
        );
        assert_eq!(refused["field"], "url", "{refused}");
    }
    let gone = Receiver::start(0, |_| (410, 0)).await;
    let (id, _) = create(&platform, &gone.url(), &["nexus.run.started.v1"]).await;
    // A redirect leads nowhere.
    let elsewhere = Receiver::start(0, |_| (302, 0)).await;
    let made = platform.json(&[
        "webhooks",
        "create",
        &elsewhere.url(),
        "--type",
        "nexus.run.started.v1",
        "--json",
    ]);
    let redirected = made["webhook_id"].as_str().unwrap().to_owned();
    start(&platform, 1).await;
    until("it is disabled", || async {
        show(&platform, &id).await["status"] == "disabled"
    })
    .await;
    assert_eq!(show(&platform, &id).await["disabled_by"], "gone");
    until("the redirect was refused", || async {
        let (_, tries) = platform
            .get(&format!("/v1/webhooks/{redirected}/deliveries"))
            .await;
        let error = tries["items"][0]["error"].as_str().unwrap_or_default();
        error.contains("redirects are not followed")
    })
    .await;
    until("the audit log has it", || async {
        let (_, audit) = platform.get("/v1/audit").await;
        let actions = audit["items"].as_array().cloned().unwrap_or_default();
        actions
            .iter()
            .any(|entry| entry["action"] == "webhook.disabled")
    })
    .await;
}
