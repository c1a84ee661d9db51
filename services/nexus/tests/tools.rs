//! Tools that others serve, with real processes that die: what must not happen twice happens once,
//! and a person says what became of it; what may, happens again under the same key.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, list, until};

/// Wants these calls, then answers.
fn model_that_calls(calls: Vec<ScriptedCall>, chunk_delay_ms: u64) -> Options {
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("that is all"),
            ..Rule::default()
        },
        Rule {
            reply: Reply {
                chunk_delay_ms,
                ..Reply::tools(calls)
            },
            ..Rule::default()
        },
    ];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

fn booking() -> ScriptedCall {
    ScriptedCall::new("book_room", &json!({ "room": "blue" }))
}

fn definition(version: &str, idempotent: bool) -> Value {
    json!({
        "name": "book_room", "version": version, "description": "Books a room.",
        "category": "http", "kind": "nats", "idempotent": idempotent,
        "input_schema": { "type": "object", "properties": { "room": { "type": "string" } } },
    })
}

async fn register(platform: &Platform, definition: &Value) {
    let (status, done) = platform.post("/v1/tools", definition).await;
    assert_eq!(status, 200, "{done}");
}

async fn start(platform: &Platform) -> String {
    let body = json!({ "input": "book the blue room", "tools": ["book_room"] });
    let (status, run) = platform.post("/v1/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

/// A call as its worker saw it: each is an effect on the world.
#[derive(Clone, Debug)]
struct Effect {
    headers: BTreeMap<String, String>,
    arguments: Value,
}

/// A world that can be changed, in this process: it dies with nobody.
#[derive(Clone, Default)]
struct World {
    effects: Arc<Mutex<Vec<Effect>>>,
    /// How many calls are not answered.
    silent: usize,
    /// No call is answered before so many are there.
    together: usize,
}

impl World {
    async fn serve(self, platform: &Platform) -> Self {
        let client = async_nats::connect(platform.stack.nats.url())
            .await
            .unwrap();
        let mut calls = client
            .queue_subscribe("nexus.default.tool.book_room", "workers".to_owned())
            .await
            .unwrap();
        client.flush().await.unwrap();
        let world = self.clone();
        tokio::spawn(async move {
            let mut waiting = vec![];
            while let Some(call) = calls.next().await {
                let headers = call.headers.as_ref().unwrap();
                let headers = headers
                    .iter()
                    .map(|(name, values)| (name.to_string().to_lowercase(), values[0].to_string()));
                let effect = Effect {
                    headers: headers.collect(),
                    arguments: serde_json::from_slice(&call.payload).unwrap(),
                };
                let count = {
                    let mut effects = self.effects.lock().unwrap();
                    effects.push(effect);
                    effects.len()
                };
                if count > self.silent {
                    waiting.push(call.reply.unwrap());
                }
                if count >= self.together {
                    for reply in waiting.drain(..) {
                        let answer = json!({ "output": { "booking": count } }).to_string();
                        client.publish(reply, answer.into()).await.unwrap();
                    }
                }
            }
        });
        world
    }

    fn count(&self) -> usize {
        self.effects.lock().unwrap().len()
    }

    fn header(&self, effect: usize, name: &str) -> String {
        self.effects.lock().unwrap()[effect].headers[name].clone()
    }

    async fn happened(&self, times: usize) {
        until("the tool took effect", || async { self.count() >= times }).await;
    }
}

async fn doubts(platform: &Platform) -> Vec<Value> {
    let (status, body) = platform.get("/v1/tool-calls?status=in_doubt").await;
    assert_eq!(status, 200, "{body}");
    list(&body)
}

/// Waits until the only call of the run is in doubt; gives its id.
async fn doubted(platform: &Platform, run_id: &str) -> String {
    let of_run = async || {
        let doubts = doubts(platform).await;
        let doubt = doubts.into_iter().find(|call| call["run_id"] == *run_id)?;
        Some(doubt["call_id"].as_str()?.to_owned())
    };
    until("the call is in doubt", || async {
        of_run().await.is_some()
    })
    .await;
    of_run().await.unwrap()
}

async fn count(platform: &Platform, run_id: &str, kind: &str) -> usize {
    let kind = format!("nexus.run.{kind}.v1");
    let events = platform.events(run_id).await;
    events.iter().filter(|event| event["type"] == *kind).count()
}

async fn nothing_is_held(platform: &Platform) {
    until("nothing is held any more", || async {
        let (_, budget) = platform.get("/v1/budgets/tenant").await;
        budget["reservations"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_happen_twice_happens_once_and_a_person_says_what_became_of_it() {
    let mut platform = Platform::start(model_that_calls(vec![booking()], 0)).await;
    register(&platform, &definition("1.0.0", false)).await;
    let world = World {
        silent: 2,
        ..World::default()
    };
    let world = world.serve(&platform).await;

    // Its worker dies after the effect, before the outcome.
    let run_id = start(&platform).await;
    world.happened(1).await;
    platform.kill_and_restart("tools");
    let call_id = doubted(&platform, &run_id).await;
    assert_eq!(world.count(), 1);
    let (_, run) = platform.get(&format!("/v1/runs/{run_id}")).await;
    assert_eq!(run["status"], "waiting", "{run}");
    assert_eq!(run["waiting_for"][0]["tool"], "book_room", "{run}");
    let shown = platform.json(&["tools", "doubts", "--json"]);
    assert_eq!(list(&shown)[0]["call_id"], *call_id);

    // Somebody looks, and knows.
    let resolve = format!("/v1/runs/{run_id}/tool-calls/{call_id}/resolve");
    let word = json!({ "as": "done", "output": { "booking": 7 }, "reason": "I looked" });
    let (status, done) = platform.post(&resolve, &word).await;
    assert_eq!(status, 200, "{done}");
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["tool_calls"][0]["output"]["booking"], 7, "{run}");
    let (status, problem) = platform.post(&resolve, &word).await;
    assert_eq!(status, 409, "{problem}");
    for (kind, times) in [
        ("tool-started", 1),
        ("tool-in-doubt", 1),
        ("tool-resolved", 1),
    ] {
        assert_eq!(count(&platform, &run_id, kind).await, times, "{kind}");
    }

    // Another one, which somebody lets be tried again: the same key.
    let run_id = start(&platform).await;
    world.happened(2).await;
    platform.kill_and_restart("tools");
    let call_id = doubted(&platform, &run_id).await;
    assert_eq!(world.count(), 2);
    let resolved = platform.json(&[
        "tools",
        "resolve",
        &run_id,
        &call_id,
        "retry",
        "--reason",
        "none there",
        "--json",
    ]);
    assert_eq!(resolved["run_id"], *run_id);
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(world.count(), 3);
    let key = |effect| world.header(effect, "idempotency-key");
    assert_eq!(key(1), key(2));
    assert_ne!(key(0), key(1));
    assert_eq!(world.header(2, "nexus-attempt"), "2");

    let (_, audit) = platform.get("/v1/audit?action=tool.resolved").await;
    assert_eq!(list(&audit).len(), 2, "{audit}");
    assert!(doubts(&platform).await.is_empty());
    nothing_is_held(&platform).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_happen_again_does_under_the_same_key() {
    let mut platform = Platform::start(model_that_calls(vec![booking()], 0)).await;
    register(&platform, &definition("1.0.0", true)).await;
    let world = World {
        silent: 1,
        ..World::default()
    };
    let world = world.serve(&platform).await;
    let run_id = start(&platform).await;
    world.happened(1).await;
    platform.kill_and_restart("tools");
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(
        (world.count(), &run["tool_calls"][0]["attempts"]),
        (2, &json!(2))
    );
    let both = |name: &str| (world.header(0, name), world.header(1, name));
    let (first, second) = both("idempotency-key");
    assert_eq!(first, second);
    assert_eq!(both("nexus-attempt"), ("1".to_owned(), "2".to_owned()));
    assert_eq!(world.header(1, "nexus-run"), run_id);
    assert_eq!(count(&platform, &run_id, "tool-in-doubt").await, 0);
    nothing_is_held(&platform).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_its_version_and_the_calls_of_a_turn_go_side_by_side() {
    let calls = vec![booking(), booking()];
    let platform = Platform::start(model_that_calls(calls, 400)).await;
    register(&platform, &definition("1.0.0", false)).await;
    let world = World {
        together: 2,
        ..World::default()
    };
    let world = world.serve(&platform).await;

    let first = start(&platform).await;
    // While its model speaks the tool is replaced.
    register(&platform, &definition("2.0.0", false)).await;
    let retired = |what: &str| format!("/v1/tools/book_room/versions/1.0.0/{what}");
    for what in ["deprecate", "remove"] {
        let reason = json!({ "reason": "there is a better one" });
        let (status, done) = platform.post(&retired(what), &reason).await;
        assert_eq!(status, 200, "{done}");
    }
    let run = platform.ended(&first).await;
    assert_eq!(run["status"], "completed", "{run}");
    let second = start(&platform).await;
    assert_eq!(platform.ended(&second).await["status"], "completed");
    let versions: Vec<_> = (0..4)
        .map(|call| world.header(call, "nexus-tool-version"))
        .collect();
    assert_eq!(versions, ["1.0.0", "1.0.0", "2.0.0", "2.0.0"]);
    assert_eq!(
        world.effects.lock().unwrap()[0].arguments,
        json!({ "room": "blue" })
    );

    // What was registered does not change, and what was removed is not had.
    let mut other = definition("2.0.0", true);
    let (status, problem) = platform.post("/v1/tools", &other).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("wrong_state")),
        "{problem}"
    );
    other["timeout"] = json!("1s");
    let (status, problem) = platform.post("/v1/tools", &other).await;
    assert_eq!(status, 400, "{problem}");
    let body = json!({ "input": "x", "tools": ["book_room@1.0.0"] });
    let (status, problem) = platform.post("/v1/runs", &body).await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("tools")),
        "{problem}"
    );
    let shown = platform.json(&["tools", "show", "book_room", "--json"]);
    assert_eq!(shown["default_version"], "2.0.0", "{shown}");
    let states: Vec<_> = list(&shown)
        .iter()
        .map(|row| row["state"].clone())
        .collect();
    assert_eq!(states, ["removed", "active"]);
}

/// Before its start is recorded, after it, after the effect, before the outcome is recorded: with
/// forty calls and a dozen deaths each of them happens. The witness is in this process.
#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_role_dies_each_call_takes_effect_once_at_most() {
    let calls = vec![booking(), booking()];
    let mut platform = Platform::start(model_that_calls(calls, 0)).await;
    register(&platform, &definition("1.0.0", false)).await;
    let world = World::default().serve(&platform).await;
    let mut runs = vec![];
    for round in 0..12_u64 {
        for _ in 0..2 {
            runs.push(start(&platform).await);
        }
        // Not waiting for anything: it dies wherever the calls are by then.
        tokio::time::sleep(Duration::from_millis(round * 13 % 90)).await;
        platform.kill_and_restart("tools");
    }
    // Whoever looks says what he finds; the platform asks nobody twice.
    until("no call is in doubt, and every run has ended", || async {
        for doubt in doubts(&platform).await {
            let text = |field: &str| doubt[field].as_str().unwrap().to_owned();
            let (run, call) = (text("run_id"), text("call_id"));
            let path = format!("/v1/runs/{run}/tool-calls/{call}/resolve");
            let word = json!({ "as": "done", "output": { "booking": 0 } });
            let (status, done) = platform.post(&path, &word).await;
            assert!(matches!(status, 200 | 202 | 409), "{done}");
        }
        let mut ended = 0;
        for run in &runs {
            let (_, run) = platform.get(&format!("/v1/runs/{run}")).await;
            ended += usize::from(run["status"] == "completed");
        }
        ended == runs.len()
    })
    .await;
    let mut keys: Vec<String> = (0..world.count())
        .map(|effect| world.header(effect, "idempotency-key"))
        .collect();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!(all, keys.len(), "a call took effect twice");
    nothing_is_held(&platform).await;
}

/// The example of docs/protocol.md, run by the interpreter that `NEXUS_TEST_PYTHON` names (it needs
/// nats-py). Without one the test has nothing to run and says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_serves_a_tool() {
    let Ok(python) = std::env::var("NEXUS_TEST_PYTHON") else {
        eprintln!("skipped: NEXUS_TEST_PYTHON does not name a Python with nats-py");
        return;
    };
    let call = ScriptedCall::new("word_count", &json!({ "text": "one two three" }));
    let platform = Platform::start(model_that_calls(vec![call], 0)).await;
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/examples/tool_worker.py"
    );
    let definition = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/examples/word_count.toml"
    );
    let done = platform.json(&["tools", "register", definition, "--json"]);
    assert_eq!(done["name"], "word_count", "{done}");
    // It may come late: the call waits for somebody who serves the tool.
    let body = json!({ "input": "count", "tools": ["word_count"] });
    let (_, run) = platform.post("/v1/runs", &body).await;
    let mut worker = Command::new(python)
        .args([script, &platform.stack.nats.url(), "word_count"])
        .stdin(Stdio::null())
        .spawn()
        .expect("python runs");
    let run = tokio::time::timeout(
        Duration::from_secs(60),
        platform.ended(run["run_id"].as_str().unwrap()),
    )
    .await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    let run = run.unwrap();
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["tool_calls"][0]["output"]["words"], 3, "{run}");
}

