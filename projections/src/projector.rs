//! The projector: applies the log to the tables for as long as the process lives. Of several
//! processes one is at work, the others stand by: two writers would only wait for one another.
//!
//! It never skips. What cannot be read or written parks it before that commit, says so in the log
//! and in a metric, and is tried again from time to time: a newer program or a repaired database
//! goes on where it stopped.

mod role;

use std::time::{Duration, Instant};

use async_nats::jetstream;
use nexus_events::Timestamp;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Projections;
use crate::batch::Batch;
use crate::gather::{Gatherer, Limits, Stop, Stretch, Word};
use crate::metrics::ProjectorMetrics;
use crate::source::Feed;
use crate::store::{Store, Written};
pub use role::run_projector;

/// How the projector works.
#[derive(Clone, Debug)]
pub struct ProjectorOptions {
    /// The stream of events.
    pub stream: String,
    /// Events that a transaction takes at most (a commit is never divided).
    pub batch_events: usize,
    /// Bytes of messages that a transaction takes at most.
    pub batch_bytes: usize,
    /// How long a busy projector waits for more before it writes. An idle one does not wait.
    pub linger: Duration,
    /// How long a transaction may take.
    pub write_timeout: Duration,
    /// How often one that stands by or is parked tries again.
    pub retry_every: Duration,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self {
            stream: nexus_bus::topology::EVENTS.to_owned(),
            batch_events: 1_000,
            batch_bytes: 8 << 20,
            linger: Duration::from_millis(2),
            write_timeout: Duration::from_secs(60),
            retry_every: Duration::from_secs(10),
        }
    }
}

/// What the projector is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectorState {
    /// It looks where the tables are.
    Starting,
    /// Another process applies the log.
    Standby,
    /// It applies the log.
    Live,
    /// The bus or the database is away; it goes on by itself.
    Waiting(String),
    /// It stopped before a commit that it cannot apply.
    Parked {
        /// Sequence of that commit.
        seq: u64,
        /// Why, and what to do.
        reason: String,
    },
}

/// Applies the log to the tables.
#[derive(Debug)]
pub struct Projector {
    address: PgConnectOptions,
    schema: String,
    js: jetstream::Context,
    options: ProjectorOptions,
    metrics: ProjectorMetrics,
    applied: watch::Sender<u64>,
    state: watch::Sender<ProjectorState>,
    /// Up to this sequence commits are written one by one, to find the one that cannot be.
    alone_until: u64,
}

