//! What comes live says that there is more to read; a hint that is lost costs some seconds. One
//! subscription a tenant, whatever webhooks it has.

use std::collections::HashMap;

use futures_util::StreamExt;
use nexus_bus::Bus;
use nexus_events::{Tenant, subject};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Subscriptions of the tenants for which this process delivers.
#[derive(Debug)]
pub(crate) struct Hints {
    bus: Bus,
    tenants: HashMap<Tenant, Listening>,
}

#[derive(Debug)]
struct Listening {
    newest: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Hints {
    pub(crate) fn new(bus: Bus) -> Self {
        Self {
            bus,
            tenants: HashMap::new(),
        }
    }

    /// The newest sequence of a tenant that was heard of.
    pub(crate) fn of(&mut self, tenant: &Tenant) -> watch::Receiver<u64> {
        let bus = &self.bus;
        let listening = self.tenants.entry(tenant.clone()).or_insert_with(|| {
            let (say, newest) = watch::channel(0);
            let task = tokio::spawn(listen(bus.clone(), subject::log_of_tenant(tenant), say));
            Listening { newest, task }
        });
        listening.newest.clone()
    }

    /// Leaves tenants for whom nothing is delivered here.
    pub(crate) fn keep(&mut self, needed: impl Fn(&Tenant) -> bool) {
        self.tenants.retain(|tenant, listening| {
            let keep = needed(tenant);
            if !keep {
                listening.task.abort();
            }
            keep
        });
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.tenants
            .values()
            .for_each(|listening| listening.task.abort());
    }
}

async fn listen(bus: Bus, subject: String, say: watch::Sender<u64>) {
    let mut log = match bus.client().subscribe(subject).await {
        Ok(log) => log,
        Err(error) => {
            tracing::warn!(%error, "what is recorded is not heard of, and looked for instead");
            return std::future::pending().await;
        }
    };
    while let Some(message) = log.next().await {
        let headers = message.headers.as_ref();
        let seq = headers.and_then(|all| all.get("Nats-Sequence")?.as_str().parse::<u64>().ok());
        if let Some(seq) = seq {
            say.send_if_modified(|newest| {
                let newer = seq > *newest;
                *newest = seq.max(*newest);
                newer
            });
        }
    }
    // Whoever waits for hints must not take the end of them for one.
    std::future::pending().await
}
