//! Notices that a run has ended while its model answers, so that the provider's stream is stopped
//! within a second. Short calls pay nothing: listening begins when a call has lasted a while.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use nexus_bus::{Bus, Store, process};
use nexus_events::command::RunRef;
use nexus_events::run::Run;
use nexus_events::{AggregateId, AggregateKind, Tenant, subject};
use tokio_util::sync::CancellationToken;

const LISTEN_AFTER: Duration = Duration::from_millis(150);
/// In case the listener missed a commit (a reconnect), the log is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Cancels `stop` when the run ends. Never returns otherwise; drop it with the call.
pub(crate) async fn when_run_ends(
    bus: &Bus,
    store: &Store,
    tenant: &Tenant,
    reference: RunRef,
    stop: &CancellationToken,
) -> Infallible {
    tokio::time::sleep(LISTEN_AFTER).await;
    let id = AggregateId::from(reference.run_id);
    let log = subject::log(tenant, AggregateKind::Run, &id);
    let mut commits = bus.client().subscribe(log).await.ok();
    loop {
        let first_seq = reference.first_seq;
        let ended = match process::load_latest::<Run>(store, tenant, &id, first_seq).await {
            Ok(run) => run.state.status.is_terminal(),
            Err(_) => false,
        };
        if ended {
            stop.cancel();
            return std::future::pending().await;
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
