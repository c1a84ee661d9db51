//! The embedded model, and llama.cpp's server as a provider that is none of ours: each answers a
//! question, streamed, and makes a call of a tool that is valid. The first run fetches 524 MB into the
//! cache of this user, which all tests share; after that this takes some ten seconds on an idle core,
//! most of them the model's own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail"
)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nexus_devstack::testing::TestDir;
use nexus_devstack::{Cache, LocalModel, LocalModelOptions, Progress};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use support::{PATIENCE, Platform, until};

/// One model at a time: each takes a core and 600 MB.
static ALONE: Mutex<()> = Mutex::const_new(());

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
        .env_remove("NEXUS_URL")
        .current_dir(data)
        .stdin(Stdio::null());
    command
}

fn output(data: &Path, arguments: &[&str]) -> Output {
    let output = command(data, arguments).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {err}");
    output
}

impl Up {
    async fn start(data: &Path, config: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        std::fs::write(data.join("nexus.toml"), config).unwrap();
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
                let said = std::fs::read_to_string(data.join("log")).unwrap_or_default();
                panic!("`nexus up` ended: {status}: {said}");
            }
            assert!(started.elapsed() < PATIENCE, "`nexus up` is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
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

    /// The run once the read models have its end.
    async fn run(&self, id: &str) -> Value {
        let path = format!("/v1/runs/{id}?wait=30s");
        until("the run has ended", || async {
            self.get(&path).await["status"] != "running"
        })
        .await;
        self.get(&path).await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // In order, for the model's server is its child and ends with it.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .output();
        let stopping = Instant::now();
        while stopping.elapsed() < Duration::from_secs(20)
            && matches!(self.child.try_wait(), Ok(None))
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in &self.servers {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
    }
}

/// What `nexus run --json` prints of a question: its lines.
fn ask(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = output(data, &[&["run", "--json"], arguments].concat());
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn fetch(data: &Path) {
    std::fs::write(data.join("nexus.toml"), "").unwrap();
    let began = Instant::now();
    output(data, &["install", "--model"]);
    println!("the model is there after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_model_answers_the_first_questions_of_the_readme() {
    let _alone = ALONE.lock().await;
    let dir = TestDir::create().unwrap();
    fetch(dir.path());
    let up = Up::start(dir.path(), "").await;

    let began = Instant::now();
    let lines = ask(dir.path(), &["What is the capital of France?"]);
    println!("answered after {:?}, its start included", began.elapsed());
    let done = lines.last().unwrap();
    assert_eq!(done["status"], "completed", "{done}");
    assert!(done["output"].as_str().unwrap().contains("Paris"), "{done}");

    let began = Instant::now();
    let lines = ask(dir.path(), &["What is 1234 * 77?"]);
    println!("answered by a tool after {:?}", began.elapsed());
    let done = up.run(lines.last().unwrap()["id"].as_str().unwrap()).await;
    assert_eq!(done["status"], "completed", "{done}");
    let call = &done["tool_calls"][0];
    assert_eq!(
        (&call["tool_name"], &call["status"]),
        (&json!("calculator"), &json!("completed")),
        "{done}"
    );
    assert!(done.to_string().contains("95018"), "{done}");
}

/// A request of OpenAI's clients; as likely as can be, so that the same is answered each time.
fn request(question: &str, more: Value) -> Value {
    let mut body = json!({
        "model": "peer", "temperature": 0, "max_tokens": 64,
        "messages": [{ "role": "user", "content": question }],
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

async fn complete(up: &Up, body: Value) -> String {
    let asked = reqwest::Client::new().post(format!("{}/v1/chat/completions", up.url));
    let answer = asked.json(&body).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_cpp_serves_as_an_openai_compatible_provider() {
    let _alone = ALONE.lock().await;
    let dir = TestDir::create().unwrap();
    fetch(dir.path());
    let cache = Cache::discover().unwrap();
    let options = LocalModelOptions {
        log_file: Some(dir.path().join("model.log")),
        ..LocalModelOptions::default()
    };
    let progress = Progress::new(|line| println!("{line}"));
    let mut server = LocalModel::start(&cache, &progress, options).await.unwrap();
    let config = format!(
        r#"
        [models]
        default = "peer"
        local = false
        [[models.providers]]
        name = "llama"
        kind = "openai"
        base_url = "{}"
        tool_calls_in_text = true
        [[models.providers.models]]
        name = "peer"
        wire_name = "{}"
        context_tokens = 4096
        max_output_tokens = 256
        "#,
        server.base_url(),
        server.model_name()
    );
    let up = Up::start(dir.path(), &config).await;

    let question = "What is the capital of France?";
    let whole = complete(&up, request(question, json!({}))).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let text = &whole["choices"][0]["message"]["content"];
    assert!(text.as_str().unwrap().contains("Paris"), "{whole}");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop", "{whole}");
    let usage = &whole["usage"];
    assert!(usage["completion_tokens"].as_u64().unwrap() > 1, "{whole}");

    let streamed = complete(&up, request(question, json!({ "stream": true }))).await;
    let chunks = streamed
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let chunks: Vec<Value> = chunks
        .map(|chunk| serde_json::from_str(&format!("{{{chunk}")).unwrap())
        .collect();
    let pieces = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    let pieces: Vec<&str> = pieces.filter(|piece| !piece.is_empty()).collect();
    assert_eq!(pieces.concat(), text.as_str().unwrap(), "{streamed}");
    assert!(pieces.len() > 1, "it comes in pieces: {streamed}");

    let weather = json!({ "type": "function", "function": {
        "name": "get_weather", "description": "The weather in a city now.",
        "parameters": {
            "type": "object", "required": ["city"], "additionalProperties": false,
            "properties": { "city": { "type": "string", "description": "Name of the city" } },
        },
    } });
    let body = request(
        "How is the weather in Paris now?",
        json!({ "tools": [weather] }),
    );
    let called = complete(&up, body).await;
    let called: Value = serde_json::from_str(&called).unwrap();
    let choice = &called["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{called}");
    let call = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "get_weather", "{called}");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "city": "Paris" }), "{called}");

    drop(up);
    server.stop().await;
}
