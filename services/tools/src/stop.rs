//! Notices that a run has ended while its tool works, so that the work is broken off within a second.
//! Short calls pay nothing: listening begins when a call has lasted a while.

use std::time::Duration;

use futures_util::StreamExt;
use nexus_bus::{Bus, Store, process};
use nexus_events::command::RunRef;
use nexus_events::run::Run;
use nexus_events::{AggregateId, AggregateKind, Tenant, subject};

const LISTEN_AFTER: Duration = Duration::from_millis(150);
/// In case the listener missed a commit (a reconnect), the log is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Returns when the run has ended.
pub(crate) async fn when_run_ends(bus: &Bus, store: &Store, tenant: &Tenant, reference: RunRef) {
    tokio::time::sleep(LISTEN_AFTER).await;
    let id = AggregateId::from(reference.run_id);
    let log = subject::log(tenant, AggregateKind::Run, &id);
    let mut commits = bus.client().subscribe(log).await.ok();
    loop {
        let first_seq = reference.first_seq;
        let run = process::load_latest::<Run>(store, tenant, &id, first_seq).await;
        if run.is_ok_and(|run| run.state.status.is_terminal()) {
            return;
        }
        match &mut commits {
            Some(commits) => {
                // Whatever comes, or does not, the log is looked at again.
                let _ = tokio::time::timeout(LOOK_EVERY, commits.next()).await;
            }
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
