//! Work that people asked for, kept apart from the decisions of runs: on threads of its own, and only
//! so much of it at a time. Whoever comes when all places are taken is told so, rather than wait in
//! the queue that runs wait in.

use nexus_bus::Failure;
use nexus_events::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How much is done at a time in one process.
#[derive(Debug)]
pub(crate) struct Places {
    answers: Semaphore,
    backtests: Semaphore,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self {
            answers: Semaphore::new(8),
            backtests: Semaphore::new(1),
        }
    }

    /// A place for a question that is answered in a moment.
    pub(crate) fn answer(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.answers
            .try_acquire()
            .map_err(|_| busy("questions to policy"))
    }

    /// A place for work of seconds.
    pub(crate) fn backtest(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.backtests.try_acquire().map_err(|_| busy("backtests"))
    }
}

fn busy(what: &str) -> Problem {
    let detail = format!("as many {what} are under way as are taken at a time; ask again");
    Problem::new(429, "busy", detail)
}

/// Does what takes long without a pause on a thread where nothing waits for it.
pub(crate) async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::retry(error.to_string()))
}
