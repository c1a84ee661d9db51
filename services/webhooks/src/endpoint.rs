//! One webhook: reads the log in its order, delivers what is wanted in as many lanes as may be under
//! way, and writes down how far it has come. What it holds in memory is bounded and can be read again.

mod lanes;
mod serving;

use std::sync::Arc;

use nexus_bus::webhooks::ProgressError;
use nexus_bus::{Bus, ExecuteError, ReadError, Store};
use nexus_events::webhook::{SigningKey, Webhook, WebhookSecret};
use nexus_events::{Tenant, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Settings;
use crate::post::Post;
use serving::Serving;

/// What all webhooks of a process are served with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) post: Post,
    pub(crate) key: SigningKey,
    pub(crate) settings: Settings,
}

/// One webhook as it is now.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) tenant: Tenant,
    pub(crate) hook: Arc<Webhook>,
    pub(crate) hints: watch::Receiver<u64>,
    pub(crate) stop: CancellationToken,
}

/// Why a webhook is not served any more, for now.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// Another process serves it, or it is another webhook now.
    #[error("told to stop")]
    Stopped,
    /// It was disabled.
    #[error("disabled: {0}")]
    Disabled(String),
    /// How far it has come cannot be read or written, or was written by somebody else.
    #[error(transparent)]
    Progress(#[from] ProgressError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was decided cannot be recorded.
    #[error(transparent)]
    Record(#[from] ExecuteError),
}

/// Serves a webhook until it is told to stop. Ends where it cannot go on; whoever is in charge then
/// begins again with what was last written.
pub(crate) async fn serve(means: Arc<Means>, assignment: Assignment) {
    let (tenant, id) = (assignment.tenant.clone(), assignment.hook.id);
    let serving = tokio::select! {
        serving = Serving::begin(means, &assignment) => serving,
        () = assignment.stop.cancelled() => return,
    };
    let ended = match serving {
        Ok(serving) => serving.run(&assignment.stop).await,
        Err(ended) => ended,
    };
    match ended {
        Ended::Stopped => {}
        Ended::Disabled(reason) => info!(%tenant, webhook = %id, reason, "webhook disabled"),
        Ended::Progress(ProgressError::Conflict { .. }) => {
            info!(%tenant, webhook = %id, "another process has delivered for this webhook");
        }
        error => warn!(%tenant, webhook = %id, %error, "a webhook cannot be served for now"),
    }
}

/// The secrets that messages are signed with now, the newest first.
pub(crate) fn secrets_of(
    key: &SigningKey,
    tenant: &Tenant,
    hook: &Webhook,
    now: Timestamp,
) -> Vec<WebhookSecret> {
    let previous = hook.previous.filter(|(_, until)| *until > now);
    let ids = [hook.secret_id]
        .into_iter()
        .chain(previous.map(|(id, _)| id));
    ids.map(|id| key.secret(tenant, hook.id, id)).collect()
}
