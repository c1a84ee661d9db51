//! All webhooks of all tenants: a fold of their logs, which are short. Every process of the role has
//! all of them, since it may have to take over any.

use std::collections::HashMap;

use nexus_bus::read::{self, Stored};
use nexus_bus::{Bus, ReadError, topology};
use nexus_events::webhook::{Webhook, WebhookEvent, Webhooks};
use nexus_events::{Aggregate, AggregateKind, Commit, Position, Tenant, subject};
use tracing::error;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    tenants: HashMap<Tenant, Webhooks>,
    read_to: u64,
}

impl Directory {
    /// Takes in what was recorded since.
    ///
    /// # Errors
    /// [`ReadError`]; what was read until then is in.
    pub(crate) async fn catch_up(&mut self, bus: &Bus) -> Result<(), ReadError> {
        let all = subject::events_of_kind(AggregateKind::Webhooks);
        loop {
            let from = self.read_to + 1;
            let page = read::read_from(bus, topology::EVENTS, &all, from, read::PAGE).await?;
            for stored in &page.messages {
                self.take(stored);
            }
            if page.pending == 0 || page.messages.is_empty() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, stored: &Stored) {
        self.read_to = stored.seq;
        let Some(tenant) = subject::tenant_of(&stored.subject) else {
            return;
        };
        match Commit::<WebhookEvent>::decode(&stored.body) {
            Ok(commit) => {
                let hooks = self.tenants.entry(tenant).or_default();
                for (event, index) in commit.events.iter().zip(0..) {
                    let at = Position {
                        seq: stored.seq,
                        index,
                        time: commit.time,
                    };
                    hooks.evolve(event, at);
                }
            }
            Err(error) => {
                // A newer program changed something that this one does not know.
                error!(%tenant, seq = stored.seq, %error, "a tenant's webhooks cannot be read");
            }
        }
    }

    /// Webhooks for which something is to be delivered.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = (&Tenant, &Webhook)> {
        let all = self
            .tenants
            .iter()
            .flat_map(|(tenant, hooks)| hooks.webhooks.values().map(move |hook| (tenant, hook)));
        all.filter(|(_, hook)| hook.disabled.is_none())
    }
}
