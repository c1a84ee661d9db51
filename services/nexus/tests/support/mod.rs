//! A platform of separate processes for tests: private servers, each role as a process of its own
//! that can be killed, and a model server that speaks the real protocol.

#![expect(dead_code, reason = "each test program uses a part of it")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexus_devstack::testing::TestStack;
use nexus_modelserver::{ModelServer, Options};
use serde_json::Value;

pub(crate) const ROLES: [&str; 7] = [
    "run",
    "budget",
    "policy",
    "tools",
    "llm",
    "projector",
    "gateway",
];

/// How long anything in a test may take; far more than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Platform {
    pub(crate) stack: TestStack,
    pub(crate) model: ModelServer,
    pub(crate) database_url: String,
    pub(crate) port: u16,
    processes: BTreeMap<&'static str, Child>,
    http: reqwest::Client,
}

impl Platform {
    pub(crate) async fn start(options: Options) -> Self {
        Self::configured(options, "").await
    }

    /// The same with a configuration file of this text.
    pub(crate) async fn configured(options: Options, config: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stack = TestStack::start().await.expect("servers");
        let database_url = stack.fresh_database().await.expect("database");
        std::fs::write(stack.dir().join("nexus.toml"), config).expect("configuration");
        let model = ModelServer::start(options).await.expect("model server");
        let port = free_port();
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut platform = Self {
            stack,
            model,
            database_url,
            port,
            processes: BTreeMap::new(),
            http,
        };
        for role in ROLES {
            platform.start_role(role);
        }
        platform.ready().await;
        platform
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
        command
            .args(arguments)
            .env("NEXUS_NATS_URL", self.stack.nats.url())
            .env("NEXUS_DATABASE_URL", &self.database_url)
            .env("NEXUS_URL", self.url(""))
            .env("NEXUS_DATA_DIR", self.stack.dir())
            .env("NEXUS_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("NEXUS_TOOLS_DIR", self.stack.dir().join("tools"))
            .env(
                "NEXUS_TOOLS_CODE_DIR",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/sandbox-code"),
            )
            .env("OPENAI_BASE_URL", self.model.base_url())
            .env("OPENAI_MODEL", "test-model")
            .env_remove("OPENAI_API_KEY")
            .env_remove("ANTHROPIC_API_KEY")
            .env_remove("ANTHROPIC_BASE_URL")
            .env(
                "NEXUS_LOG",
                std::env::var("NEXUS_LOG").unwrap_or_else(|_| "warn".to_owned()),
            )
            .current_dir(self.stack.dir())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start_role(&mut self, role: &'static str) {
        let child = self
            .command(&["role", role])
            .spawn()
            .expect("a role starts");
        if let Some(mut old) = self.processes.insert(role, child) {
            let _ = old.kill();
            let _ = old.wait();
        }
    }

    /// kill -9, and start it anew.
    pub(crate) fn kill_and_restart(&mut self, role: &'static str) {
        let child = self.processes.get_mut(role).expect("the role runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
        self.start_role(role);
    }

    /// kill -9, and leave it.
    pub(crate) fn stop_role(&mut self, role: &'static str) {
        let mut child = self.processes.remove(role).expect("the role runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) async fn ready(&self) {
        let url = self.url("/readyz");
        until("the gateway is ready", || async {
            matches!(self.http.get(&url).send().await, Ok(answer) if answer.status().is_success())
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.http.post(self.url(path)).json(body)).await
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The JSON that a client command prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{arguments:?}: {error}: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Waits until the run has ended; gives it as the read model has it.
    pub(crate) async fn ended(&self, run_id: &str) -> Value {
        let started = Instant::now();
        loop {
            let (status, run) = self.get(&format!("/v1/runs/{run_id}")).await;
            let state = run["status"].as_str().unwrap_or_default().to_owned();
            if status == 200 && ["completed", "failed", "cancelled"].contains(&state.as_str()) {
                return self.projected(run_id, &run["last_seq"]).await;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "run {run_id} has not ended: {status} {run}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The run once the read models have come to `seq`: before, the gateway answers from the log, and
    /// tables lack what the test is about to look for.
    async fn projected(&self, run_id: &str, seq: &Value) -> Value {
        let (path, started) = (format!("/v1/runs/{run_id}?min_seq={seq}"), Instant::now());
        loop {
            let (status, run) = self.get(&path).await;
            if status == 200 {
                return run;
            }
            assert!(started.elapsed() < PATIENCE, "{path}: {status} {run}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All events of a run, oldest first.
    pub(crate) async fn events(&self, run_id: &str) -> Vec<Value> {
        let (status, body) = self
            .get(&format!("/v1/runs/{run_id}/events?limit=200"))
            .await;
        assert_eq!(status, 200, "{body}");
        list(&body)
    }

    pub(crate) fn binary() -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_nexus"))
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            (status, answer.json().await.unwrap_or(Value::Null))
        }
        Err(error) => (0, Value::String(error.to_string())),
    }
}

/// The rows of a list, whatever the page calls them.
pub(crate) fn list(body: &Value) -> Vec<Value> {
    let rows = body
        .as_array()
        .or_else(|| body.as_object()?.values().find_map(Value::as_array));
    rows.cloned().unwrap_or_else(|| panic!("no list: {body}"))
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
