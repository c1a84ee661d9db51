//! A run's commits as the log has them, a page at a time.

use nexus_bus::read::{self, Stored};
use nexus_bus::{Bus, ReadError, topology};
use nexus_events::{AggregateId, AggregateKind, RunId, Tenant, subject};

use crate::app::App;
use crate::runs::view::in_read_models;

/// Commits of a page: each has up to some texts of 64 KiB.
const PAGE: usize = 32;

/// Some commits of a run.
#[derive(Debug)]
pub(crate) struct HistoryPage {
    /// In order.
    pub(crate) commits: Vec<Stored>,
    /// Where the next page begins; none when there was no more.
    pub(crate) next: Option<u64>,
}

/// Where a run's commits are stored.
pub(crate) fn subject_of(tenant: &Tenant, run: RunId) -> String {
    subject::events(tenant, AggregateKind::Run, &AggregateId::from(run))
}

/// Commits of the subject from sequence `from` on. That there is no more is said by the leader of
/// the stream: another node may not have what was published to listeners already.
pub(crate) async fn page(bus: &Bus, subject: &str, from: u64) -> Result<HistoryPage, ReadError> {
    pages_of(bus, subject, from, PAGE).await
}

/// The same in pages of another length.
pub(crate) async fn pages_of(
    bus: &Bus,
    subject: &str,
    from: u64,
    limit: usize,
) -> Result<HistoryPage, ReadError> {
    let read = read::read_from(bus, topology::EVENTS, subject, from, limit).await?;
    let mut commits = read.messages;
    let after = commits.last().map_or(from, |last| last.seq + 1);
    if read.pending > 0 {
        return Ok(HistoryPage {
            commits,
            next: Some(after),
        });
    }
    let newest = read::next_decisive(bus, topology::EVENTS, subject, after).await?;
    let next = newest.as_ref().map(|newest| newest.seq + 1);
    commits.extend(newest);
    Ok(HistoryPage { commits, next })
}

/// A sequence at or before the run's first commit, as far as that can be had cheaply: without it
/// the stream is searched from its beginning.
pub(crate) async fn begin_of(app: &App, tenant: &Tenant, run: RunId) -> u64 {
    if let Some(first_seq) = app.known().first_seq(tenant, run) {
        return first_seq;
    }
    match in_read_models(app, tenant, run).await {
        Ok(Some(row)) => {
            app.known().begun(tenant, run, row.first_seq);
            row.first_seq
        }
        // Not there yet, or the database is away: the log is searched.
        Ok(None) | Err(_) => 1,
    }
}
