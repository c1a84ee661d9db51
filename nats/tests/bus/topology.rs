use nexus_bus::{Bus, TopologyConfig, TopologyError, ensure, topology};
use nexus_devstack::testing::TestNats;
use nexus_events::Command;
use serde_json::{Value, json};

use crate::support::{Stand, config, messages};

#[test]
fn the_streams_are_what_the_golden_file_says() {
    let streams = topology::streams(&TopologyConfig::default());
    let written = serde_json::to_string_pretty(&streams).unwrap() + "\n";
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bus/topology.json");
    if std::env::var_os("NEXUS_UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &written).unwrap();
    }
    assert_eq!(
        written,
        std::fs::read_to_string(golden).unwrap(),
        "NEXUS_UPDATE_GOLDEN=1 writes it anew"
    );
}

#[test]
fn every_command_has_a_place_in_the_queue() {
    for row in Command::catalogue() {
        assert!(topology::COMMAND_ROLES.contains(&row.role), "{}", row.role);
    }
}

#[tokio::test]
async fn ensuring_twice_changes_nothing_and_dead_ends_are_not_acknowledged() {
    let stand = Stand::new().await;
    ensure(&stand.bus, &TopologyConfig::default())
        .await
        .unwrap();
    let unknown = stand
        .bus
        .jetstream()
        .publish("nexus.acme.cmd.foo.bar", "{}".into())
        .await;
    assert!(
        unknown.unwrap().await.is_err(),
        "a role that does not exist takes no commands"
    );
}

#[tokio::test]
async fn events_are_republished_under_log_with_their_sequence() {
    let stand = Stand::new().await;
    let mut log = stand
        .bus
        .client()
        .subscribe("nexus.acme.log.run.*")
        .await
        .unwrap();
    stand.bus.client().flush().await.unwrap();
    let publish = stand
        .bus
        .jetstream()
        .publish("nexus.acme.evt.run.ID", "x".into())
        .await;
    let seq = publish.unwrap().await.unwrap().sequence;
    let seen = futures_util::StreamExt::next(&mut log).await.unwrap();
    assert_eq!(seen.subject.as_str(), "nexus.acme.log.run.ID");
    let sequence = seen
        .headers
        .unwrap()
        .get("Nats-Sequence")
        .unwrap()
        .as_str()
        .to_owned();
    assert_eq!(sequence, seq.to_string());
}

#[tokio::test]
async fn harmless_differences_are_updated() {
    let (_server, bus) = with_stream(json!({ "duplicate_window": 5_000_000_000u64 })).await;
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let mut stream = bus.jetstream().get_stream(topology::EVENTS).await.unwrap();
    let config = &stream.info().await.unwrap().config;
    assert_eq!(config.duplicate_window.as_secs(), 120);
    assert!(config.republish.is_some());
    assert!(config.deny_delete && config.deny_purge);
    assert_eq!(messages(&bus, topology::EVENTS).await, 0);
}

#[tokio::test]
async fn differences_that_would_lose_something_are_refused() {
    let cases = [
        (json!({ "retention": "workqueue" }), "retention"),
        (json!({ "storage": "memory" }), "storage"),
        (
            json!({ "subjects": ["nexus.*.evt.>", "other.>"] }),
            "subjects",
        ),
    ];
    for (difference, field) in cases {
        let (_server, bus) = with_stream(difference).await;
        refused(&bus, &TopologyConfig::default(), field).await;
    }
    let (_server, bus) = with_stream(json!({})).await;
    let day = std::time::Duration::from_secs(24 * 3600);
    let forgetful = TopologyConfig {
        events_max_age: Some(day),
        ..TopologyConfig::default()
    };
    refused(&bus, &forgetful, "max_age").await;
}

async fn refused(bus: &Bus, config: &TopologyConfig, wanted: &str) {
    match ensure(bus, config).await {
        Err(TopologyError::Lossy {
            stream: topology::EVENTS,
            field,
            ..
        }) => {
            assert_eq!(field, wanted);
        }
        other => panic!("{wanted}: {other:?}"),
    }
}

/// A server whose event stream differs from what it must be.
async fn with_stream(difference: Value) -> (TestNats, Bus) {
    let server = TestNats::start().await.unwrap();
    let bus = Bus::connect(config(&server.url())).await.unwrap();
    let mut stream = json!({
        "name": topology::EVENTS, "subjects": ["nexus.*.evt.>"], "retention": "limits",
        "storage": "file", "num_replicas": 1, "discard": "old", "max_age": 0,
        "max_consumers": 100_000,
    });
    stream
        .as_object_mut()
        .unwrap()
        .extend(difference.as_object().unwrap().clone());
    let verb = format!("STREAM.CREATE.{}", topology::EVENTS);
    let answer: Value = bus.jetstream().request(verb, &stream).await.unwrap();
    assert_eq!(answer.get("error"), None, "{answer}");
    (server, bus)
}
