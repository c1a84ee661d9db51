//! What is sent twice is done once, what races is put in order, and a run that is cancelled while its
//! model answers is broken off, with what was generated settled. Where something races, two processes
//! of the run role share the work.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::process::Child;
use std::time::{Duration, Instant};

use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{Platform, until};

/// A model that takes a minute, word by word.
fn endless_model() -> Options {
    let reply = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(600))
    };
    let rules = vec![Rule {
        contains: Some("slowly".to_owned()),
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

/// One more process of a role, gone with the test.
struct Second(Child);

impl Second {
    fn start(platform: &Platform, role: &str) -> Self {
        Self(platform.command(&["role", role]).spawn().unwrap())
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start_with_key(platform: &Platform, key: &str, body: &Value) -> Value {
    let request = platform.http().post(platform.url("/v1/runs"));
    let answer = request
        .header("Idempotency-Key", key)
        .json(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_sent_many_times_at_once_is_one_run() {
    let platform = Platform::start(Options::default()).await;
    let _second = Second::start(&platform, "run");
    let body = json!({ "input": "hello" });
    let sent = (0..16).map(|_| start_with_key(&platform, "order-42", &body));
    let answers = futures_util::future::join_all(sent).await;
    let first = answers.first().unwrap();
    assert!(answers.iter().all(|answer| answer == first), "{answers:?}");
    let run_id = first["run_id"].as_str().unwrap();
    assert_eq!(platform.ended(run_id).await["status"], "completed");
    let again = start_with_key(&platform, "order-42", &body).await;
    assert_eq!(&again, first);
    assert_eq!(
        platform.model.counters().calls,
        1,
        "the model was called once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_runs_that_race_for_a_session_one_goes_and_the_others_are_told() {
    let platform = Platform::start(endless_model()).await;
    let _second = Second::start(&platform, "run");
    let (status, session) = platform.post("/v1/sessions", &json!({})).await;
    assert_eq!(status, 201, "{session}");
    let body = json!({ "input": "speak slowly", "session_id": session["session_id"] });
    let sent = (0..8).map(|_| platform.post("/v1/runs", &body));
    let answers = futures_util::future::join_all(sent).await;
    let accepted: Vec<_> = answers
        .iter()
        .filter(|(status, _)| *status == 202)
        .collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    for (status, body) in answers.iter().filter(|(status, _)| *status != 202) {
        assert_eq!(
            (*status, body["code"].as_str()),
            (409, Some("session_busy")),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_in_mid_answer_stops_and_is_settled() {
    let platform = Platform::start(endless_model()).await;
    let (_, run) = platform
        .post("/v1/runs", &json!({ "input": "speak slowly" }))
        .await;
    let run_id = run["run_id"].as_str().unwrap().to_owned();
    until("the model speaks", || async {
        platform.model.counters().output_tokens > 3
    })
    .await;

    let asked = Instant::now();
    let (status, body) = platform
        .post(&format!("/v1/runs/{run_id}/cancel"), &json!({}))
        .await;
    assert!((200..300).contains(&status), "{status} {body}");
    until("the provider's stream is closed", || async {
        platform.model.counters().abandoned == 1
    })
    .await;
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );

    assert_eq!(platform.ended(&run_id).await["status"], "cancelled");
    until(
        "what was generated is charged and nothing is held",
        || async {
            let (_, budget) = platform.get("/v1/budgets/tenant").await;
            let held = budget["reservations"]
                .as_array()
                .is_none_or(|held| !held.is_empty());
            let spent = budget["windows"][0]["spent"]["tokens"]
                .as_u64()
                .unwrap_or_default();
            !held && spent > 3
        },
    )
    .await;
    let kinds: Vec<Value> = platform
        .events(&run_id)
        .await
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    let aborted = kinds
        .iter()
        .filter(|kind| **kind == "nexus.run.llm-aborted.v1")
        .count();
    assert_eq!(aborted, 1, "{kinds:?}");
    // Cancelling twice is cancelling once.
    let (status, body) = platform
        .post(&format!("/v1/runs/{run_id}/cancel"), &json!({}))
        .await;
    assert!((200..300).contains(&status), "{status} {body}");
}
