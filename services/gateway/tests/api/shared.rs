//! Listeners of the same things share what is heard and read of the bus, and each is told everything.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use nexus_bus::{Bus, BusConfig};
use nexus_events::run::{RunCancelled, RunEvent, RunSignalled};

use crate::outages::alone;
use crate::sse::{Frame, Sse};
use crate::world::{delta, local_config, record, spawn_roles};

const LISTENERS: usize = 20;
const COMMITS: usize = 10;

fn signalled(text: &str) -> RunEvent {
    RunSignalled {
        input: text.into(),
        tokens: None,
    }
    .into()
}

/// Frames up to the end of the run, without fragments.
async fn to_the_end(stream: &mut Sse) -> Vec<Frame> {
    let mut frames: Vec<Frame> = vec![];
    while (frames.last()).is_none_or(|last| last.event != "nexus.run.cancelled.v1") {
        frames.push(stream.next().await.unwrap());
    }
    frames.retain(|frame| frame.id.is_some());
    frames
}

#[tokio::test]
async fn what_many_listen_to_comes_from_the_bus_once() {
    let world = alone(local_config()).await;
    let url = world.nats.url();
    let other = Bus::connect(BusConfig::new(url, "other")).await.unwrap();
    spawn_roles(&other, world.stop.clone());
    let api = &world.api;
    let (run, _) = api.start("hello").await;
    let (of_run, of_tenant) = (format!("/v1/runs/{run}/events"), "/v1/events");
    let mut streams = vec![];
    for _ in 0..LISTENERS {
        for path in [of_run.as_str(), of_tenant] {
            let mut stream = api.stream_at(path, None).await.unwrap();
            let first = stream.next().await.unwrap();
            assert!(first.id.is_some());
            streams.push(stream);
        }
    }
    // What the gateway's own connection was sent; the others are of other connections.
    let statistics = world.bus.client().statistics();
    let received = || statistics.in_messages.load(Ordering::Relaxed);
    let before = received();
    for turn in 0..COMMITS {
        delta(&other, &api.tenant, run, 1, "x").await;
        record(&other, &api.tenant, run, vec![signalled(&turn.to_string())]).await;
    }
    let end = vec![RunCancelled { reason: None }.into()];
    record(&other, &api.tenant, run, end).await;
    let told = join_all(streams.iter_mut().map(to_the_end)).await;
    let messages = received() - before;
    for (index, one) in told.iter().enumerate() {
        // Streams of a tenant are every second one, and say what each event is of.
        let (of_run, other) = (index % 2 == 0, &told[index % 2]);
        assert_eq!(one, other, "{index} is told what the others are");
        let event = one.last().unwrap();
        assert_eq!(event.data.get("aggregate").is_none(), of_run);
    }
    let inputs = told[0]
        .iter()
        .filter_map(|one| one.data["data"]["input"].as_str());
    let expected: Vec<String> = (0..COMMITS).map(|turn| turn.to_string()).collect();
    assert_eq!(inputs.collect::<Vec<_>>(), expected);
    let each_for_itself = (LISTENERS * 2 * (COMMITS + 1)) as u64;
    assert!(
        messages < each_for_itself / 2,
        "{messages} messages came for {} listeners",
        LISTENERS * 2
    );
}
