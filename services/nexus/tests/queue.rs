//! Runs that wait for their turn in a session, over HTTP and real processes.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{Platform, until};

/// Answers what is asked slowly for a minute, what is asked calmly for some seconds, and anything else
/// at once.
fn model() -> Options {
    let slowly = |words: usize, chunk_delay_ms| Reply {
        chunk_delay_ms,
        ..Reply::text("word ".repeat(words))
    };
    let rule = |word: &str, reply| Rule {
        contains: Some(word.to_owned()),
        reply,
        ..Rule::default()
    };
    let rules = vec![
        rule("briefly", Reply::text("Briefly.")),
        rule("calmly", slowly(60, 100)),
        rule("slowly", slowly(600, 100)),
    ];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

async fn session(platform: &Platform) -> Value {
    let (status, session) = platform
        .post("/v1/sessions", &json!({ "on_busy": "enqueue" }))
        .await;
    assert_eq!(status, 201, "{session}");
    session["session_id"].clone()
}

async fn started(platform: &Platform, session: &Value, input: &str) -> (String, Value) {
    let body = json!({ "input": input, "session_id": session });
    let (status, run) = platform.post("/v1/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    (run["run_id"].as_str().unwrap().to_owned(), run)
}

async fn status(platform: &Platform, run_id: &str) -> Value {
    let (_, run) = platform.get(&format!("/v1/runs/{run_id}")).await;
    run["status"].clone()
}

async fn is(platform: &Platform, run_id: &str, expected: &str) {
    until(expected, || async {
        status(platform, run_id).await == expected
    })
    .await;
}

/// Whom a run follows that has ended.
async fn follows(platform: &Platform, run_id: &str) -> Value {
    let run = platform.ended(run_id).await;
    run["previous_run_id"].clone()
}

async fn cancel(platform: &Platform, run_id: &str) {
    let (status, answer) = platform
        .post(&format!("/v1/runs/{run_id}/cancel"), &json!({}))
        .await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_wait_for_their_turn_and_have_it_in_the_order_in_which_they_came() {
    let platform = Platform::start(model()).await;
    let session = session(&platform).await;
    let (first, answer) = started(&platform, &session, "speak slowly").await;
    assert_eq!(answer.get("status"), None);
    let (second, answer) = started(&platform, &session, "second: briefly").await;
    assert_eq!(answer["status"], "queued");
    let (third, _) = started(&platform, &session, "third: briefly").await;
    let (fourth, _) = started(&platform, &session, "fourth: briefly").await;
    is(&platform, &fourth, "queued").await;
    until("the fourth is the third that waits", || async {
        let (_, run) = platform.get(&format!("/v1/runs/{fourth}")).await;
        run["queue_position"] == 3
    })
    .await;
    let (_, listed) = platform.get("/v1/runs?status=queued").await;
    assert_eq!(support::list(&listed).len(), 3, "{listed}");
    // The one in the middle gives up, and nothing of it is said.
    cancel(&platform, &third).await;
    assert_eq!(platform.ended(&third).await["status"], "cancelled");
    for refused in ["pause", "signal"] {
        let body = match refused {
            "signal" => json!({ "input": "hurry" }),
            _ => json!({}),
        };
        let path = format!("/v1/runs/{second}/{refused}");
        let (status, problem) = platform.post(&path, &body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("wrong_state")));
    }
    cancel(&platform, &first).await;
    assert_eq!(platform.ended(&second).await["status"], "completed");
    let fourth_run = platform.ended(&fourth).await;
    assert_eq!(fourth_run["status"], "completed", "{fourth_run}");
    assert_eq!(follows(&platform, &second).await, json!(first));
    assert_eq!(follows(&platform, &fourth).await, json!(second));
    let third_events = platform.events(&third).await;
    assert_eq!(third_events.len(), 2, "{third_events:?}");
    let path = format!("/v1/sessions/{}/messages", session.as_str().unwrap());
    let (_, said) = platform.get(&path).await;
    let said: Vec<_> = (support::list(&said).iter())
        .filter(|message| message["role"] == "user")
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, ["speak slowly", "second: briefly", "fourth: briefly"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_goes_on_though_its_role_is_killed_again_and_again() {
    let mut platform = Platform::start(model()).await;
    let session = session(&platform).await;
    let mut runs = vec![started(&platform, &session, "speak calmly").await.0];
    // Some are accepted while the role is being killed.
    for n in 0..5 {
        let id = uuid::Uuid::now_v7().to_string();
        let body = json!({
            "input": format!("{n}: briefly"), "session_id": session, "run_id": id,
        });
        let asked = platform.http().post(platform.url("/v1/runs")).json(&body);
        let asked = tokio::spawn(asked.send());
        until(
            "the session has heard of the run, or is about to",
            || async {
                asked.is_finished() || platform.get(&format!("/v1/runs/{id}")).await.0 < 300
            },
        )
        .await;
        platform.kill_and_restart("run");
        assert_eq!(asked.await.unwrap().unwrap().status().as_u16(), 202);
        runs.push(id);
    }
    // And it dies when a turn comes.
    for id in &runs[1..4] {
        until("its turn comes", || async {
            status(&platform, id).await != "queued"
        })
        .await;
        platform.kill_and_restart("run");
    }
    for id in &runs {
        assert_eq!(platform.ended(id).await["status"], "completed");
    }
    for pair in runs.windows(2) {
        assert_eq!(follows(&platform, &pair[1]).await, json!(pair[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_at_the_moment_at_which_others_queue_nobody_is_left() {
    let platform = Platform::start(model()).await;
    let session = session(&platform).await;
    let mut sent = vec![];
    for n in 0..24 {
        let body = json!({ "input": format!("{n}: briefly"), "session_id": session });
        let asked = platform.http().post(platform.url("/v1/runs")).json(&body);
        sent.push(tokio::spawn(asked.send()));
    }
    for asked in sent {
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 202);
        let run: Value = answer.json().await.unwrap();
        let run = platform.ended(run["run_id"].as_str().unwrap()).await;
        assert_eq!(run["status"], "completed", "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_session_ends_those_that_wait_and_too_many_may_not() {
    let platform = Platform::start(model()).await;
    let session = session(&platform).await;
    let (first, _) = started(&platform, &session, "speak slowly").await;
    let mut waiting = vec![];
    for _ in 0..64 {
        waiting.push(started(&platform, &session, "briefly").await.0);
    }
    let body = json!({ "input": "briefly", "session_id": session });
    let (status, problem) = platform.post("/v1/runs", &body).await;
    assert_eq!(
        (status, &problem["code"]),
        (429, &json!("session_queue_full"))
    );
    let path = format!("/v1/sessions/{}/close", session.as_str().unwrap());
    let (status, closed) = platform.post(&path, &json!({})).await;
    assert_eq!(status, 200, "{closed}");
    for id in waiting {
        let run = platform.ended(&id).await;
        assert_eq!(run["status"], "cancelled");
        let why = run["error_message"].as_str().unwrap();
        assert!(why.contains("closed"), "{why}");
    }
    assert_eq!(self::status(&platform, &first).await, "running");
    cancel(&platform, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_waits_for_its_turn_like_any_run() {
    let platform = Platform::start(model()).await;
    let session = session(&platform).await;
    let (first, _) = started(&platform, &session, "speak slowly").await;
    let body = json!({
        "model": "test-model", "input": "briefly", "previous_response_id": format!("resp_{first}"),
        "background": true,
    });
    let (status, response) = platform.post("/v1/responses", &body).await;
    assert_eq!(status, 200, "{response}");
    let id = response["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/responses/{id}");
    let (_, waits) = platform.get(&path).await;
    assert_eq!(waits["status"], "queued", "{waits}");
    cancel(&platform, &first).await;
    until("the response is whole", || async {
        platform.get(&path).await.1["status"] == "completed"
    })
    .await;
    let (_, whole) = platform.get(&path).await;
    assert_eq!(whole["previous_response_id"], format!("resp_{first}"));
}
