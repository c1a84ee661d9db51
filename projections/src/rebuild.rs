//! Rebuild: new tables are filled from sequence 1 beside the live ones, while those are read and
//! written as ever, and take their place in one transaction.
//!
//! Emptying the live tables and filling them again was the alternative: for as long as that takes,
//! nobody could read anything.

use std::time::Duration;

use async_nats::jetstream;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tracing::{info, warn};

use crate::Projections;
use crate::applied::channel;
use crate::fill::{self, FillError, Filler, Progress};
use crate::query::unsigned;

/// What a rebuild did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebuilt {
    /// Sequence that the new tables have applied.
    pub seq: u64,
    /// Events that were applied.
    pub events: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Fills new tables from the log and puts them in the place of the live ones. A projector may be at
/// work all the while: it waits for the moment of the swap, and goes on from the new checkpoint.
///
/// # Errors
/// [`FillError`]. The live tables are then as they were.
pub async fn rebuild(
    projections: &Projections,
    js: jetstream::Context,
    stream: &str,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Rebuilt, FillError> {
    let (address, live) = (&projections.address, projections.schema());
    let (new, old) = (format!("{live}_rebuild"), format!("{live}_old"));
    let mut db = fill::lock(address, live).await?;
    fill::drop_schema(&mut db, &old).await?;
    let mut filler = Filler::start(address, &new, js, stream, progress).await?;
    filler.catch_up().await?;
    fill::forget_alike(&mut db, address, (live, &new)).await?;
    analyze(&mut db, &new).await?;
    filler.catch_up().await?;
    swap(&mut db, &mut filler, live, &new, &old).await?;
    let (seq, (events, duration)) = (filler.applied(), filler.work());
    drop(filler);
    info!(
        seq,
        events,
        seconds = duration.as_secs_f64(),
        "the read models were rebuilt"
    );
    if let Err(error) = fill::drop_schema(&mut db, &old).await {
        // Somebody still reads them; the next rebuild begins with this.
        warn!(%error, schema = old, "the old tables could not be dropped");
    }
    Ok(Rebuilt {
        seq,
        events,
        duration,
    })
}

/// Puts the new tables in the live ones' place. The projector begins each transaction at the live
/// checkpoint: holding that holds the projector, and nobody who reads.
async fn swap(
    db: &mut PgConnection,
    filler: &mut Filler<'_>,
    live: &str,
    new: &str,
    old: &str,
) -> Result<(), FillError> {
    let mut tx = db.begin().await?;
    let lock = format!(
        "SET LOCAL lock_timeout = '30s';
         LOCK TABLE {live}.checkpoints IN SHARE ROW EXCLUSIVE MODE"
    );
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *tx).await?;
    let seq = format!("SELECT max(seq) FROM {live}.checkpoints");
    let seq: i64 = sqlx::query_scalar(AssertSqlSafe(seq))
        .fetch_one(&mut *tx)
        .await?;
    // What was readable stays readable: the new tables are never behind the old ones.
    filler.to(unsigned(seq)).await?;
    let rename =
        format!("ALTER SCHEMA {live} RENAME TO {old}; ALTER SCHEMA {new} RENAME TO {live}");
    sqlx::raw_sql(AssertSqlSafe(rename))
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "SELECT pg_notify($1, $2)",
        channel(live),
        filler.applied().to_string()
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// New tables have no statistics, and the first plans would be guesses.
async fn analyze(db: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    for table in fill::tables(db, schema).await? {
        sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {schema}.{table}")))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}
