//! `nexus up` as a person uses it: it starts on an empty directory, answers, stops what it started,
//! refuses to run twice on the same data, and recovers when everything was killed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail"
)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nexus_devstack::testing::TestDir;
use nexus_modelserver::{ModelServer, Options};
use serde_json::Value;

use support::{PATIENCE, Platform, until};

/// A platform started by `nexus up`, with a model server of ours.
struct Up {
    child: Child,
    data: PathBuf,
    endpoints: Value,
}

fn command(data: &Path, model: &ModelServer, arguments: &[&str]) -> Command {
    let mut command = Command::new(Platform::binary());
    command
        .args(arguments)
        .env("NEXUS_DATA_DIR", data)
        .env("OPENAI_BASE_URL", model.base_url())
        .env("OPENAI_MODEL", "test-model")
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("ANTHROPIC_BASE_URL")
        .env_remove("NEXUS_URL")
        .current_dir(data)
        .stdin(Stdio::null());
    command
}

impl Up {
    async fn start(data: &Path, model: &ModelServer) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ready = data.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let file = ready.to_str().unwrap();
        let child = command(
            data,
            model,
            &["up", "--listen", "127.0.0.1:0", "--ready-file", file],
        )
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
        let mut up = Self {
            child,
            data: data.to_owned(),
            endpoints: Value::Null,
        };
        let started = Instant::now();
        while !ready.exists() {
            if let Some(status) = up.child.try_wait().unwrap() {
                panic!("`nexus up` ended: {status}");
            }
            assert!(started.elapsed() < PATIENCE, "`nexus up` is not ready");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        up.endpoints = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        up
    }

    fn ready_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line
    }

    fn servers(&self) -> Vec<i32> {
        let pids = self.endpoints["servers"].as_array().unwrap();
        pids.iter()
            .map(|pid| i32::try_from(pid.as_i64().unwrap()).unwrap())
            .collect()
    }

    fn signal(&self, signal: &str, pid: i32) {
        let sent = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    async fn gone(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "`nexus up` does not stop");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.servers() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
        let _ = &self.data;
    }
}

