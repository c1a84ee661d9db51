use std::time::{Duration, Instant};

use bytes::Bytes;
use nexus_bus::shelf::{LARGEST_BYTES, Shelf};
use nexus_bus::topology;

use crate::support::{Stand, messages, tenant};

const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const DIGEST: &str = "ab12";

#[tokio::test]
async fn a_value_is_kept_for_its_tenant_and_replaced() {
    let stand = Stand::new().await;
    let shelf = Shelf::new(stand.bus.clone());
    assert_eq!(shelf.get(&tenant(), DIGEST, PATIENCE).await, None);
    for value in ["one", "two"] {
        let value = Bytes::from(value);
        shelf
            .put(&tenant(), DIGEST, value.clone(), HOUR, PATIENCE)
            .await;
        let found = shelf.get(&tenant(), DIGEST, PATIENCE).await;
        assert_eq!(found, Some(value));
    }
    assert_eq!(messages(&stand.bus, topology::ANSWERS).await, 1);
    let other = "other".parse().unwrap();
    assert_eq!(shelf.get(&other, DIGEST, PATIENCE).await, None);
    let large = Bytes::from(vec![0; LARGEST_BYTES + 1]);
    shelf.put(&other, DIGEST, large, HOUR, PATIENCE).await;
    assert_eq!(shelf.get(&other, DIGEST, PATIENCE).await, None);
}

#[tokio::test]
async fn a_value_goes_when_its_time_is_over() {
    let stand = Stand::new().await;
    let shelf = Shelf::new(stand.bus.clone());
    let second = Duration::from_secs(1);
    shelf
        .put(&tenant(), DIGEST, "one".into(), second, PATIENCE)
        .await;
    let started = Instant::now();
    while shelf.get(&tenant(), DIGEST, PATIENCE).await.is_some() {
        assert!(started.elapsed() < PATIENCE, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_shelf_that_is_away_is_not_waited_for() {
    let stand = Stand::new().await;
    let shelf = Shelf::new(stand.bus.clone());
    let deleted = stand.bus.jetstream().delete_stream(topology::ANSWERS);
    deleted.await.unwrap();
    let patience = Duration::from_millis(20);
    let started = Instant::now();
    assert_eq!(shelf.get(&tenant(), DIGEST, patience).await, None);
    shelf
        .put(&tenant(), DIGEST, "one".into(), HOUR, patience)
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "far less than a request waits"
    );
}
