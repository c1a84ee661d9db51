//! Event streams: nothing twice, nothing missed, from wherever a reader comes back.

use nexus_bus::Bus;
use nexus_bus::objects::Objects;
use nexus_events::run::{RunCancelled, RunEvent, RunPaused, RunResumed, RunSignalled};
use nexus_events::{Body, RunId, Tenant};
use reqwest::StatusCode;
use serde_json::json;

use crate::sse::Frame;
use crate::world::{Api, bus, delta, record};

fn signalled(text: &str) -> RunEvent {
    RunSignalled {
        input: text.into(),
        tokens: None,
    }
    .into()
}

fn paused(reason: &str) -> RunEvent {
    RunPaused {
        reason: Some(reason.to_owned()),
    }
    .into()
}

fn resumed() -> RunEvent {
    RunResumed { reason: None }.into()
}

async fn end(bus: &Bus, tenant: &Tenant, run: RunId) -> u64 {
    record(bus, tenant, run, vec![RunCancelled { reason: None }.into()]).await
}

/// A run that has ended, with commits of one, three and two events.
async fn ended(api: &Api, bus: &Bus) -> RunId {
    let (run, _) = api.start("hello").await;
    record(
        bus,
        &api.tenant,
        run,
        vec![paused("a"), resumed(), signalled("b")],
    )
    .await;
    let last = vec![signalled("c"), RunCancelled { reason: None }.into()];
    record(bus, &api.tenant, run, last).await;
    run
}

fn ids(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter_map(|frame| frame.id.clone()).collect()
}

#[tokio::test]
async fn a_run_that_has_ended_is_told_whole_and_the_stream_ends() {
    let (api, bus) = (Api::new(), bus().await);
    let run = ended(&api, &bus).await;
    let frames = api.stream(run, None, "").await.unwrap().all().await;
    let types: Vec<_> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(
        types,
        [
            "nexus.run.started.v1",
            "nexus.run.paused.v1",
            "nexus.run.resumed.v1",
            "nexus.run.signalled.v1",
            "nexus.run.signalled.v1",
            "nexus.run.cancelled.v1",
        ]
    );
    for frame in &frames {
        assert_eq!(frame.data["type"], frame.event.as_str());
        assert_eq!(frame.data["id"].as_str(), frame.id.as_deref());
    }
    assert_eq!(frames[1].data["index"], 0);
    assert_eq!(frames[1].id, Some(format!("{}.0", frames[1].data["seq"])));
    assert_eq!(frames[3].id, Some(frames[3].data["seq"].to_string()));
    assert_eq!(frames[0].data["data"]["input"], "hello");
}

#[tokio::test]
async fn a_reader_comes_back_at_any_event() {
    let (api, bus) = (Api::new(), bus().await);
    let run = ended(&api, &bus).await;
    let all = api.stream(run, None, "").await.unwrap().all().await;
    for (index, frame) in all.iter().enumerate() {
        let last = frame.id.as_deref();
        match api.stream(run, last, "").await {
            Ok(rest) => assert_eq!(rest.all().await, all[index + 1..], "after {last:?}"),
            Err(status) => {
                assert_eq!((index, status), (all.len() - 1, StatusCode::NO_CONTENT));
            }
        }
        let path = format!("/v1/runs/{run}/events?after={}", last.unwrap());
        let page = api.get(&path).await.ok(200);
        let listed: Vec<_> = page["items"].as_array().unwrap().to_vec();
        let expected: Vec<_> = all[index + 1..]
            .iter()
            .map(|frame| frame.data.clone())
            .collect();
        assert_eq!(listed, expected, "after {last:?}");
    }
    // A place that this run has no event at: whatever comes after it.
    let before = api.stream(run, Some("1"), "").await.unwrap().all().await;
    assert_eq!(before, all);
    let beyond = api.stream(run, Some("999999999"), "").await;
    assert_eq!(beyond.err(), Some(StatusCode::NO_CONTENT));
}

#[tokio::test]
async fn history_then_live_then_the_end() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let mut stream = api.stream(run, None, "").await.unwrap();
    assert_eq!(stream.next().await.unwrap().event, "nexus.run.started.v1");
    delta(&bus, &api.tenant, run, 1, "to").await;
    delta(&bus, &api.tenant, run, 1, "ken").await;
    bus.client()
        .publish(
            format!("nexus.{}.live.run.{run}", api.tenant),
            "junk".into(),
        )
        .await
        .unwrap();
    for text in ["to", "ken"] {
        let frame = stream.next().await.unwrap();
        assert_eq!((frame.event.as_str(), frame.id), ("delta", None));
        assert_eq!(
            frame.data,
            json!({ "type": "text", "turn": 1, "text": text })
        );
    }
    let seq = record(&bus, &api.tenant, run, vec![paused("a"), resumed()]).await;
    assert_eq!(stream.next().await.unwrap().id, Some(format!("{seq}.0")));
    assert_eq!(stream.next().await.unwrap().id, Some(seq.to_string()));
    let seq = end(&bus, &api.tenant, run).await;
    assert_eq!(stream.next().await.unwrap().id, Some(seq.to_string()));
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.asides[0], "retry: 1000");
}

