//! A platform started by `nexus up` whose models are Anthropic's: a run with a tool, its key in a file
//! that changes, and a bill that is the server's to the token.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail"
)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nexus_devstack::testing::TestDir;
use nexus_modelserver::{
    Fault, ModelServer, Options, Reply, Rule, Script, UsageReport, WireTokens,
};
use serde_json::{Value, json};

use support::{PATIENCE, Platform, until};

const KEY: &str = "sk-ant-first-0123456789";
const OTHER_KEY: &str = "sk-ant-other-9876543210";
/// Micro-dollars a token, as configured below.
const INPUT: u64 = 2;
const CACHED: u64 = 1;
const WRITTEN: u64 = 3;
const OUTPUT: u64 = 10;

struct Up {
    child: Child,
    servers: Vec<i64>,
    url: String,
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(Platform::binary());
    for prefix in ["OPENAI", "ANTHROPIC"] {
        for name in ["BASE_URL", "API_KEY", "MODEL"] {
            command.env_remove(format!("{prefix}_{name}"));
        }
    }
    command
        .args(arguments)
        .env("NEXUS_DATA_DIR", data)
        .env("NEXUS_CONFIG", data.join("nexus.toml"))
        .env("NEXUS_LOG", "debug")
        .env_remove("NEXUS_URL")
        .current_dir(data)
        .stdin(Stdio::null());
    command
}

impl Up {
    async fn start(data: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ready = data.join("ready.json");
        let log = std::fs::File::create(data.join("log")).unwrap();
        let arguments = ["up", "--listen", "127.0.0.1:0", "--ready-file"];
        let mut child = command(data, &[&arguments[..], &[ready.to_str().unwrap()]].concat())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let started = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("`nexus up` ended: {status}: {}", logged(data));
            }
            assert!(started.elapsed() < PATIENCE, "`nexus up` is not ready");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let endpoints: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        let servers = endpoints["servers"].as_array().unwrap().iter();
        Self {
            child,
            servers: servers.map(|pid| pid.as_i64().unwrap()).collect(),
            url: endpoints["url"].as_str().unwrap().to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        answer.json().await.unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in &self.servers {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
    }
}

fn logged(data: &Path) -> String {
    std::fs::read_to_string(data.join("log")).unwrap_or_default()
}

fn configuration(model: &ModelServer, key: &Path) -> String {
    let (base, key) = (model.base_url(), key.display());
    format!(
        r#"
        [models]
        default = "sonnet"
        local = false
        [[models.providers]]
        name = "claude"
        kind = "anthropic"
        base_url = "{base}"
        api_key_file = "{key}"
        [[models.providers.models]]
        name = "sonnet"
        wire_name = "claude-sonnet-5-5"
        price = {{ input = 2000000, cached_input = 1000000, cache_write = 3000000, output = 10000000 }}
        "#
    )
}

/// Runs a question to its end, as a person does.
fn ask(data: &Path, question: &str) -> Value {
    let output = command(data, &["run", "--json", question])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{out}{err}{}", logged(data));
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_tool_costs_what_the_server_sent() {
    let dir = TestDir::create().unwrap();
    let data = dir.path();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let key = data.join("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::write(data.join("nexus.toml"), configuration(&model, &key)).unwrap();
    let up = Up::start(data).await;
    let limits = json!({ "limits": { "tokens": 10_000_000, "cost_usd_micros": 100_000_000 } });
    let set = reqwest::Client::new().put(format!("{}/v1/budgets/tenant", up.url));
    let set = set.json(&limits).send().await.unwrap();
    assert!(set.status().is_success(), "{}", set.text().await.unwrap());

    let done = ask(data, "What is 12*7?");
    assert_eq!(done["status"], "completed", "{done}");
    assert!(done.to_string().contains("84"), "{done}");
    let sent = model.sent();
    assert_eq!(
        sent.len(),
        2,
        "a call with a tool call, and one with its result"
    );
    assert!(sent.iter().all(|s| s.path == "/v1/messages" && s.whole));
    let tokens: u64 = sent.iter().map(|s| s.input_tokens + s.output_tokens).sum();
    let cost: u64 = (sent.iter())
        .map(|s| s.input_tokens * INPUT + s.output_tokens * OUTPUT)
        .sum();
    spent(&up, tokens, cost).await;
    let body = model.recorded().last().unwrap().json();
    let result = &body["messages"][2]["content"][0];
    assert_eq!(
        (&result["type"], &result["content"]),
        (&json!("tool_result"), &json!(r#"{"result":84}"#))
    );

    // Another key, and a provider that refuses the first: nobody restarts anything.
    let cached = WireTokens {
        input: 1_000,
        output: 10,
        cached: 600,
        cache_write: 300,
    };
    let refuse = Rule {
        key: Some(KEY.to_owned()),
        reply: Reply::fault(Fault::Status {
            status: 401,
            retry_after_s: None,
            code: None,
            message: Some(format!("{KEY} is revoked")),
        }),
        ..Rule::default()
    };
    let answer = Rule {
        reply: Reply {
            usage: UsageReport::Lie(cached),
            ..Reply::text("Still here.")
        },
        ..Rule::default()
    };
    model.set_script(Script {
        rules: vec![refuse, answer],
        ..Script::default()
    });
    std::fs::write(&key, OTHER_KEY).unwrap();
    let done = ask(data, "hello");
    assert_eq!(done["status"], "completed", "{done}");
    let key = model.recorded().last().unwrap().authorization.clone();
    assert_eq!(key.as_deref(), Some(OTHER_KEY));
    let cost = cost + 100 * INPUT + 600 * CACHED + 300 * WRITTEN + 10 * OUTPUT;
    spent(&up, tokens + 1_010, cost).await;

    let events = up.get("/v1/audit").await.to_string();
    for key in [KEY, OTHER_KEY] {
        assert!(!logged(data).contains(key), "a key was logged");
        assert!(!events.contains(key) && !done.to_string().contains(key));
    }
}

async fn spent(up: &Up, tokens: u64, cost: u64) {
    until("the ledger has spent what was sent", || async {
        let budget = up.get("/v1/budgets/tenant").await;
        let spent = &budget["windows"][0]["spent"];
        let found = (spent["tokens"].as_u64(), spent["cost_usd_micros"].as_u64());
        // More than was sent would never become less.
        assert!(found <= (Some(tokens), Some(cost)), "{budget}");
        found == (Some(tokens), Some(cost))
    })
    .await;
}
