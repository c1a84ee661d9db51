//! Streams of a session and of a tenant.

use nexus_events::RunId;
use nexus_events::run::{RunCancelled, RunEvent, RunSignalled};
use reqwest::Method;
use serde_json::json;

use crate::sse::{Frame, Sse};
use crate::world::{Api, answer, bus, record};

fn signalled(text: &str) -> RunEvent {
    RunSignalled {
        input: text.into(),
        tokens: None,
    }
    .into()
}

fn cancelled() -> RunEvent {
    RunCancelled { reason: None }.into()
}

/// The next frames, as many as are wanted.
async fn take(stream: &mut Sse, count: usize) -> Vec<Frame> {
    let mut frames = vec![];
    while frames.len() < count {
        frames.push(stream.next().await.unwrap());
    }
    frames
}

#[tokio::test]
async fn a_session_is_followed_with_its_runs_from_wherever_a_reader_comes_back() {
    let (api, bus) = (Api::new(), bus().await);
    let opened = api.post("/v1/sessions", &json!({})).await.ok(201);
    let session = opened["session_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{session}/events");
    let mut stream = api.stream_at(&path, None).await.unwrap();
    let mut live = take(&mut stream, 1).await;
    // A run of another session is none of it.
    api.start("elsewhere").await;
    for round in 0..3 {
        let body = json!({ "input": format!("round {round}"), "session_id": session });
        let run = api.post("/v1/runs", &body).await.ok(202);
        let run: RunId = run["run_id"].as_str().unwrap().parse().unwrap();
        record(&bus, &api.tenant, run, vec![signalled("a"), cancelled()]).await;
        // Joined, started, signalled, cancelled.
        live.extend(take(&mut stream, 4).await);
    }
    let last = live.last().unwrap();
    assert_eq!(last.event, "nexus.run.cancelled.v1");
    assert!(last.data["aggregate"].as_str().unwrap().starts_with("run/"));
    assert_eq!(live[0].data["aggregate"], format!("session/{session}"));
    for (index, frame) in live.iter().enumerate() {
        let mut rest = api.stream_at(&path, frame.id.as_deref()).await.unwrap();
        let wanted = &live[index + 1..];
        assert_eq!(take(&mut rest, wanted.len()).await, wanted, "{frame:?}");
    }
    let only = format!("{path}?types=nexus.run.cancelled.v1");
    let mut ends = api.stream_at(&only, None).await.unwrap();
    let ends = take(&mut ends, 3).await;
    assert!(ends.iter().all(|end| end.event == "nexus.run.cancelled.v1"));

    let strange = format!("/v1/sessions/{}/events", uuid::Uuid::now_v7());
    assert_eq!(api.stream_at(&strange, None).await.err().unwrap(), 404);
    let other = Api::new();
    assert_eq!(
        other.stream_at(&path, None).await.err().unwrap(),
        404,
        "of another tenant"
    );
    assert_eq!(api.get(&path).await.problem(), (406, "not_acceptable"));
    let bad = api.request(Method::GET, &path).header("Last-Event-ID", "x");
    let bad = answer(bad.header("Accept", "text/event-stream")).await;
    assert_eq!(bad.problem(), (400, "invalid"));
}

#[tokio::test]
async fn a_run_that_opened_its_session_is_followed_in_it() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let path = format!("/v1/sessions/{run}/events");
    let mut stream = api.stream_at(&path, None).await.unwrap();
    assert_eq!(take(&mut stream, 1).await[0].event, "nexus.run.started.v1");
    record(&bus, &api.tenant, run, vec![cancelled()]).await;
    let body = json!({ "input": "again", "session_id": run });
    api.post("/v1/runs", &body).await.ok(202);
    let seen = take(&mut stream, 4).await;
    let seen: Vec<_> = seen.iter().map(|frame| frame.event.as_str()).collect();
    let joined = "nexus.session.run-attached.v1";
    assert_eq!(seen[0], "nexus.run.cancelled.v1");
    assert!(
        seen.contains(&joined) && seen.contains(&"nexus.run.started.v1"),
        "{seen:?}"
    );
}
