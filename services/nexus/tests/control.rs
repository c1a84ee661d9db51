//! Pause, resume, signal and cancel by commands on the bus, as any client sends them.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{Platform, until};

const NOBODY: &str = "0190a5b2-7b1c-7d3a-9f6e-1c2b3a4d5e6f";

/// Speaks for a minute.
fn slow_model() -> Options {
    let reply = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(600))
    };
    let rules = vec![Rule {
        reply,
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

/// A client of the bus.
struct Client {
    nats: async_nats::Client,
}

impl Client {
    async fn of(platform: &Platform) -> Self {
        let nats = async_nats::connect(platform.stack.nats.url()).await;
        Self {
            nats: nats.unwrap(),
        }
    }

    /// Sends a command and gives its answer: the outcome or a problem.
    async fn send(&self, verb: &str, body: &Value, id: Option<&str>) -> Value {
        let inbox = self.nats.new_inbox();
        let mut answers = self.nats.subscribe(inbox.clone()).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("nexus-reply-to", inbox.as_str());
        if let Some(id) = id {
            headers.insert("ce-id", id);
        }
        let subject = format!("nexus.default.cmd.run.{verb}");
        let js = async_nats::jetstream::new(self.nats.clone());
        let body = body.to_string().into();
        let published = js.publish_with_headers(subject, headers, body).await;
        published.unwrap().await.unwrap();
        let answer = tokio::time::timeout(support::PATIENCE, answers.next()).await;
        serde_json::from_slice(&answer.unwrap().unwrap().payload).unwrap()
    }

    async fn done(&self, verb: &str, run_id: &str) -> u64 {
        let answer = self.send(verb, &json!({ "run_id": run_id }), None).await;
        assert_eq!(answer["run_id"], run_id, "{verb}: {answer}");
        answer["seq"].as_u64().unwrap()
    }

    async fn refused(&self, verb: &str, body: &Value) -> (u64, String) {
        let problem = self.send(verb, body, None).await;
        let code = problem["code"].as_str().map(str::to_owned);
        (problem["status"].as_u64().unwrap(), code.unwrap())
    }
}

async fn speaking(platform: &Platform) -> String {
    let before = platform.model.counters().output_tokens;
    let (status, run) = platform
        .post("/v1/runs", &json!({ "input": "speak" }))
        .await;
    assert_eq!(status, 202, "{run}");
    until("the model speaks", || async {
        platform.model.counters().output_tokens > before + 3
    })
    .await;
    run["run_id"].as_str().unwrap().to_owned()
}

async fn count(platform: &Platform, run_id: &str, kind: &str) -> usize {
    let events = platform.events(run_id).await;
    let of_kind = |event: &&Value| event["type"] == format!("nexus.run.{kind}.v1");
    events.iter().filter(of_kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_is_done_once_however_often_it_is_sent() {
    let platform = Platform::start(slow_model()).await;
    let client = Client::of(&platform).await;
    let run = speaking(&platform).await;
    let paused = client.done("pause", &run).await;
    assert_eq!(client.done("pause", &run).await, paused, "it was paused");
    assert_eq!(count(&platform, &run, "paused").await, 1);
    client.done("resume", &run).await;
    let again = client.refused("resume", &json!({ "run_id": run })).await;
    assert_eq!(again, (409, "wrong_state".to_owned()));
    assert_eq!(count(&platform, &run, "resumed").await, 1);

    // Word for word the same message is the same command; a new one is another.
    let said = json!({ "run_id": run, "input": "and then?" });
    client.send("signal", &said, None).await;
    client.send("signal", &said, None).await;
    until("both were heard", || async {
        count(&platform, &run, "signalled").await == 2
    })
    .await;

    let asked = Instant::now();
    let cancelled = client.done("cancel", &run).await;
    until("the model is no longer listened to", || async {
        count(&platform, &run, "llm-aborted").await == 1
    })
    .await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(client.done("cancel", &run).await >= cancelled);
    assert_eq!(count(&platform, &run, "cancelled").await, 1);
    // What was generated until then is settled, and nothing is held on.
    until("nothing is held", || async {
        let (status, held) = platform.get("/v1/reservations?status=held").await;
        status == 200 && support::list(&held).is_empty()
    })
    .await;
    let ended = platform.ended(&run).await;
    assert!(ended["cost"]["tokens"].as_u64().unwrap() > 0, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_id_is_the_same_command() {
    let platform = Platform::start(slow_model()).await;
    let client = Client::of(&platform).await;
    let run = speaking(&platform).await;
    let said = json!({ "run_id": run, "input": "and then?" });
    let first = client.send("signal", &said, Some("my-signal-1")).await;
    assert_eq!(first["run_id"], run, "{first}");
    let again = client.send("signal", &said, Some("my-signal-1")).await;
    assert_eq!(again, first);
    assert_eq!(count(&platform, &run, "signalled").await, 1);
    let control = json!({ "run_id": run });
    for (verb, kind) in [
        ("pause", "paused"),
        ("resume", "resumed"),
        ("cancel", "cancelled"),
    ] {
        let id = format!("my-{verb}");
        let first = client.send(verb, &control, Some(&id)).await;
        assert_eq!(first["run_id"], run, "{verb}: {first}");
        let again = client.send(verb, &control, Some(&id)).await;
        assert_eq!(again, first, "{verb}");
        assert_eq!(count(&platform, &run, kind).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_its_code() {
    let platform = Platform::start(Options::default()).await;
    let client = Client::of(&platform).await;
    let (_, run) = platform
        .post("/v1/runs?wait=60s", &json!({ "input": "hello" }))
        .await;
    assert_eq!(run["status"], "completed", "{run}");
    let wrong_state = (409, "wrong_state".to_owned());
    for verb in ["pause", "resume", "cancel", "signal"] {
        let body = |run: &Value| match verb {
            "signal" => json!({ "run_id": run, "input": "x" }),
            _ => json!({ "run_id": run }),
        };
        let ended = client.refused(verb, &body(&run["id"])).await;
        assert_eq!(ended, wrong_state, "{verb}");
        let nobody = client.refused(verb, &body(&json!(NOBODY))).await;
        assert_eq!(nobody, (404, "not_found".to_owned()), "{verb}");
    }
    let empty = json!({ "run_id": run["id"], "input": " " });
    let empty = client.refused("signal", &empty).await;
    assert_eq!(empty, (422, "invalid".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_refused_unheard_is_a_run_that_failed() {
    let platform = Platform::start(Options::default()).await;
    let client = Client::of(&platform).await;
    let start = json!({ "run_id": NOBODY, "input": "hello", "agent": "nobody" });
    let invalid = (422, "invalid".to_owned());
    assert_eq!(client.refused("start", &start).await, invalid);
    let (status, _) = platform.get(&format!("/v1/runs/{NOBODY}")).await;
    assert_eq!(status, 404, "who was told may ask again");
    let js = async_nats::jetstream::new(client.nats.clone());
    let taken = js.publish("nexus.default.cmd.run.start", start.to_string().into());
    taken.await.unwrap().await.unwrap();
    let run = platform.ended(NOBODY).await;
    assert_eq!(run["status"], "failed", "{run}");
    let events = platform.events(NOBODY).await;
    assert_eq!(events[1]["data"]["code"], "invalid", "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_the_same() {
    let platform = Platform::start(slow_model()).await;
    let run = speaking(&platform).await;
    let nexus = |arguments: &[&str]| {
        let all = [&["runs"], arguments].concat();
        platform.command(&all).output().unwrap()
    };
    let reason = ["--reason", "a look first"];
    assert!(
        nexus(&[&["pause", &run], &reason[..]].concat())
            .status
            .success()
    );
    assert_eq!(platform.get(&format!("/v1/runs/{run}")).await.0, 200);
    assert!(nexus(&["signal", &run, "hurry"]).status.success());
    assert!(nexus(&["resume", &run]).status.success());
    let again = nexus(&["resume", &run]);
    assert!(!again.status.success());
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("wrong_state"), "{told}");
    assert!(nexus(&["cancel", &run]).status.success());
    assert_eq!(platform.ended(&run).await["status"], "cancelled");
    for kind in ["paused", "resumed", "signalled", "cancelled"] {
        assert_eq!(count(&platform, &run, kind).await, 1, "{kind}");
    }
}
