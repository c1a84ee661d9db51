//! What a listener listens to: plain subscriptions, which cost the server next to nothing.

use std::future::pending;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use nexus_events::{AggregateId, AggregateKind, RunId, Tenant, subject};
use tokio::sync::watch;

use crate::app::App;
use crate::http::ApiError;
use crate::http::problem::internal;

/// Subscriptions to a run: what is recorded, and the deltas.
pub(crate) struct Subscribed {
    pub(crate) log: Subscriber,
    pub(crate) live: Option<Subscriber>,
    pub(crate) connects: watch::Receiver<u64>,
}

impl Subscribed {
    /// Subscribes. A read on the same connection after this one sees whatever was published before
    /// the subscription held, since the server takes both in their order.
    pub(crate) async fn to(
        app: &App,
        tenant: &Tenant,
        run: RunId,
        deltas: bool,
    ) -> Result<Self, ApiError> {
        let connects = app.connects();
        let client = app.bus().client();
        let log = subject::log(tenant, AggregateKind::Run, &AggregateId::from(run));
        let log = client
            .subscribe(log)
            .await
            .map_err(|error| internal(&error))?;
        let live = match deltas {
            true => {
                let live = client.subscribe(subject::live_run(tenant, run)).await;
                Some(live.map_err(|error| internal(&error))?)
            }
            false => None,
        };
        Ok(Self {
            log,
            live,
            connects,
        })
    }
}

/// The next delta; never where none are wanted.
pub(crate) async fn next_delta(live: &mut Option<Subscriber>) -> Option<Message> {
    match live {
        Some(live) => live.next().await,
        None => pending().await,
    }
}
