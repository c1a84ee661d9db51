//! How far the read models are, for whoever waits for his own write. The projector may run in
//! another process, so that the news comes through Postgres: one connection a process listens, and
//! all waiters share it. Polling by each waiter was the alternative: a thousand waiters would be the
//! database's main load.

use std::sync::OnceLock;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::query::{QueryError, unsigned};

/// The checkpoint of all read models.
pub(crate) const CHECKPOINT: &str = "read_models";

/// Even where no news comes, the table is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows the checkpoint.
#[derive(Debug)]
pub(crate) struct Applied {
    pool: PgPool,
    channel: String,
    seq: watch::Sender<u64>,
    follower: OnceLock<AbortOnDropHandle<()>>,
}

impl Applied {
    pub(crate) fn new(pool: PgPool, schema: &str) -> Self {
        let (channel, seq) = (channel(schema), watch::Sender::new(0));
        Self {
            pool,
            channel,
            seq,
            follower: OnceLock::new(),
        }
    }

    /// Waits until `wanted` is applied.
    pub(crate) async fn wait(&self, wanted: u64, timeout: Duration) -> Result<u64, QueryError> {
        let mut seq = self.seq.subscribe();
        self.follow();
        let reached = tokio::time::timeout(timeout, seq.wait_for(|seq| *seq >= wanted));
        if let Ok(Ok(applied)) = reached.await {
            return Ok(*applied);
        }
        // The last word: the news may be what is late.
        let applied = read(&self.pool).await?;
        if applied >= wanted {
            return Ok(applied);
        }
        Err(QueryError::Lagging { applied, wanted })
    }

    /// Begins to follow with the first waiter.
    fn follow(&self) {
        self.follower.get_or_init(|| {
            let (pool, channel) = (self.pool.clone(), self.channel.clone());
            AbortOnDropHandle::new(tokio::spawn(follow(pool, channel, self.seq.clone())))
        });
    }
}

/// Where the projector of a schema tells how far it is.
pub(crate) fn channel(schema: &str) -> String {
    format!("{schema}_applied")
}

/// Sequence that is applied.
pub(crate) async fn read(pool: &PgPool) -> sqlx::Result<u64> {
    let row = sqlx::query!("SELECT seq FROM checkpoints WHERE name = $1", CHECKPOINT)
        .fetch_one(pool)
        .await?;
    Ok(unsigned(row.seq))
}

async fn follow(pool: PgPool, channel: String, seq: watch::Sender<u64>) {
    loop {
        if let Err(error) = listen(&pool, &channel, &seq).await {
            warn!(%error, "the checkpoint cannot be followed, trying again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn listen(pool: &PgPool, channel: &str, seq: &watch::Sender<u64>) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    loop {
        // A read tells the truth even where the tables went back (a restored backup).
        seq.send_replace(read(pool).await?);
        while let Ok(news) = tokio::time::timeout(LOOK_EVERY, listener.try_recv()).await {
            // None: the connection was lost and made again, and with it perhaps some news.
            let Some(news) = news? else { break };
            let applied = news.payload().parse().unwrap_or(0);
            seq.send_if_modified(|seq| {
                let further = applied > *seq;
                *seq = applied.max(*seq);
                further
            });
        }
    }
}
