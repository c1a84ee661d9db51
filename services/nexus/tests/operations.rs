//! What an operator relies on: each process says how it is, alerts ask for figures that exist, and
//! there is a page that says what to do about each.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::collections::BTreeSet;
use std::process::{Child, Command};

use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{Platform, answer, free_port, until};

const ALERTS: &str = include_str!("../../../deploy/alerts.yaml");
const PAGE: &str = include_str!("../../../docs/operations.md");

/// A process of the platform with a monitor.
struct Watched {
    child: Child,
    port: u16,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let child = command.env("NEXUS_MONITOR_LISTEN", address).spawn();
        Self {
            child: child.unwrap(),
            port,
        }
    }

    async fn text(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        match reqwest::get(url).await {
            Ok(answer) => (
                answer.status().as_u16(),
                answer.text().await.unwrap_or_default(),
            ),
            Err(error) => (0, error.to_string()),
        }
    }

    async fn readiness(&self) -> (u16, Value) {
        let (status, text) = self.text("/readyz").await;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn until_ready(&self) {
        until("the process is ready", || async {
            self.readiness().await.0 == 200
        })
        .await;
    }

    /// Waits until it is not ready, for want of this.
    async fn until_missing(&self, what: &str) {
        until(what, || async {
            let (status, body) = self.readiness().await;
            let checks = body["checks"].as_array().cloned().unwrap_or_default();
            let missing = |check: &Value| check["name"] == what && check["ok"] == false;
            status == 503 && checks.iter().any(missing)
        })
        .await;
        assert_eq!(self.text("/healthz").await.0, 200, "it lives all the same");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn model() -> Options {
    let rules = vec![Rule {
        reply: Reply::text("Paris"),
        ..Rule::default()
    }];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_says_what_it_waits_for() {
    let mut platform = Platform::start(model()).await;
    let projector = Watched::start(platform.command(&["role", "projector"]));
    let run = Watched::start(platform.command(&["role", "run"]));
    projector.until_ready().await;
    run.until_ready().await;
    let (_, body) = run.readiness().await;
    assert_eq!(body["roles"], json!(["run"]), "{body}");

    platform.stack.nats.kill().await;
    run.until_missing("bus").await;
    // A process that starts meanwhile can be asked at once.
    let late = Watched::start(platform.command(&["role", "run"]));
    late.until_missing("roles").await;
    platform.stack.nats.restart().await.unwrap();
    run.until_ready().await;
    late.until_ready().await;
    projector.until_ready().await;

    platform.stack.postgres.stop().await;
    projector.until_missing("database").await;
    assert_eq!(run.readiness().await.0, 200, "it has no database");
    platform.stack.postgres.restart().await.unwrap();
    projector.until_ready().await;
}

/// The names of metrics in the alerts' expressions.
fn asked_for() -> BTreeSet<&'static str> {
    let words = ALERTS.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("nexus_")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_ask_for_figures_that_exist() {
    let mut platform = Platform::start(model()).await;
    // The processes that do the work are the ones whose figures count.
    for role in ["run", "budget", "policy", "tools", "llm", "projector"] {
        platform.stop_role(role);
    }
    let works = [
        "role",
        "run",
        "budget",
        "policy",
        "tools",
        "llm",
        "projector",
    ];
    let roles = Watched::start(platform.command(&works));
    roles.until_ready().await;
    let limits = json!({ "limits": { "tokens": 1_000_000 } });
    let request = platform.http().put(platform.url("/v1/budgets/tenant"));
    let (status, body) = answer(request.json(&limits)).await;
    assert!((200..300).contains(&status), "{body}");
    let (status, body) = platform
        .post(
            "/v1/runs?wait=60s",
            &json!({ "input": "What is the capital of France?" }),
        )
        .await;
    assert_eq!(
        (status, &body["status"]),
        (200, &json!("completed")),
        "{body}"
    );

    let asked = asked_for();
    assert!(asked.len() > 10, "{asked:?}");
    until("every figure is there", || async {
        let figures = platform.http().get(platform.url("/metrics"));
        let figures = figures.send().await.unwrap().text().await.unwrap();
        let text = roles.text("/metrics").await.1 + &figures;
        let names: BTreeSet<&str> = text
            .lines()
            .filter_map(|it| it.split(['{', ' ']).next())
            .collect();
        let missing: Vec<_> = asked.difference(&names).collect();
        if !missing.is_empty() {
            println!("missing: {missing:?}");
        }
        missing.is_empty()
    })
    .await;
}

#[test]
fn each_alert_has_a_place_on_the_page() {
    let alerts = ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let heading = format!("### {alert}\n");
        assert!(PAGE.contains(&heading), "docs/operations.md has no {alert}");
        let runbook = format!("runbook: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(
            ALERTS.contains(&runbook),
            "{alert} does not say where to look"
        );
    }
}
