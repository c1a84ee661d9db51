//! Commands on webhooks.

use std::time::{Duration, Instant};

use nexus_bus::{Bus, Delivery, Failure, Handler, ReadHint, Store, process, webhooks};
use nexus_events::webhook::{self, TestWebhook, WebhookEvent, Webhooks};
use nexus_events::{AggregateId, Command, DomainError, WebhookId};
use serde_json::json;

use crate::config::Settings;
use crate::endpoint::secrets_of;
use crate::message;
use crate::post::Post;

/// Whoever waits for the outcome of a test waits no longer than this.
const TEST_LIMIT: Duration = Duration::from_secs(4);

/// The deciding half of the role.
pub struct WebhooksRole {
    bus: Bus,
    store: Store,
    settings: Settings,
    post: Result<Post, String>,
}

impl WebhooksRole {
    /// The role over a bus.
    pub fn new(store: Store, settings: Settings) -> Self {
        let post = Post::new(settings.reach.clone(), settings.timeout);
        Self {
            bus: store.bus().clone(),
            store,
            settings,
            post: post.map(|post| post.within(TEST_LIMIT)),
        }
    }

    async fn decide(
        &self,
        delivery: &Delivery,
        id: WebhookId,
        decide: impl FnMut(&Webhooks) -> Result<Vec<WebhookEvent>, DomainError>,
    ) -> Result<(), Failure> {
        let only = &AggregateId::ONLY;
        let done = process::decide::<Webhooks>(&self.store, &self.bus, delivery, only, decide);
        let done = done.await?;
        let outcome = json!({ "webhook_id": id, "seq": done.seq });
        drop(done);
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }

    async fn delete(&self, delivery: &Delivery, id: WebhookId) -> Result<(), Failure> {
        self.decide(delivery, id, |hooks| webhook::delete(hooks, id))
            .await?;
        // Nobody reads it any more; a process that still delivers notices that it is gone.
        let forgotten = webhooks::forget(&self.bus, &delivery.envelope.tenant, id).await;
        forgotten.map_err(|error| Failure::Unavailable(error.to_string()))
    }

    async fn test(&self, delivery: &Delivery, id: WebhookId) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let only = &AggregateId::ONLY;
        let hint = ReadHint::UNKNOWN;
        let hooks = process::load_latest::<Webhooks>(&self.store, tenant, only, hint.first_seq);
        let hooks = hooks.await?;
        let hook = hooks.state.webhooks.get(&id).cloned();
        let seq = hooks.seq;
        drop(hooks);
        let hook = hook.ok_or_else(|| DomainError::NotFound {
            what: "webhook",
            id: id.to_string(),
        })?;
        let key = self.settings.key.as_ref().ok_or_else(no_key)?;
        let post = self.post.as_ref().map_err(Failure::dead)?;
        let now = self.bus.now();
        let message = message::test(tenant, &hook, delivery.envelope.id.as_str(), now);
        let secrets = secrets_of(key, tenant, &hook, now);
        let started = Instant::now();
        let sent = post
            .send(&hook.spec.url, &message, &secrets, now.as_millis() / 1_000)
            .await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (status, error) = match sent {
            Ok(status) => (Some(status), None),
            Err(fault) => (fault.status, Some(fault.reason)),
        };
        let outcome = json!({
            "webhook_id": id,
            "message_id": message.id,
            "delivered": error.is_none(),
            "status": status,
            "error": error,
            "took_ms": took_ms,
            "seq": seq,
        });
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }
}

fn no_key() -> Failure {
    let reason = "there is no key that secrets derive from: set webhooks.secret_file";
    Failure::Reject(DomainError::Forbidden {
        reason: reason.to_owned(),
    })
}

impl Handler for WebhooksRole {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        let reach = &self.settings.reach;
        match delivery.command.clone() {
            Command::CreateWebhook(new) => {
                if self.settings.key.is_none() {
                    return Err(no_key());
                }
                let create = |hooks: &_| webhook::create(hooks, &new.0, reach);
                self.decide(&delivery, new.0.webhook_id, create).await
            }
            Command::UpdateWebhook(update) => {
                let (id, spec) = (update.webhook_id, &update.spec);
                let update = |hooks: &_| webhook::update(hooks, id, spec, reach);
                self.decide(&delivery, id, update).await
            }
            Command::RotateWebhook(command) => {
                let (id, secret, now) = (command.webhook_id, command.secret_id, self.bus.now());
                let rotate = |hooks: &_| webhook::rotate(hooks, id, secret, command.grace_ms, now);
                self.decide(&delivery, id, rotate).await
            }
            Command::EnableWebhook(command) => {
                let id = command.webhook_id;
                let enable = |hooks: &_| webhook::enable(hooks, id);
                self.decide(&delivery, id, enable).await
            }
            Command::DisableWebhook(command) => {
                let (id, reason) = (command.webhook_id, command.reason.as_deref());
                let disable = |hooks: &_| webhook::disable(hooks, id, reason);
                self.decide(&delivery, id, disable).await
            }
            Command::RewindWebhook(command) => {
                let (id, from_seq) = (command.webhook_id, command.from_seq);
                let rewind = |hooks: &_| webhook::rewind(hooks, id, from_seq);
                self.decide(&delivery, id, rewind).await
            }
            Command::DeleteWebhook(command) => self.delete(&delivery, command.webhook_id).await,
            Command::TestWebhook(TestWebhook { webhook_id }) => {
                self.test(&delivery, webhook_id).await
            }
            other => Err(Failure::Dead {
                reason: format!(
                    "{} is not a command of the webhooks role",
                    other.type_name()
                ),
            }),
        }
    }
}
