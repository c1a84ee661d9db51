//! What the bus itself does on this machine, for a figure to stand beside ours: messages of a
//! command's size published into a stream of their own, acknowledged, without anybody who reads.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use nexus_bus::Bus;
use uuid::Uuid;

use super::error::BenchError;

const MESSAGES: usize = 30_000;
const BYTES: usize = 256;
const IN_FLIGHT: usize = 1_024;
/// As many messages without a stream, and their length: a fragment's.
const HEARD: usize = 200_000;
const HEARD_BYTES: usize = 48;
const LIMIT: Duration = Duration::from_secs(60);

/// Acknowledged publishes a second, 1,024 in flight, 256 bytes each.
///
/// # Errors
/// [`BenchError::Bus`].
pub(super) async fn publishes_per_second(bus: &Bus) -> Result<f64, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Bus(error.to_string());
    let jetstream = jetstream::new(bus.client().clone());
    let name = format!("NEXUS_BENCH_{}", Uuid::now_v7().simple());
    let config = stream::Config {
        name: name.clone(),
        subjects: vec![name.clone()],
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    let created = jetstream.create_stream(config).await;
    created.map_err(|error| failed(&error))?;
    let publish = |_| {
        let (jetstream, subject) = (jetstream.clone(), name.clone());
        async move {
            let sent = jetstream.publish(subject, vec![b'x'; BYTES].into()).await;
            let stored = match sent {
                Ok(stored) => stored.await,
                Err(error) => Err(error),
            };
            stored.map(drop).map_err(|error| error.to_string())
        }
    };
    let began = Instant::now();
    let all = futures_util::stream::iter(0..MESSAGES)
        .map(publish)
        .buffer_unordered(IN_FLIGHT)
        .collect::<Vec<Result<(), String>>>();
    let outcome = tokio::time::timeout(LIMIT, all).await;
    let took = began.elapsed();
    // The stream is gone, whatever became of the measurement.
    let deleted = jetstream.delete_stream(&name).await;
    let outcome = outcome.map_err(|_| BenchError::Bus("it is too slow to be measured".into()))?;
    outcome
        .into_iter()
        .collect::<Result<Vec<()>, String>>()
        .map_err(BenchError::Bus)?;
    deleted.map_err(|error| failed(&error))?;
    Ok(MESSAGES as f64 / took.as_secs_f64().max(f64::EPSILON))
}

/// Messages a second that one client publishes and hears, without any stream.
///
/// # Errors
/// [`BenchError::Bus`].
pub(super) async fn heard_per_second(bus: &Bus) -> Result<f64, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Bus(error.to_string());
    let client = bus.client();
    let subject = client.new_inbox();
    let messages = client.subscribe(subject.clone()).await;
    let mut messages = messages.map_err(|error| failed(&error))?;
    let began = Instant::now();
    let hear = async {
        for _ in 0..HEARD {
            messages.next().await;
        }
    };
    let publish = async {
        for _ in 0..HEARD {
            let body = vec![b'x'; HEARD_BYTES].into();
            let sent = client.publish(subject.clone(), body).await;
            sent.map_err(|error| failed(&error))?;
        }
        client.flush().await.map_err(|error| failed(&error))
    };
    let both = tokio::time::timeout(LIMIT, async { tokio::join!(publish, hear) }).await;
    let (published, ()) = both.map_err(|_| BenchError::Bus("messages were lost".into()))?;
    published?;
    Ok(HEARD as f64 / began.elapsed().as_secs_f64().max(f64::EPSILON))
}