#[tokio::test]
async fn readers_that_come_while_much_happens_get_each_event_once() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let writer = {
        let (bus, tenant) = (bus.clone(), api.tenant.clone());
        tokio::spawn(async move {
            for n in 0..100 {
                let text = n.to_string();
                record(&bus, &tenant, run, vec![signalled(&text), signalled(&text)]).await;
            }
            end(&bus, &tenant, run).await;
        })
    };
    let readers = (0..20).map(|_| async {
        let stream = api.stream(run, None, "").await.unwrap();
        ids(&stream.all().await)
    });
    let read = futures_util::future::join_all(readers).await;
    writer.await.unwrap();
    let whole = ids(&api.stream(run, None, "").await.unwrap().all().await);
    assert_eq!(whole.len(), 202);
    for ids in read {
        assert_eq!(ids, whole);
    }
}

#[tokio::test]
async fn types_are_chosen_and_silence_has_signs_of_life() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let mut stream = api
        .stream(run, None, "?types=nexus.run.cancelled.v1")
        .await
        .unwrap();
    loop {
        let block = stream.block().await.unwrap();
        if block == ": still here" {
            break;
        }
        assert_eq!(block, "retry: 1000");
    }
    delta(&bus, &api.tenant, run, 1, "unwanted").await;
    end(&bus, &api.tenant, run).await;
    let frames = stream.all().await;
    assert_eq!(frames.len(), 1);
    let page = api
        .get(&format!("/v1/runs/{run}/events?types=nexus.run.started.v1"))
        .await
        .ok(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_is_paged_through_commits() {
    let (api, bus) = (Api::new(), bus().await);
    let run = ended(&api, &bus).await;
    let all = api.stream(run, None, "").await.unwrap().all().await;
    for limit in 1..=4 {
        let mut path = format!("/v1/runs/{run}/events?limit={limit}");
        let mut listed = vec![];
        loop {
            let page = api.get(&path).await.ok(200);
            listed.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/v1/runs/{run}/events?limit={limit}&after={next}");
        }
        let expected: Vec<_> = all.iter().map(|frame| frame.data.clone()).collect();
        assert_eq!(listed, expected, "in pages of {limit}");
    }
}

#[tokio::test]
async fn what_was_recorded_after_the_end_is_told_too() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let over = end(&bus, &api.tenant, run).await;
    record(&bus, &api.tenant, run, vec![signalled("late")]).await;
    let frames = api.stream(run, None, "").await.unwrap().all().await;
    assert_eq!(frames.last().unwrap().event, "nexus.run.signalled.v1");
    let rest = api
        .stream(run, Some(&over.to_string()), "")
        .await
        .unwrap()
        .all()
        .await;
    assert_eq!(rest, frames[2..]);
}

#[tokio::test]
async fn long_texts_are_given_whole_up_to_the_limit() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let text = "x".repeat(100_000);
    let objects = Objects::new(bus.clone(), 1 << 30);
    let object = objects.put(&api.tenant, text.clone().into()).await.unwrap();
    let long = Body::Stored {
        object,
        bytes: text.len() as u64,
    };
    let huge = "y".repeat(3 << 20);
    let object = objects.put(&api.tenant, huge.clone().into()).await.unwrap();
    let huge = Body::Stored {
        object: object.clone(),
        bytes: huge.len() as u64,
    };
    let events = vec![
        RunSignalled {
            input: long,
            tokens: None,
        }
        .into(),
        RunSignalled {
            input: huge,
            tokens: None,
        }
        .into(),
    ];
    record(&bus, &api.tenant, run, events).await;
    end(&bus, &api.tenant, run).await;
    let frames = api.stream(run, None, "").await.unwrap().all().await;
    assert_eq!(frames[1].data["data"]["input"], text.as_str());
    assert_eq!(frames[2].data["data"]["input"]["object"], object.as_str());
}

#[tokio::test]
async fn there_is_no_stream_of_a_run_that_does_not_exist() {
    let api = Api::new();
    let run = RunId::new(uuid::Uuid::now_v7());
    assert_eq!(
        api.stream(run, None, "").await.err(),
        Some(StatusCode::NOT_FOUND)
    );
    assert_eq!(
        api.stream(run, Some("5"), "").await.err(),
        Some(StatusCode::NOT_FOUND)
    );
    let path = format!("/v1/runs/{run}/events");
    assert_eq!(api.get(&path).await.problem(), (404, "not_found"));
}
