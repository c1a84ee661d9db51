//! What runs leave behind, on the bus and in Postgres; and waiting until nothing is under way.

use std::time::{Duration, Instant};

use nexus_bus::Bus;
use nexus_bus::topology::{COMMANDS, EVENTS};

use super::error::BenchError;
use super::platform::{NATS_SERVER, Platform};
use super::traffic::{self, Traffic};

const DRAIN_LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is stored at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Commits in the event log.
    pub(crate) commits: u64,
    /// Their bytes.
    pub(crate) log_bytes: u64,
    /// Bytes of the database, with indexes.
    pub(crate) database_bytes: u64,
    /// Bytes that were ever written to the database's own log.
    pub(crate) wal_bytes: u64,
    /// Commands that were ever published.
    pub(crate) commands: u64,
    /// What the bus took in and gave out, its files included; nothing where it is not here.
    pub(crate) bus: Traffic,
    /// What all programs gave to the disk.
    pub(crate) disk_bytes: u64,
}

impl Stored {
    /// Now.
    ///
    /// # Errors
    /// [`BenchError`]: a server does not answer.
    pub(crate) async fn now(platform: &Platform) -> Result<Self, BenchError> {
        let (bus, projections) = (&platform.bus, &platform.projections);
        let log = stream(bus, EVENTS).await?;
        let commands = stream(bus, COMMANDS).await?.last_sequence;
        let traffic = traffic::by_program(&platform.processes());
        let query = "SELECT pg_database_size(current_database()), \
                     pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
        let (database, wal): (i64, i64) = sqlx::query_as(query)
            .fetch_one(projections.pool())
            .await
            .map_err(|error| BenchError::Database(error.to_string()))?;
        Ok(Self {
            commits: log.messages,
            log_bytes: log.bytes,
            database_bytes: database.unsigned_abs(),
            wal_bytes: wal.unsigned_abs(),
            commands,
            bus: traffic.get(NATS_SERVER).copied().unwrap_or_default(),
            disk_bytes: traffic.values().map(|traffic| traffic.disk).sum(),
        })
    }
}

/// Waits until no command is left and the read models have everything; says how long that took.
///
/// # Errors
/// [`BenchError::Bus`]: it does not come to rest within two minutes.
pub(crate) async fn drained(platform: &Platform) -> Result<Duration, BenchError> {
    let (bus, projections) = (&platform.bus, &platform.projections);
    let began = Instant::now();
    loop {
        let commands = stream(bus, COMMANDS).await?.messages;
        let last = stream(bus, EVENTS).await?.last_sequence;
        let applied = projections.applied_seq().await;
        let applied = applied.map_err(|error| BenchError::Database(error.to_string()))?;
        if commands == 0 && applied >= last {
            return Ok(began.elapsed());
        }
        if began.elapsed() > DRAIN_LIMIT {
            let behind = last.saturating_sub(applied);
            return Err(BenchError::Bus(format!(
                "it does not come to rest: {commands} commands wait, the read models are {behind} \
                 commits behind"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn stream(bus: &Bus, name: &str) -> Result<async_nats::jetstream::stream::State, BenchError> {
    let found = bus.jetstream().get_stream(name).await;
    let found = found.map_err(|error| BenchError::Bus(format!("stream {name}: {error}")))?;
    Ok(found.cached_info().state.clone())
}