const RETRIES: &str = r#"package nexus.agent.policy
import rego.v1
decision := {"allow": true, "rules": ["careful"], "obligations": {"on_doubt": "retry"}} if {
    input.point == "tool.call"
} else := {"allow": true}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn policy_says_beforehand_what_becomes_of_a_doubt() {
    let mut platform = Platform::start(model_that_calls(vec![booking()], 0)).await;
    register(&platform, &definition("1.0.0", false)).await;
    std::fs::write(platform.stack.dir().join("retries.rego"), RETRIES).unwrap();
    let published = platform.json(&["policies", "publish", "retries.rego", "--json"]);
    let digest = published["digest"].as_str().unwrap();
    platform.json(&["policies", "activate", digest, "--json"]);
    let world = World {
        silent: 1,
        ..World::default()
    };
    let world = world.serve(&platform).await;
    let run_id = start(&platform).await;
    world.happened(1).await;
    platform.kill_and_restart("tools");
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(world.count(), 2);
    assert_eq!(
        world.header(0, "idempotency-key"),
        world.header(1, "idempotency-key")
    );
    let events = platform.events(&run_id).await;
    let resolved = events
        .iter()
        .find(|event| event["type"] == "nexus.run.tool-resolved.v1");
    let resolved = &resolved.expect("the doubt is on the log, and the word")["data"];
    assert_eq!(
        (&resolved["by"], &resolved["as"]),
        (&json!("policy"), &json!("retry"))
    );
    assert!(doubts(&platform).await.is_empty());
    nothing_is_held(&platform).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_called_without_a_model_under_the_same_rules() {
    let mut platform = Platform::start(model_that_calls(vec![], 0)).await;
    register(&platform, &definition("1.0.0", false)).await;
    let world = World {
        silent: 1,
        ..World::default()
    };
    let world = world.serve(&platform).await;

    // One that is built in, by hand; its result is the run's.
    let run = platform.json(&[
        "tools",
        "invoke",
        "calculator",
        r#"{"expression": "6 * 7"}"#,
        "--json",
    ]);
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["tool_calls"][0]["output"]["result"], 42, "{run}");
    assert_eq!(run["llm_calls"], json!([]), "{run}");
    assert_eq!(run["cost"]["tokens"], 0, "{run}");

    // The worker dies after the effect: it happened once, and somebody says what became of it.
    let path = "/v1/tools/book_room/versions/1.0.0/invoke";
    let body = json!({ "arguments": { "room": "blue" }, "budget": { "tool_calls": 1 } });
    let (status, accepted) = platform.post(path, &body).await;
    assert_eq!(status, 202, "{accepted}");
    let run_id = accepted["run_id"].as_str().unwrap();
    world.happened(1).await;
    platform.kill_and_restart("tools");
    let call_id = doubted(&platform, run_id).await;
    let resolve = format!("/v1/runs/{run_id}/tool-calls/{call_id}/resolve");
    let word = json!({ "as": "done", "output": { "booking": 7 } });
    let (status, done) = platform.post(&resolve, &word).await;
    assert_eq!(status, 200, "{done}");
    let run = platform.ended(run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["tool_calls"][0]["output"]["booking"], 7, "{run}");
    assert_eq!(world.count(), 1);

    // Waited for; asked twice under one key it happens once.
    let ask = || async {
        let url = platform.url(&format!("{path}?wait=60s"));
        let request = platform.http().post(url).json(&body);
        let answer = request.header("Idempotency-Key", "one").send().await;
        answer.unwrap().json::<Value>().await.unwrap()
    };
    let (first, second) = (ask().await, ask().await);
    assert_eq!(first["status"], "completed", "{first}");
    assert_eq!(first["tool_calls"][0]["output"]["booking"], 2, "{first}");
    assert_eq!(first["id"], second["id"]);
    assert_eq!(world.count(), 2);

    // What it does not take, what is not there, and who may not.
    let wrong = json!({ "arguments": { "room": 7 } });
    let (status, run) = platform.post(&format!("{path}?wait=60s"), &wrong).await;
    assert_eq!(
        (status, &run["status"], &run["error_code"]),
        (200, &json!("failed"), &json!("bad_arguments")),
        "{run}"
    );
    let missing = "/v1/tools/book_room/versions/9.0.0/invoke";
    let (status, problem) = platform.post(missing, &body).await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("tools")),
        "{problem}"
    );
    let (status, problem) = platform.post(path, &json!({ "arguments": [] })).await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("invoke")),
        "{problem}"
    );
    nothing_is_held(&platform).await;
    assert_eq!(world.count(), 2);
}
