//! Schemathesis, unmodified, against the platform as it is started: what the OpenAPI document says is
//! tried with data of every kind, right and wrong, with the key of one tenant. No answer may be a
//! server error, have a status, a media type or a form that the document does not name, or take what
//! the document rules out.
//!
//! Left out is what it could not end or would end for itself: the streams of a session and of a tenant,
//! which go on for ever, and revoking the key that it calls with.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nexus_modelserver::Options;
use serde_json::{Value, json};
use tokio::process::Command;

use support::{Platform, answer};

const ROOT: &str = "root-key-of-a-test-that-is-long-enough";
/// Nothing waits for long: neither a caller that asks to wait, nor a run for a budget that was set
/// to nothing.
const CONFIG: &str = r#"
[gateway]
require_credentials = true
root_key = "root-key-of-a-test-that-is-long-enough"
max_wait_ms = 1000
min_seq_timeout_ms = 200
"#;
/// Operations of which most must have been done at least once: a key that is refused, or paths that lead
/// nowhere, would try nothing and find nothing. Which ones are missed depends on what is drawn.
const REACHED: [&str; 24] = [
    "startRun",
    "listRuns",
    "getRun",
    "listEvents",
    "openSession",
    "getSession",
    "listMessages",
    "closeSession",
    "setTenantBudget",
    "setBudget",
    "getBudget",
    "holdBudget",
    "releaseBudget",
    "publishPolicy",
    "activatePolicy",
    "evaluatePolicy",
    "registerTool",
    "getToolVersion",
    "createChatCompletion",
    "createMessage",
    "createResponse",
    "createKey",
    "rotateKey",
    "listAudit",
];
/// It takes less than a minute; a machine that does much else takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// A tenant with one of each thing that a path may name.
struct Tenant<'a> {
    platform: &'a Platform,
    key: String,
}

impl Tenant<'_> {
    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.platform.http().post(self.platform.url(path));
        let (status, body) = answer(request.bearer_auth(&self.key).json(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {body}");
        body
    }

    /// Values for the paths, so that not every request ends with "there is no such thing".
    async fn furnish(&self) -> Value {
        let session = self.post("/v1/sessions", &json!({})).await["session_id"].clone();
        let started = json!({ "input": "What is 6*7?", "session_id": session });
        let run = self.post("/v1/runs?wait=1s", &started).await["id"].clone();
        let asked = json!({ "model": "test-model", "input": "hello" });
        let response = self.post("/v1/responses", &asked).await["id"].clone();
        let held = json!({ "amounts": { "tokens": 5 } });
        let reservation = self.post("/v1/reservations", &held).await["reservation_id"].clone();
        let bundle = json!({ "modules": { "p.rego": "package nexus.authz\nimport rego.v1\ndefault decision := {\"allow\": true}\n" } });
        let digest = self.post("/v1/policies", &bundle).await["digest"].clone();
        let key = json!({ "name": "spare" });
        let key = self.post("/v1/keys", &key).await["key_id"].clone();
        json!({
            "run_id": [run], "session_id": [session], "response_id": [response],
            "reservation_id": [reservation], "digest": [digest], "key_id": [key],
            "name": ["calculator"], "version": ["1.0.0"], "model": ["test-model", "agent:default"],
            "scope": ["tenant", "user", "agent", "session", "run"], "id": ["ada", run],
        })
    }
}

async fn key_of(platform: &Platform) -> String {
    let request = platform.http().post(platform.url("/v1/keys"));
    let key = json!({ "name": "schemathesis", "user": "ada", "roles": ["admin"] });
    let request = request.header("Nexus-Tenant", "acme").bearer_auth(ROOT);
    let (status, made) = answer(request.json(&key)).await;
    assert_eq!(status, 201, "{made}");
    made["key"].as_str().unwrap().to_owned()
}

/// The document without the headers that say who calls: beside a key they are refused, always.
async fn document(platform: &Platform) -> Value {
    let (status, mut document) = platform.get("/openapi.json").await;
    assert_eq!(status, 200);
    let paths = document["paths"].as_object_mut().unwrap();
    let operations = paths
        .values_mut()
        .flat_map(|path| path.as_object_mut().unwrap().values_mut());
    for operation in operations {
        let parameters = operation["parameters"].as_array_mut().unwrap();
        parameters.retain(|parameter| parameter.get("$ref").is_none());
    }
    document
}

/// What is tried, and how often. The same seed tries the same.
fn settings(values: &Value) -> String {
    let mut text = include_str!("schemathesis/settings.toml").to_owned();
    for (name, values) in values.as_object().unwrap() {
        text.push_str(&format!("\n[dictionaries.{name}]\nvalues = {values}\n"));
        text.push_str(&format!(
            "[parameters.\"path.{name}\"]\ndictionary = \"{name}\"\nprobability = 0.7\n"
        ));
    }
    text
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_names() {
    let Ok(python) = std::env::var("NEXUS_TEST_PYTHON") else {
        eprintln!(
            "skipped: NEXUS_TEST_PYTHON does not name a Python with the package schemathesis"
        );
        return;
    };
    let platform = Platform::configured(Options::default(), CONFIG).await;
    let key = key_of(&platform).await;
    let tenant = Tenant {
        platform: &platform,
        key,
    };
    let values = tenant.furnish().await;
    let folder = platform.stack.dir();
    let document = written(
        folder,
        "openapi.json",
        &document(&platform).await.to_string(),
    );
    written(folder, "hooks.py", include_str!("schemathesis/hooks.py"));
    let settings = written(folder, "schemathesis.toml", &settings(&values));
    let answers = folder.join("answers.txt");
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(settings)
        .arg("run")
        .arg(document)
        .args(["--url", &platform.url("")])
        .args(["--header", &format!("Authorization: Bearer {}", tenant.key)])
        .env("NEXUS_TEST_ANSWERS", &answers)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    let answers = std::fs::read_to_string(answers).unwrap();
    let answered = answers.lines().filter_map(|line| line.split_once(' '));
    let done: BTreeSet<&str> = answered
        .filter(|(_, status)| status.starts_with('2'))
        .map(|(operation, _)| operation)
        .collect();
    let missing: Vec<_> = REACHED
        .iter()
        .filter(|name| !done.contains(*name))
        .collect();
    let got: BTreeSet<&str> = (answers.lines())
        .filter(|line| missing.iter().any(|name| line.starts_with(**name)))
        .collect();
    let most_missing = REACHED.len() / 4;
    assert!(
        missing.len() <= most_missing,
        "never done: {missing:?}, but {got:?}"
    );
}
