//! What the servers themselves do on this machine, for a figure to stand beside ours: messages of a
//! command's size published into a stream of their own and acknowledged, without anybody who reads;
//! rows found by their key; rows added; the log read by nobody who looks at it.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use nexus_bus::Bus;
use nexus_bus::topology::EVENTS;
use nexus_projections::Projections;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::error::BenchError;

const MESSAGES: usize = 30_000;
const BYTES: usize = 256;
const IN_FLIGHT: usize = 1_024;
/// As many messages without a stream, and their length: a fragment's.
const HEARD: usize = 200_000;
const HEARD_BYTES: usize = 48;
/// Connections that look rows up at once, and rows of a transaction that adds them.
const CONNECTIONS: usize = 16;
const BATCH: usize = 1_000;
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

/// Rows that sixteen connections to the database find by their key in a second.
///
/// # Errors
/// [`BenchError::Database`].
pub(super) async fn selects_per_second(
    projections: &Projections,
    time: Duration,
) -> Result<f64, BenchError> {
    let failed = |error: sqlx::Error| BenchError::Database(error.to_string());
    let schema = projections.schema();
    let query = format!("SELECT * FROM {schema}.agent_runs WHERE id = $1");
    let id: Uuid = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT id FROM {schema}.agent_runs LIMIT 1"
    )))
    .fetch_one(projections.pool())
    .await
    .map_err(failed)?;
    let began = Instant::now();
    let look = async |()| {
        let mut rows = 0_u64;
        while began.elapsed() < time {
            let query = sqlx::query(AssertSqlSafe(query.clone())).bind(id);
            query.fetch_one(projections.pool()).await.map_err(failed)?;
            rows += 1;
        }
        Ok::<_, BenchError>(rows)
    };
    let all = futures_util::future::try_join_all((0..CONNECTIONS).map(|_| look(()))).await?;
    Ok(all.into_iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64().max(f64::EPSILON))
}

/// Rows a second that one connection adds to a table of two indexes, a thousand a transaction: what
/// a projection cannot be faster than.
///
/// # Errors
/// [`BenchError::Database`].
pub(super) async fn rows_per_second(
    projections: &Projections,
    time: Duration,
) -> Result<f64, BenchError> {
    let failed = |error: sqlx::Error| BenchError::Database(error.to_string());
    let mut db = projections.pool().acquire().await.map_err(failed)?;
    let make = "CREATE TEMPORARY TABLE bench_rows (id uuid PRIMARY KEY, seq bigint, body text);
                CREATE INDEX ON bench_rows (seq)";
    sqlx::raw_sql(make)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let began = Instant::now();
    let mut rows = 0_u64;
    while began.elapsed() < time {
        let ids: Vec<Uuid> = (0..BATCH).map(|_| Uuid::now_v7()).collect();
        let texts = vec!["x".repeat(HEARD_BYTES); BATCH];
        let query = "INSERT INTO bench_rows SELECT id, 1, body FROM unnest($1::uuid[], $2::text[]) \
                     AS rows (id, body)";
        let query = sqlx::query(query).bind(ids).bind(texts);
        query.execute(&mut *db).await.map_err(failed)?;
        rows += BATCH as u64;
    }
    let took = began.elapsed().as_secs_f64();
    let drop = sqlx::raw_sql("DROP TABLE bench_rows")
        .execute(&mut *db)
        .await;
    drop.map_err(failed)?;
    Ok(rows as f64 / took.max(f64::EPSILON))
}

/// Messages of the event log that are read in a second, in order, and not looked at.
///
/// # Errors
/// [`BenchError::Bus`].
pub(super) async fn reads_per_second(bus: &Bus) -> Result<f64, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Bus(error.to_string());
    let stream = bus.jetstream().get_stream(EVENTS).await;
    let stream = stream.map_err(|error| failed(&error))?;
    let all = stream.cached_info().state.messages;
    let config = consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await;
    let consumer = consumer.map_err(|error| failed(&error))?;
    let messages = consumer.messages().await;
    let mut messages = messages.map_err(|error| failed(&error))?;
    let began = Instant::now();
    let read = async {
        for _ in 0..all {
            if let Some(Err(error)) = messages.next().await {
                return Err(failed(&error));
            }
        }
        Ok(())
    };
    let read = tokio::time::timeout(LIMIT, read).await;
    read.map_err(|_| BenchError::Bus("it is too slow to be measured".into()))??;
    Ok(all as f64 / began.elapsed().as_secs_f64().max(f64::EPSILON))
}