fn alive(pid: i32) -> bool {
    // A process that has ended and was not waited for yet is not alive.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

fn run(data: &Path, model: &ModelServer, arguments: &[&str]) -> Output {
    command(data, model, arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_and_everything_stops() {
    let dir = TestDir::create().unwrap();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let mut up = Up::start(dir.path(), &model).await;
    let line = up.ready_line();
    let url = up.endpoints["url"].as_str().unwrap().to_owned();
    assert!(
        line.starts_with("Nexus is ready at ") && line.contains(&url),
        "{line}"
    );

    let answered = run(dir.path(), &model, &["run", "What is 12*7?"]);
    let (out, err) = (text(&answered.stdout), text(&answered.stderr));
    assert!(answered.status.success(), "{out}{err}");
    assert!(out.contains("84"), "{out}{err}");

    let finished = run(dir.path(), &model, &["run", "--json", "hello"]);
    let last = text(&finished.stdout).lines().last().unwrap().to_owned();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["status"], "completed", "{last}");

    let failed = run(
        dir.path(),
        &model,
        &["run", "--model", "no-such-model", "hello"],
    );
    assert!(!failed.status.success());
    assert!(
        text(&failed.stderr).contains("no-such-model"),
        "{}",
        text(&failed.stderr)
    );

    let second = run(dir.path(), &model, &["up"]);
    assert!(!second.status.success());
    let said = text(&second.stderr);
    assert!(
        said.contains(&up.pid().to_string()),
        "it names who holds the directory: {said}"
    );

    let servers = up.servers();
    assert!(servers.iter().all(|pid| alive(*pid)));
    up.signal("-TERM", up.pid());
    let status = up.gone().await;
    assert!(status.success(), "{status}");
    for pid in servers {
        until("the servers are gone", || async move { !alive(pid) }).await;
    }
    let unreachable = run(dir.path(), &model, &["run", "--url", &url, "hello"]);
    assert_eq!(
        unreachable.status.code(),
        Some(3),
        "{}",
        text(&unreachable.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_of_everything_the_next_start_goes_on() {
    let dir = TestDir::create().unwrap();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let mut up = Up::start(dir.path(), &model).await;
    let first = run(
        dir.path(),
        &model,
        &["run", "--json", "remember the word heron"],
    );
    assert!(first.status.success(), "{}", text(&first.stderr));
    let last: Value = serde_json::from_str(text(&first.stdout).lines().last().unwrap()).unwrap();
    let (run_id, session) = (
        last["id"].as_str().unwrap().to_owned(),
        last["session_id"].as_str().unwrap().to_owned(),
    );

    let servers = up.servers();
    up.signal("-9", up.pid());
    up.gone().await;
    for pid in servers {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
    }
    drop(up);

    let up = Up::start(dir.path(), &model).await;
    let shown = run(dir.path(), &model, &["runs", "show", &run_id, "--json"]);
    assert!(
        text(&shown.stdout).contains("completed"),
        "{}",
        text(&shown.stderr)
    );
    // The conversation goes on, with its history.
    let next = run(
        dir.path(),
        &model,
        &["run", "--session", &session, "which word?"],
    );
    assert!(next.status.success(), "{}", text(&next.stderr));
    let asked = model.recorded().pop().unwrap().json().to_string();
    assert!(
        asked.contains("heron") && asked.contains("which word?"),
        "{asked}"
    );
    drop(up);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_die_are_started_again() {
    let dir = TestDir::create().unwrap();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let up = Up::start(dir.path(), &model).await;
    for pid in up.servers() {
        up.signal("-9", pid);
    }
    let answered = run(dir.path(), &model, &["run", "What is 12*7?"]);
    let said = text(&answered.stderr);
    assert!(answered.status.success(), "{said}");
    assert!(text(&answered.stdout).contains("84"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_exported_and_proved_from_the_command_line() {
    let dir = TestDir::create().unwrap();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let _up = Up::start(dir.path(), &model).await;
    let nexus = |arguments: &[&str]| run(dir.path(), &model, arguments);
    assert!(nexus(&["run", "What is 12*7?"]).status.success());
    // The run began, and was judged twice.
    let head = || {
        let heads: Value =
            serde_json::from_slice(&nexus(&["audit", "head", "--json"]).stdout).ok()?;
        let head = heads["items"].get(0)?.clone();
        (head["number"].as_u64() >= Some(3)).then_some(head)
    };
    let started = Instant::now();
    let head = loop {
        if let Some(head) = head() {
            break head;
        }
        assert!(started.elapsed() < PATIENCE);
    };
    let kept = format!("{}:{}", head["seq"], head["hash"].as_str().unwrap());
    let proved = nexus(&["audit", "verify", "--from-log", "--head", &kept, "--json"]);
    let proof: Value = serde_json::from_slice(&proved.stdout).unwrap();
    assert!(proved.status.success(), "{proof}");
    assert_eq!(
        (&proof["whole"], &proof["log"]["from_seq"]),
        (&true.into(), &1.into())
    );

    let other = format!("1:{}", "0".repeat(64));
    let refuted = nexus(&["audit", "verify", "--head", &other]);
    let said = text(&refuted.stdout);
    assert_eq!(refuted.status.code(), Some(1), "{said}");
    assert!(said.contains("no chain passes through 1:000"), "{said}");

    let exported = nexus(&["audit", "export", "--action", "run."]);
    let lines = text(&exported.stdout);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["number"], &first["action"]),
        (&1.into(), &"run.started".into())
    );
    assert!(
        first["user_agent"].as_str().unwrap().starts_with("nexus/"),
        "{first}"
    );
}

/// The example of docs/protocol.md, run by the interpreter that `NEXUS_TEST_PYTHON` names (it needs
/// nats-py). Without one the test has nothing to run and says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_sees_the_same_run_with_the_same_sequences() {
    let Ok(python) = std::env::var("NEXUS_TEST_PYTHON") else {
        eprintln!("skipped: NEXUS_TEST_PYTHON does not name a Python with nats-py");
        return;
    };
    let dir = TestDir::create().unwrap();
    let model = ModelServer::start(Options::default()).await.unwrap();
    let up = Up::start(dir.path(), &model).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/client.py");
    let output = Command::new(python)
        .arg(script)
        .args([up.endpoints["nats_url"].as_str().unwrap(), "What is 12*7?"])
        .output()
        .expect("python runs");
    let mut said = String::new();
    output.stdout.as_slice().read_to_string(&mut said).unwrap();
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["delta"]["type"] == "text"),
        "{said}"
    );
    let outcome = lines
        .iter()
        .find_map(|line| line.get("outcome"))
        .expect("an outcome");
    let run_id = outcome["run_id"].as_str().unwrap();
    let heard: Vec<(u64, String)> = lines
        .iter()
        .filter_map(|line| {
            Some((
                line.get("seq")?.as_u64()?,
                line["type"].as_str()?.to_owned(),
            ))
        })
        .collect();

    let url = format!(
        "{}/v1/runs/{run_id}/events",
        up.endpoints["url"].as_str().unwrap()
    );
    let body: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let listed: Vec<(u64, String)> = support::list(&body)
        .iter()
        .map(|event| {
            (
                event["seq"].as_u64().unwrap(),
                event["type"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(heard, listed);
    assert_eq!(outcome["seq"].as_u64(), listed.first().map(|(seq, _)| *seq));
}
