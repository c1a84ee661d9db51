//! The event log as it grows, read past every proxy: what people react to, and what is checked in the
//! end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::read::{self, PAGE};
use nexus_bus::{Bus, topology};
use nexus_events::run::Run;
use nexus_events::{Aggregate, RunId, Tenant};
use nexus_projections::{Facts, LogCommit};
use tokio::task::JoinHandle;

const EVERY_EVENT: &str = "nexus.*.evt.>";
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A commit, with what the checks ask beside what it says.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// Its subject.
    pub(crate) subject: String,
    /// Its body, a batch of CloudEvents.
    pub(crate) body: Vec<u8>,
    /// What was expected to be the last of its subject when it was written.
    pub(crate) follows: Option<u64>,
    /// The commit.
    pub(crate) commit: LogCommit,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Every commit, in order.
    pub(crate) log: Vec<Logged>,
    /// Those that cannot be read.
    pub(crate) unreadable: Vec<String>,
    /// The runs, folded.
    pub(crate) runs: BTreeMap<RunId, (Tenant, Run)>,
    /// Sequence of the last commit that was read.
    pub(crate) last_seq: u64,
}

impl Book {
    /// True where every one of them has ended.
    pub(crate) fn open<'a>(&self, runs: impl Iterator<Item = &'a RunId>) -> usize {
        let is_open = |id: &&RunId| {
            let run = self.runs.get(id);
            run.is_none_or(|(_, run)| !run.status.is_terminal())
        };
        runs.filter(is_open).count()
    }

    /// A line a commit: its sequence, its subject, and its events as they were recorded.
    pub(crate) fn as_lines(&self) -> String {
        let line = |logged: &Logged| {
            let (seq, subject) = (logged.commit.seq, &logged.subject);
            let events = String::from_utf8_lossy(&logged.body);
            format!("{{\"seq\":{seq},\"subject\":\"{subject}\",\"events\":{events}}}\n")
        };
        self.log.iter().map(line).collect()
    }

    fn take(&mut self, stored: &read::Stored) {
        self.last_seq = stored.seq;
        match LogCommit::decode(&stored.subject, stored.seq, &stored.body) {
            Ok(commit) => {
                self.fold(&commit);
                self.log.push(Logged {
                    subject: stored.subject.clone(),
                    body: stored.body.to_vec(),
                    follows: stored.follows(),
                    commit,
                });
            }
            Err(error) => self.unreadable.push(format!("{}: {error}", stored.seq)),
        }
    }

    fn fold(&mut self, commit: &LogCommit) {
        let Facts::Run(id, of_run) = &commit.facts else {
            return;
        };
        let entry = self.runs.entry(*id);
        let (_, run) = entry.or_insert_with(|| (commit.tenant.clone(), Run::default()));
        for event in of_run.recorded(commit.seq) {
            run.evolve(&event.event, event.at);
        }
    }
}

/// Reads on for as long as it lives.
#[derive(Debug)]
pub(crate) struct Logbook {
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Logbook {
    /// From the first commit on.
    pub(crate) fn follow(bus: Bus) -> Self {
        let book: Arc<Mutex<Book>> = Arc::default();
        let task = tokio::spawn(follow(bus, Arc::clone(&book)));
        Self { book, task }
    }

    /// What was read so far.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Logbook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(bus: Bus, book: Arc<Mutex<Book>>) {
    let mut next = 1;
    loop {
        // A bus that is away is what this is all about.
        let page = read::read_from(&bus, topology::EVENTS, EVERY_EVENT, next, PAGE).await;
        let messages = page.map(|page| page.messages).unwrap_or_default();
        if messages.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        for stored in &messages {
            next = stored.seq + 1;
            book.take(stored);
        }
    }
}
