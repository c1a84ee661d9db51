//! Filling new tables beside the live ones: a second schema with the same migrations, and the log
//! folded into it from sequence 1 in large batches. `rebuild` and `verify` both do so.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::batch::Batch;
use crate::connect::{ProjectionError, in_schema, migrate};
use crate::gather::{Gatherer, Limits, Stop, Stretch, Word};
use crate::retention::{self, Horizons};
use crate::source::{self, Feed};
use crate::store::{Store, Written};

/// What a transaction takes. Nobody waits for it, so that it is large.
const LIMITS: Limits = Limits {
    events: 5_000,
    bytes: 32 << 20,
    linger: Duration::ZERO,
    alone_until: 0,
    last: u64::MAX,
};

/// Tables that could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Another one is under way.
    #[error("another rebuild or verification of these tables is under way")]
    Busy,
    /// The new tables cannot be made.
    #[error("the new tables cannot be made")]
    Prepare(#[from] ProjectionError),
    /// The database is away or refuses.
    #[error("the new tables cannot be written")]
    Database(#[from] sqlx::Error),
    /// The bus is away.
    #[error("the log cannot be read")]
    Log(#[source] async_nats::Error),
    /// The log holds what cannot be read.
    #[error("the log cannot be applied beyond sequence {seq}: {reason}")]
    Unreadable {
        /// Sequence of the commit.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// Somebody else writes the new tables.
    #[error("the new tables were written by another hand")]
    Disturbed,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Sequence that is applied.
    pub seq: u64,
    /// Sequence at which the log ends now.
    pub total: u64,
    /// Events that were applied.
    pub events: u64,
    /// Events applied in a second, since the beginning.
    pub events_per_second: f64,
    /// How much longer it takes, at this rate.
    pub eta: Option<Duration>,
}

/// New tables in a schema of their own.
pub(crate) struct Filler<'a> {
    js: jetstream::Context,
    stream: String,
    store: Store,
    events: u64,
    begun: Instant,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl<'a> Filler<'a> {
    /// Makes the schema anew and empty.
    pub(crate) async fn start(
        address: &PgConnectOptions,
        schema: &str,
        js: jetstream::Context,
        stream: &str,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Result<Self, FillError> {
        let mut db = PgConnection::connect_with(address).await?;
        drop_schema(&mut db, schema).await?;
        db.close().await?;
        migrate(address, schema).await?;
        let store = Store::open(address, schema).await?;
        Ok(Self {
            js,
            stream: stream.to_owned(),
            store,
            events: 0,
            begun: Instant::now(),
            progress,
        })
    }

    /// Sequence that is applied.
    pub(crate) fn applied(&self) -> u64 {
        self.store.checkpoint()
    }

    /// How many events were applied, and how long that took.
    pub(crate) fn work(&self) -> (u64, Duration) {
        (self.events, self.begun.elapsed())
    }

    /// Applies everything that the log holds now; again and again, as it grows meanwhile, until
    /// little is left to do.
    pub(crate) async fn catch_up(&mut self) -> Result<(), FillError> {
        for _ in 0..16 {
            let end = self.end().await?;
            let missing = end.saturating_sub(self.applied());
            self.to(end).await?;
            if missing < LIMITS.events as u64 {
                break;
            }
        }
        Ok(())
    }

    /// Applies the log up to and with the sequence `last`, and nothing after it.
    pub(crate) async fn to(&mut self, last: u64) -> Result<(), FillError> {
        let last = self.end().await?.min(last);
        if last <= self.applied() {
            return Ok(());
        }
        let feed = Feed::start(self.js.clone(), &self.stream, self.applied());
        let mut gatherer = Gatherer::start(feed, Limits { last, ..LIMITS });
        while let Some(word) = gatherer.next().await {
            // A bus that is away is waited for.
            let Word::Stretch(stretch) = word else {
                continue;
            };
            let Stretch { batch, stop, .. } = *stretch;
            self.write(&batch).await?;
            gatherer.written();
            self.tell(last);
            if let Some(Stop { seq, reason }) = stop {
                let seq = seq.max(self.applied() + 1);
                return Err(FillError::Unreadable { seq, reason });
            }
        }
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), FillError> {
        if batch.commits() == 0 {
            return Ok(());
        }
        match self.store.write(batch).await? {
            Written::Applied => {
                self.events += batch.events() as u64;
                Ok(())
            }
            Written::Moved => Err(FillError::Disturbed),
        }
    }

    fn tell(&mut self, total: u64) {
        let (seq, seconds) = (
            self.applied(),
            self.begun.elapsed().as_secs_f64().max(0.001),
        );
        let left = total.saturating_sub(seq) as f64 * seconds / (seq.max(1) as f64);
        (self.progress)(Progress {
            seq,
            total,
            events: self.events,
            events_per_second: self.events as f64 / seconds,
            eta: Duration::try_from_secs_f64(left).ok(),
        });
    }

    async fn end(&self) -> Result<u64, FillError> {
        let state = source::state(&self.js, &self.stream)
            .await
            .map_err(FillError::Log)?;
        Ok(if state.messages == 0 {
            0
        } else {
            state.last_sequence
        })
    }
}

/// The connection that makes schemas, with the lock that keeps it alone. Both go together.
pub(crate) async fn lock(
    address: &PgConnectOptions,
    schema: &str,
) -> Result<PgConnection, FillError> {
    let mut db = PgConnection::connect_with(address).await?;
    let row = sqlx::query!(
        r#"SELECT pg_try_advisory_lock(hashtext('nexus-rebuild'), hashtext($1)) AS "mine!""#,
        schema
    )
    .fetch_one(&mut db)
    .await?;
    if row.mine {
        Ok(db)
    } else {
        Err(FillError::Busy)
    }
}

/// Drops a schema with everything in it. Its name was checked when it was configured.
pub(crate) async fn drop_schema(db: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(db).await?;
    Ok(())
}

/// What retention and partitioning remember of the tables themselves.
const BESIDE: [&str; 5] = [
    "checkpoints",
    "_sqlx_migrations",
    "log_partitions",
    "retention",
    "audit_archives",
];

/// The tables of a schema that hold what was projected; partitions are their table's.
pub(crate) async fn tables(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             AND c.relname <> ALL($2)
         ORDER BY 1",
    )
    .bind(schema)
    .bind(BESIDE.map(str::to_owned).to_vec())
    .fetch_all(db)
    .await
}

/// What the live tables have let go, and how far their entries are archived, for new ones that hold
/// all that the log gives.
pub(crate) async fn forget_alike(
    db: &mut PgConnection,
    address: &PgConnectOptions,
    (live, new): (&str, &str),
) -> sqlx::Result<()> {
    let archives = format!("INSERT INTO {new}.audit_archives SELECT * FROM {live}.audit_archives");
    sqlx::raw_sql(AssertSqlSafe(archives))
        .execute(&mut *db)
        .await?;
    let mut old = PgConnection::connect_with(&in_schema(address, live)).await?;
    let horizons = Horizons::read(&mut old).await?;
    old.close().await?;
    let mut db = PgConnection::connect_with(&in_schema(address, new)).await?;
    retention::follow(&mut db, &horizons).await?;
    db.close().await
}
