//! Streams of a session and of a tenant; readers that move between gateways that die.

use std::collections::BTreeSet;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use nexus_bus::{Bus, BusConfig, TopologyConfig, ensure};
use nexus_devstack::testing::{TestNats, fresh_database};
use nexus_events::run::{RunCancelled, RunEvent, RunSignalled};
use nexus_events::{RunId, Tenant};
use nexus_projections::{Projections, ProjectionsOptions};
use reqwest::Method;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::sse::{Frame, Sse};
use crate::world::{Api, answer, bus, gateway, local_config, projections, record, spawn_roles};

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

/// A gateway in a runtime of its own: dropping that is as sudden as killing a process is.
struct Apart {
    api: Arc<Api>,
    stop: CancellationToken,
    runtime: Option<Runtime>,
}

impl Apart {
    fn start(nats: String, database: String, tenant: &Tenant) -> Self {
        let runtime = Runtime::new().unwrap();
        let stop = CancellationToken::new();
        let (send, receive) = mpsc::channel();
        let stopping = stop.clone();
        runtime.spawn(async move {
            let bus = Bus::connect(BusConfig::new(nats, "test")).await.unwrap();
            let projections = Projections::open(&database, ProjectionsOptions::default());
            let base = gateway(local_config(), &bus, &projections.unwrap(), stopping).await;
            send.send(base).unwrap();
            std::future::pending::<()>().await;
        });
        let base = receive.recv_timeout(Duration::from_secs(30)).unwrap();
        let mut api = Api::at(&base);
        api.tenant = tenant.clone();
        Self {
            api: Arc::new(api),
            stop,
            runtime: Some(runtime),
        }
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads until `wanted` events came, moving to the next gateway whenever a stream ends.
async fn follow(gateways: Vec<Arc<Api>>, path: &str, wanted: usize) -> Vec<String> {
    let mut ids: Vec<String> = vec![];
    for turn in 0..10_000 {
        let api = &gateways[turn % gateways.len()];
        let last = ids.last().map(String::as_str);
        let request = api
            .request(Method::GET, path)
            .header("Accept", "text/event-stream");
        let request = match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        };
        let Ok(mut response) = request.send().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut text = String::new();
        while ids.len() < wanted
            && let Ok(Some(chunk)) = response.chunk().await
        {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((block, rest)) = text.split_once("\n\n") {
                let id = block.lines().find_map(|line| line.strip_prefix("id: "));
                ids.extend(id.map(str::to_owned));
                text = rest.to_owned();
            }
        }
        if ids.len() >= wanted {
            return ids;
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_move_between_gateways_that_die_miss_nothing_and_see_nothing_twice() {
    const COMMITS: usize = 240;
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
        .await
        .unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let database = fresh_database().await.unwrap();
    drop(projections(&database).await);
    spawn_roles(&bus, CancellationToken::new());
    let tenant: Tenant = "mover".parse().unwrap();
    let start = || Apart::start(nats.url(), database.clone(), &tenant);
    let (mut killed, drained, stays) = tokio::task::block_in_place(|| (start(), start(), start()));
    let mut runs = vec![];
    for _ in 0..3 {
        runs.push(stays.api.start("hello").await.0);
    }
    let gateways = vec![killed.api.clone(), drained.api.clone(), stays.api.clone()];
    let run_path = format!("/v1/runs/{}/events?types=nexus.run.signalled.v1", runs[0]);
    let all_path = "/v1/events?types=nexus.run.signalled.v1";
    let per_run = COMMITS / runs.len();
    let of_run = {
        let gateways = gateways.clone();
        tokio::spawn(async move { follow(gateways, &run_path, per_run).await })
    };
    let of_all = tokio::spawn(async move { follow(gateways, all_path, COMMITS).await });
    let (mut run_ids, mut all_ids) = (vec![], vec![]);
    for n in 0..COMMITS {
        if n == COMMITS / 3 {
            killed.kill();
        }
        if n == 2 * COMMITS / 3 {
            drained.stop.cancel();
        }
        let run = runs[n % runs.len()];
        let seq = record(&bus, &tenant, run, vec![signalled("x")])
            .await
            .to_string();
        if n % runs.len() == 0 {
            run_ids.push(seq.clone());
        }
        all_ids.push(seq);
    }
    assert_eq!(of_run.await.unwrap(), run_ids);
    let found = of_all.await.unwrap();
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), COMMITS);
    assert_eq!(found, all_ids);
}
