//! A second run of a conversation in which one is going, over HTTP and real processes.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use nexus_modelserver::{Options, Reply, Rule, Script};
use serde_json::{Value, json};

use support::{Platform, until};

/// Answers what is asked slowly for a minute, and anything else at once.
fn slow_model() -> Options {
    let reply = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(600))
    };
    let rule = |word: &str, reply| Rule {
        contains: Some(word.to_owned()),
        reply,
        ..Rule::default()
    };
    let rules = vec![
        rule("briefly", Reply::text("Briefly.")),
        rule("slowly", reply),
    ];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

async fn session(platform: &Platform, on_busy: &str) -> Value {
    let (status, session) = platform
        .post("/v1/sessions", &json!({ "on_busy": on_busy }))
        .await;
    assert_eq!(status, 201, "{session}");
    session["session_id"].clone()
}

/// A run in the session of which the model has begun to speak.
async fn speaking(platform: &Platform, session: &Value) -> String {
    let before = platform.model.counters().output_tokens;
    let body = json!({ "input": "speak slowly", "session_id": session });
    let (status, run) = platform.post("/v1/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    until("the model speaks", || async {
        platform.model.counters().output_tokens > before + 3
    })
    .await;
    run["run_id"].as_str().unwrap().to_owned()
}

/// What the run records of whom it follows.
async fn follows(platform: &Platform, run_id: &str) -> Value {
    let events = platform.events(run_id).await;
    events[0]["data"]["session"]["previous"]["run_id"].clone()
}

async fn why_cancelled(platform: &Platform, run_id: &str) -> String {
    let events = platform.events(run_id).await;
    let cancelled: Vec<_> = (events.iter())
        .filter(|event| event["type"] == "nexus.run.cancelled.v1")
        .collect();
    assert_eq!(cancelled.len(), 1, "{events:?}");
    cancelled[0]["data"]["reason"].as_str().unwrap().to_owned()
}

async fn nothing_is_held(platform: &Platform) {
    until("nothing is held any more", || async {
        let (status, found) = platform.get("/v1/reservations?status=held").await;
        status == 200 && support::list(&found).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_interrupts_follows_the_one_that_it_cancelled() {
    let platform = Platform::start(slow_model()).await;
    let session = session(&platform, "interrupt").await;
    let first = speaking(&platform, &session).await;
    // The run's own word counts more than the session's.
    let refused = json!({ "input": "briefly", "session_id": session, "on_busy": "reject" });
    let (status, problem) = platform.post("/v1/runs", &refused).await;
    assert_eq!((status, &problem["code"]), (409, &json!("session_busy")));

    let body = json!({ "input": "briefly", "session_id": session });
    let (status, second) = platform.post("/v1/runs?wait=60s", &body).await;
    assert_eq!(
        (status, &second["status"]),
        (200, &json!("completed")),
        "{second}"
    );
    let second = second["id"].as_str().unwrap();
    assert_eq!(platform.ended(&first).await["status"], "cancelled");
    let why = why_cancelled(&platform, &first).await;
    assert_eq!(why, format!("interrupted by run {second}"));
    assert_eq!(follows(&platform, second).await, json!(first));
    nothing_is_held(&platform).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_rolls_back_follows_the_one_before_though_its_role_is_killed() {
    let mut platform = Platform::start(slow_model()).await;
    let session = session(&platform, "rollback").await;
    let body = json!({ "input": "briefly", "session_id": session });
    let (_, kept) = platform.post("/v1/runs?wait=60s", &body).await;
    let kept = kept["id"].as_str().unwrap().to_owned();
    let taken_back = speaking(&platform, &session).await;

    let id = uuid::Uuid::now_v7().to_string();
    let again = json!({ "input": "briefly", "session_id": session, "run_id": id });
    let http = platform.http().clone();
    let asked = http.post(platform.url("/v1/runs")).json(&again);
    let asked = tokio::spawn(asked.send());
    // As soon as the one is cancelled, whether or not the other has joined.
    until("the run is cancelled", || async {
        let (_, run) = platform.get(&format!("/v1/runs/{taken_back}")).await;
        run["status"] == "cancelled"
    })
    .await;
    platform.kill_and_restart("run");
    assert_eq!(asked.await.unwrap().unwrap().status().as_u16(), 202);
    assert_eq!(platform.ended(&id).await["status"], "completed");
    let why = why_cancelled(&platform, &taken_back).await;
    assert_eq!(why, format!("taken back for run {id}"));
    assert_eq!(follows(&platform, &id).await, json!(kept));
    // What was taken back is no part of the conversation, and is there for whoever asks.
    let path = format!("/v1/sessions/{}/messages", session.as_str().unwrap());
    let (_, said) = platform.get(&path).await;
    let of = |said: &Value, run: &str| -> usize {
        let said = support::list(said);
        said.iter().filter(|said| said["run_id"] == run).count()
    };
    assert_eq!(
        (of(&said, &kept), of(&said, &taken_back), of(&said, &id)),
        (2, 0, 2)
    );
    let (_, all) = platform.get(&format!("{path}?include=rolled_back")).await;
    assert_eq!(of(&all, &taken_back), 1, "{all}");
    let marked = (support::list(&all).iter())
        .filter(|said| said["rolled_back"] == true)
        .count();
    assert_eq!(marked, 1, "{all}");
    nothing_is_held(&platform).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_interrupt_at_once_all_begin_and_the_last_one_speaks() {
    let platform = Platform::start(slow_model()).await;
    let session = session(&platform, "interrupt").await;
    let body = json!({ "input": "speak slowly", "session_id": session });
    let sent = (0..6).map(|_| platform.post("/v1/runs", &body));
    let answers = futures_util::future::join_all(sent).await;
    let mut going = 0;
    let mut ids = vec![];
    for (status, run) in &answers {
        assert_eq!(*status, 202, "{run}");
        ids.push(run["run_id"].as_str().unwrap().to_owned());
    }
    until("all but one are cancelled", || async {
        let (_, runs) = platform.get("/v1/runs?status=cancelled").await;
        support::list(&runs).len() == ids.len() - 1
    })
    .await;
    let mut before = std::collections::BTreeSet::new();
    for id in &ids {
        let followed = follows(&platform, id).await;
        assert!(before.insert(followed.to_string()), "two follow {followed}");
        let (_, run) = platform.get(&format!("/v1/runs/{id}")).await;
        going += u32::from(run["status"] != "cancelled");
    }
    assert_eq!(going, 1);
}