/// Why applying ended.
enum Ended {
    Moved,
    Database(sqlx::Error),
    Parked { seq: u64, reason: String },
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Projector {
    /// A projector for these tables. [`Self::run`] sets it to work.
    pub fn new(
        projections: &Projections,
        js: jetstream::Context,
        options: ProjectorOptions,
        metrics: ProjectorMetrics,
    ) -> Self {
        Self {
            address: projections.address.clone(),
            schema: projections.options.schema.clone(),
            js,
            options,
            metrics,
            applied: watch::Sender::new(0),
            state: watch::Sender::new(ProjectorState::Starting),
            alone_until: 0,
        }
    }

    /// Sequence that the tables have applied, as this process knows it.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// What it is doing.
    pub fn state(&self) -> watch::Receiver<ProjectorState> {
        self.state.subscribe()
    }

    /// Works until it is told to stop. What is being written then is written or taken back whole.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                ended = self.work() => {
                    let wait = self.after(ended, &mut failures);
                    let _ = tokio::time::timeout(wait, stop.cancelled()).await;
                }
            }
        }
        self.metrics.live.set(0);
    }

    /// One connection's life.
    async fn work(&mut self) -> Ended {
        let mut store = match Store::open(&self.address, &self.schema).await {
            Ok(store) => store,
            Err(error) => return error.into(),
        };
        if let Err(error) = self.stand_by(&mut store).await {
            return error.into();
        }
        self.metrics.live.set(1);
        loop {
            if let Err(error) = store.load().await {
                return error.into();
            }
            self.note(store.checkpoint());
            match self.apply(&mut store).await {
                Ended::Moved => {
                    info!("the checkpoint was moved by another hand, going on from there")
                }
                ended => return ended,
            }
        }
    }

    /// Waits until no other process applies the log. The lock goes with the connection.
    async fn stand_by(&self, store: &mut Store) -> sqlx::Result<()> {
        while !try_lock(store.db(), &self.schema).await? {
            if self.set_state(ProjectorState::Standby) {
                info!("another process applies the log, standing by");
            }
            tokio::time::sleep(self.options.retry_every.min(Duration::from_millis(500))).await;
        }
        Ok(())
    }

    async fn apply(&mut self, store: &mut Store) -> Ended {
        let feed = Feed::start(self.js.clone(), &self.options.stream, store.checkpoint());
        let limits = Limits {
            events: self.options.batch_events,
            bytes: self.options.batch_bytes,
            linger: self.options.linger,
            alone_until: self.alone_until,
            last: u64::MAX,
        };
        let mut gatherer = Gatherer::start(feed, limits);
        // One that was parked is so until something was written.
        if !matches!(*self.state.borrow(), ProjectorState::Parked { .. }) {
            self.set_state(ProjectorState::Live);
        }
        loop {
            let Stretch {
                batch,
                pending,
                stop,
            } = match gatherer.next().await {
                Some(Word::Stretch(stretch)) => *stretch,
                Some(Word::Bus(away)) => {
                    self.bus(away);
                    continue;
                }
                // The tasks ended by themselves: begin anew.
                None => return Ended::Moved,
            };
            if batch.commits() > 0 {
                match self.write(store, &batch, pending).await {
                    Ok(Written::Applied) => gatherer.written(),
                    Ok(Written::Moved) => return Ended::Moved,
                    Err(error) => return self.failed(error, &batch),
                }
            }
            if let Some(Stop { seq, reason }) = stop {
                return Ended::Parked {
                    seq: seq.max(store.checkpoint() + 1),
                    reason,
                };
            }
        }
    }

    async fn write(&self, store: &mut Store, batch: &Batch, pending: u64) -> sqlx::Result<Written> {
        let begun = Instant::now();
        let write = tokio::time::timeout(self.options.write_timeout, store.write(batch));
        let written = write.await.map_err(|_| {
            sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no answer in time",
            ))
        })??;
        if written == Written::Applied {
            self.metrics
                .write_seconds
                .observe(begun.elapsed().as_secs_f64());
            self.metrics.events.inc_by(batch.events() as u64);
            self.metrics.batches.inc();
            self.metrics.lag_commits.set(pending.cast_signed());
            self.metrics
                .lag_seconds
                .set(age(batch.last_time()).as_secs_f64());
            self.metrics.parked.set(0);
            self.set_state(ProjectorState::Live);
            self.note(batch.last_seq());
        }
        Ok(written)
    }

    /// A batch that the database refuses for what it holds is written again commit by commit, so
    /// that everything before the culprit is in the tables and the culprit is known.
    fn failed(&mut self, error: sqlx::Error, batch: &Batch) -> Ended {
        self.metrics
            .lag_seconds
            .set(age(batch.last_time()).as_secs_f64());
        if !is_permanent(&error) {
            return Ended::Database(error);
        }
        if batch.commits() > 1 {
            self.alone_until = batch.last_seq();
            return Ended::Database(error);
        }
        let reason = format!("the database refuses what it holds: {error}");
        Ended::Parked {
            seq: batch.first_seq(),
            reason,
        }
    }

    /// Says what happened; gives how long to wait before the next try.
    fn after(&self, ended: Ended, failures: &mut u32) -> Duration {
        self.metrics.live.set(0);
        match ended {
            Ended::Moved => Duration::ZERO,
            Ended::Database(reason) => {
                self.metrics.failures.inc();
                let was_live = *self.state.borrow() == ProjectorState::Live;
                *failures = if was_live { 0 } else { *failures + 1 };
                if self.set_state(ProjectorState::Waiting(format!("database: {reason}"))) {
                    warn!(error = %reason, "the read models cannot be written, trying again");
                }
                let wait = Duration::from_millis(25 << (*failures).min(7));
                wait.mul_f64(rand::random_range(0.5..=1.0))
            }
            Ended::Parked { seq, reason } => {
                self.metrics.parked.set(1);
                let parked = ProjectorState::Parked {
                    seq,
                    reason: reason.clone(),
                };
                if self.set_state(parked) {
                    error!(seq, reason, "the read models have stopped before a commit");
                }
                self.options.retry_every
            }
        }
    }

    fn bus(&self, away: Option<String>) {
        self.set_state(match away {
            Some(error) => ProjectorState::Waiting(format!("bus: {error}")),
            None => ProjectorState::Live,
        });
    }

    fn note(&self, applied: u64) {
        self.metrics.applied_seq.set(applied.cast_signed());
        self.applied.send_replace(applied);
    }

    /// True where it is news.
    fn set_state(&self, new: ProjectorState) -> bool {
        self.state.send_if_modified(|state| {
            let news = *state != new;
            *state = new;
            news
        })
    }
}

async fn try_lock(db: &mut PgConnection, schema: &str) -> sqlx::Result<bool> {
    let row = sqlx::query!(
        r#"SELECT pg_try_advisory_lock(hashtext('nexus-projector'), hashtext($1)) AS "mine!""#,
        schema
    )
    .fetch_one(db)
    .await?;
    Ok(row.mine)
}

/// True for errors that the same data meets again.
pub(crate) fn is_permanent(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let class = error
                .code()
                .and_then(|code| code.get(..2).map(str::to_owned));
            // Data, constraints, tables that are not as they should be, limits of a row.
            class.is_some_and(|class| ["22", "23", "42", "54"].contains(&class.as_str()))
        }
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_) => true,
        _ => false,
    }
}

/// How long ago.
fn age(time: Timestamp) -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = since.unwrap_or_default().as_millis();
    let now = Timestamp::from_millis(i64::try_from(now).unwrap_or(i64::MAX));
    Duration::from_millis(now.millis_since(time))
}
