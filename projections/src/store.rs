//! Writing batches: everything that a batch changes and the checkpoint, in one transaction. The
//! checkpoint moves only from where this writer believes it to be; where it is elsewhere (another
//! projector, a rebuild that was swapped in), nothing is written and the writer looks again.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::applied::{CHECKPOINT, channel};
use crate::audit::chain::Chains;
use crate::batch::Batch;
use crate::connect::in_schema;
use crate::model::reservations::Reservations;
use crate::query::unsigned;
use crate::{partitions, text};

/// How the writer's session differs from others.
const SETTINGS: [(&str, &str); 9] = [
    // What a crash of Postgres loses is applied again from the log.
    ("synchronous_commit", "off"),
    // Every statement finds its rows by key, a batch at a time, and must go on doing so: a plan made
    // while a table was empty may scan it for ever after, at a hundred times the work. For the same
    // reason statements join by id first and compare tenants with `IS NOT DISTINCT FROM`, which no
    // index serves: for an empty table any index that begins with the tenant looks as good.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
    // A writer that hangs or is gone must not keep its lock, and with it the next one, for ever.
    ("statement_timeout", "120s"),
    ("idle_in_transaction_session_timeout", "120s"),
];

/// One writer of one schema's tables. Its connection is its own.
#[derive(Debug)]
pub(crate) struct Store {
    db: PgConnection,
    channel: String,
    checkpoint: u64,
    held: Reservations,
    chains: Chains,
    /// The first sequence that has no partition yet.
    edge: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is in the tables.
    Applied,
    /// The checkpoint is not where it was: nothing was written. Load again.
    Moved,
}

impl Store {
    /// Connects, and reads where the tables are.
    pub(crate) async fn open(address: &PgConnectOptions, schema: &str) -> sqlx::Result<Self> {
        let address = in_schema(address, schema)
            .application_name("nexus-projector")
            .options(SETTINGS);
        let db = PgConnection::connect_with(&address).await?;
        let held = Reservations::default();
        let mut store = Self {
            db,
            channel: channel(schema),
            checkpoint: 0,
            held,
            chains: Chains::default(),
            edge: 0,
        };
        store.load().await?;
        Ok(store)
    }

    /// Sequence up to which the tables are written.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// The connection, for what is not a batch.
    pub(crate) fn db(&mut self) -> &mut PgConnection {
        &mut self.db
    }

    /// Reads where the tables are, and what they hold of the ledgers.
    pub(crate) async fn load(&mut self) -> sqlx::Result<()> {
        let mut tx = self.db.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query!("SELECT seq FROM checkpoints WHERE name = $1", CHECKPOINT)
            .fetch_one(&mut *tx)
            .await?;
        self.held = Reservations::load(&mut tx).await?;
        self.chains = Chains::default();
        self.checkpoint = unsigned(row.seq);
        self.edge = partitions::edge(&mut tx).await?;
        tx.commit().await
    }

    /// Writes a batch and moves the checkpoint to its end. After an error, [`Self::load`] first:
    /// whether the commit took place is not known.
    pub(crate) async fn write(&mut self, batch: &Batch) -> sqlx::Result<Written> {
        let (from, to) = (text::seq(self.checkpoint), text::seq(batch.last_seq()));
        if batch.last_seq() >= self.edge {
            self.edge = partitions::reach(&mut self.db, batch.last_seq()).await?;
        }
        let mut tx = self.db.begin().await?;
        // First of all: a second writer waits here and then sees that it is too late.
        let moved = sqlx::query!(
            "UPDATE checkpoints SET seq = $3, updated_at = now() WHERE name = $1 AND seq = $2",
            CHECKPOINT,
            from,
            to,
        )
        .execute(&mut *tx)
        .await?;
        if moved.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(Written::Moved);
        }
        batch
            .write(&mut self.held, &mut self.chains, &mut tx)
            .await?;
        sqlx::query!("SELECT pg_notify($1, $2)", self.channel, to.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.checkpoint = batch.last_seq();
        Ok(Written::Applied)
    }
}
