//! Runs that are looked up by their keys. What is asked while a statement is under way goes with the
//! next one: a caller alone is asked for at once, and a thousand cost Postgres a few statements.
//!
//! A pool for each of them was the alternative. Giving a connection back to it costs another round
//! trip, and a statement for each caller several times what its row costs. Here connections are kept
//! by whoever works through what waits. They have settings of their own: these plans fit whatever is
//! asked for, and are made once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_events::{RunId, Tenant};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use crate::query::{QueryError, WholeRun, find_runs};

/// Statements that are under way at the same time, a connection each.
const MOST_WORKERS: usize = 4;
/// Runs that one statement looks for.
const MOST_TOGETHER: usize = 64;
/// Runs that may wait to be looked up.
const MOST_WAITING: usize = 65_536;
/// A connection that is older is not used again: what stands before the database may have moved.
const MOST_AGE: Duration = Duration::from_secs(1_800);

type Found = Result<Option<WholeRun>, QueryError>;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: PgConnectOptions,
    /// How long a connection may take to be made.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Asked>,
    workers: usize,
    idle: Vec<Kept>,
}

#[derive(Debug)]
struct Asked {
    tenant: String,
    run: RunId,
    answer: oneshot::Sender<Found>,
}

#[derive(Debug)]
struct Kept {
    db: PgConnection,
    since: Instant,
}

impl Lookups {
    pub(crate) fn new(address: PgConnectOptions, patience: Duration) -> Self {
        let address = address.application_name("nexus-lookups").options([
            ("plan_cache_mode", "force_generic_plan"),
            // A plan that was made while a table was small must do when it is not.
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
        Self(Arc::new(Shared {
            address,
            patience,
            state: Mutex::default(),
        }))
    }

    /// Looks a run up.
    pub(crate) async fn ask(&self, tenant: &Tenant, run: RunId) -> Found {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            tenant: tenant.as_str().to_owned(),
            run,
            answer,
        };
        let is_more = {
            let mut state = self.0.state();
            if state.waiting.len() >= MOST_WAITING {
                return Err(sqlx::Error::PoolTimedOut.into());
            }
            state.waiting.push_back(asked);
            let is_more = state.workers < MOST_WORKERS;
            state.workers += usize::from(is_more);
            is_more
        };
        if is_more {
            tokio::spawn(work(Arc::clone(&self.0)));
        }
        // Whoever works answers everybody, unless the process ends.
        answered
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    /// Ends the connections that nobody uses.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut self.0.state().idle);
        for kept in idle {
            // The server notices by itself where it cannot be told.
            let _ = timeout(self.0.patience, kept.db.close()).await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, as much as one statement takes; none where nothing does, and one works less.
    fn take(&self, kept: &mut Option<Kept>) -> Option<Vec<Asked>> {
        let mut state = self.state();
        let most = state.waiting.len().min(MOST_TOGETHER);
        if most == 0 {
            state.workers -= 1;
            state.idle.extend(kept.take());
            return None;
        }
        Some(state.waiting.drain(..most).collect())
    }

    fn idle(&self) -> Option<Kept> {
        let mut state = self.state();
        state.idle.retain(|kept| kept.since.elapsed() < MOST_AGE);
        state.idle.pop()
    }

    async fn connect(&self) -> sqlx::Result<Kept> {
        let connect = PgConnection::connect_with(&self.address);
        let db = timeout(self.patience, connect)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        let since = Instant::now();
        Ok(Kept { db, since })
    }
}

/// Looks up what waits until nothing does.
async fn work(shared: Arc<Shared>) {
    let mut kept = None;
    loop {
        // Whoever is about to ask asks first, and goes with the same statement.
        yield_now().await;
        let Some(asked) = shared.take(&mut kept) else {
            return;
        };
        let mut batch = Batch(asked.into_iter().map(Some).collect());
        kept = match kept.take().or_else(|| shared.idle()) {
            Some(used) => match batch.run(used).await {
                Ok(kept) => Some(kept),
                // It may have been broken for long, and nobody saw.
                Err(_) => batch.run_anew(&shared).await,
            },
            None => batch.run_anew(&shared).await,
        };
    }
}

/// What one statement looks for. Whoever has an answer is gone from it.
struct Batch(Vec<Option<Asked>>);

impl Batch {
    /// By a new connection; everybody is told where that fails.
    async fn run_anew(&mut self, shared: &Shared) -> Option<Kept> {
        let ran = match shared.connect().await {
            Ok(kept) => self.run(kept).await,
            Err(error) => Err(error),
        };
        match ran {
            Ok(kept) => Some(kept),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Answers everybody, and gives the connection back. One that failed is not used again.
    async fn run(&mut self, mut kept: Kept) -> sqlx::Result<Kept> {
        // Some may have their answers already, from a connection that broke, or wait no more.
        let waits = |one: &Asked| !one.answer.is_closed();
        self.0.retain(|one| one.as_ref().is_some_and(waits));
        let tenants: Vec<String> = self.asked().map(|one| one.tenant.clone()).collect();
        let runs: Vec<_> = self.asked().map(|one| one.run.uuid()).collect();
        if runs.is_empty() {
            return Ok(kept);
        }
        find_runs(&mut kept.db, &tenants, &runs, |place, found| {
            if let Some(one) = self.0.get_mut(place).and_then(Option::take) {
                // Whoever does not wait any more does not mind.
                let _ = one.answer.send(found.map(Some));
            }
        })
        .await?;
        for one in self.0.drain(..).flatten() {
            let _ = one.answer.send(Ok(None));
        }
        Ok(kept)
    }

    fn asked(&self) -> impl Iterator<Item = &Asked> {
        self.0.iter().flatten()
    }

    fn fail(&mut self, error: sqlx::Error) {
        let error = Arc::new(error);
        for one in self.0.drain(..).flatten() {
            let shared = std::io::Error::other(Arc::clone(&error));
            let _ = one.answer.send(Err(sqlx::Error::Io(shared).into()));
        }
    }
}
