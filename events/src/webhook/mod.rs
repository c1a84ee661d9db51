//! A tenant's webhooks: where its events are delivered, which of them, and under which signature.
//! One aggregate a tenant, as for keys: they are few, and whoever delivers wants to know all of them.
//!
//! What was delivered is not here. It changes with every delivery and decides nothing, so it is a
//! document beside the log ([`progress`]) that says how far each webhook has come; on this log are
//! only what people decided, and what was given up.

mod command;
mod decide;
pub mod progress;
mod reach;
mod secret;

pub use command::{
    CreateWebhook, DeleteWebhook, DisableWebhook, EnableWebhook, RewindWebhook, RotateWebhook,
    TestWebhook, UpdateWebhook,
};
pub use decide::{
    create, delete, disable, disable_by_itself, enable, give_up, rewind, rotate, update,
};
pub use reach::{Reach, UnknownAddress};
pub use secret::{SigningKey, SigningKeyError, WebhookSecret, message_id};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::{Aggregate, AggregateKind, Position, events};
use crate::ids::{SessionId, WebhookId};
use crate::time::Timestamp;

/// Webhooks that a tenant may have at the same time.
pub const MOST_WEBHOOKS: usize = 50;
/// Type of the message that `webhook.test` sends. It is on no log.
pub const TEST_TYPE: &str = "nexus.webhook.test.v1";

events! {
    /// What becomes of webhooks.
    WebhookEvent {
        /// Events are delivered from here on.
        WebhookCreated(WebhookCreated) = "nexus.webhook.created.v1",
        /// Somewhere else, or other events.
        WebhookUpdated(WebhookUpdated) = "nexus.webhook.updated.v1",
        /// Another secret takes its place.
        WebhookRotated(WebhookRotated) = "nexus.webhook.rotated.v1",
        /// It goes on where it stopped.
        WebhookEnabled(WebhookEnabled) = "nexus.webhook.enabled.v1",
        /// Nothing is delivered until it is enabled; nothing is forgotten.
        WebhookDisabled(WebhookDisabled) = "nexus.webhook.disabled.v1",
        /// It begins again at an earlier place, or tries at once what waits.
        WebhookRewound(WebhookRewound) = "nexus.webhook.rewound.v1",
        /// It is no more.
        WebhookDeleted(WebhookDeleted) = "nexus.webhook.deleted.v1",
        /// One event was refused for good while others were taken.
        DeliveryGivenUp(DeliveryGivenUp) = "nexus.webhook.delivery-given-up.v1",
    }
}

/// Where to, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSpec {
    /// The receiver: an `https` address without a name or password in it. It is on the log, so
    /// nothing in it should be secret.
    pub url: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Only events of these types, such as `nexus.run.completed.v1`, or `nexus.run.*` for all that
    /// begin so; every event where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Only events of runs of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only events of this session and its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
}

impl WebhookSpec {
    /// Whether events of this type are wanted. The log of webhooks itself is never delivered: a
    /// receiver that refuses everything would be told of that for ever.
    pub fn wants(&self, type_name: &str) -> bool {
        let is = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => type_name.starts_with(beginning),
            None => wanted == type_name,
        };
        !type_name.starts_with("nexus.webhook.")
            && (self.types.is_empty() || self.types.iter().any(is))
    }

    /// Whether it matters which run an event is of.
    pub fn chooses_runs(&self) -> bool {
        self.agent.is_some() || self.session_id.is_some()
    }
}

/// Events are delivered from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookCreated {
    /// Its id.
    pub webhook_id: WebhookId,
    /// Where to, and what.
    pub spec: WebhookSpec,
    /// What its secret derives from, with a key that is not on the log.
    pub secret_id: Uuid,
    /// The first sequence that is delivered; what comes after this where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
}

/// Somewhere else, or other events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookUpdated {
    /// Its id.
    pub webhook_id: WebhookId,
    /// Where to, and what, from here on.
    pub spec: WebhookSpec,
}

/// Another secret takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookRotated {
    /// Its id.
    pub webhook_id: WebhookId,
    /// What the new secret derives from.
    pub secret_id: Uuid,
    /// Until then messages are signed with the one before too.
    pub previous_until: Timestamp,
}

/// It goes on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookEnabled {
    /// Its id.
    pub webhook_id: WebhookId,
}

/// Who or what stopped a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBy {
    /// Somebody.
    Hand,
    /// The receiver answered 410.
    Gone,
    /// The receiver took nothing for as long as is tried.
    Failing,
}

/// Nothing is delivered until it is enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDisabled {
    /// Its id.
    pub webhook_id: WebhookId,
    /// Who or what.
    pub by: DisabledBy,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// It begins again at an earlier place, or tries at once what waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookRewound {
    /// Its id.
    pub webhook_id: WebhookId,
    /// The first sequence that is delivered again; where it stands if absent, without waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
}

/// It is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDeleted {
    /// Its id.
    pub webhook_id: WebhookId,
}

/// One event was refused for good while others were taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryGivenUp {
    /// Its id.
    pub webhook_id: WebhookId,
    /// Sequence of the event's commit.
    pub seq: u64,
    /// The event's place in it.
    pub index: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// The last answer.
    pub reason: String,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where to, and what.
    pub spec: WebhookSpec,
    /// What its secret derives from.
    pub secret_id: Uuid,
    /// The one before, and until when messages are signed with it too.
    pub previous: Option<(Uuid, Timestamp)>,
    /// Why it is disabled; where it is.
    pub disabled: Option<WebhookDisabled>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Sequence after which delivery began.
    pub start_after: u64,
    /// Sequence of the commit that last changed how or where it delivers.
    pub changed_seq: u64,
    /// Sequence of the commit that last rewound it to another place, and after which sequence it
    /// begins again.
    pub rewound: Option<(u64, u64)>,
    /// Events that were given up.
    pub given_up: u64,
}

/// A tenant's webhooks. Those that were deleted are forgotten; the log has them.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    /// By id.
    pub webhooks: BTreeMap<WebhookId, Webhook>,
}

impl Aggregate for Webhooks {
    const KIND: AggregateKind = AggregateKind::Webhooks;
    type Event = WebhookEvent;

    fn evolve(&mut self, event: &WebhookEvent, at: Position) {
        match event {
            WebhookEvent::WebhookCreated(created) => {
                self.webhooks.insert(created.webhook_id, begun(created, at));
            }
            WebhookEvent::WebhookUpdated(updated) => self.change(updated.webhook_id, at, |hook| {
                hook.spec = updated.spec.clone();
            }),
            WebhookEvent::WebhookRotated(rotated) => self.change(rotated.webhook_id, at, |hook| {
                let before = std::mem::replace(&mut hook.secret_id, rotated.secret_id);
                hook.previous = Some((before, rotated.previous_until));
            }),
            WebhookEvent::WebhookEnabled(enabled) => self.change(enabled.webhook_id, at, |hook| {
                hook.disabled = None;
            }),
            WebhookEvent::WebhookDisabled(disabled) => {
                self.change(disabled.webhook_id, at, |hook| {
                    hook.disabled = Some(disabled.clone());
                });
            }
            WebhookEvent::WebhookRewound(rewound) => self.change(rewound.webhook_id, at, |hook| {
                if let Some(from) = rewound.from_seq {
                    hook.rewound = Some((at.seq, from.saturating_sub(1)));
                }
            }),
            WebhookEvent::WebhookDeleted(deleted) => {
                self.webhooks.remove(&deleted.webhook_id);
            }
            // It changes nothing for whoever delivers.
            WebhookEvent::DeliveryGivenUp(given_up) => {
                if let Some(hook) = self.webhooks.get_mut(&given_up.webhook_id) {
                    hook.given_up += 1;
                }
            }
        }
    }
}

impl Webhooks {
    fn change(&mut self, id: WebhookId, at: Position, change: impl FnOnce(&mut Webhook)) {
        if let Some(hook) = self.webhooks.get_mut(&id) {
            change(hook);
            hook.changed_seq = at.seq;
        }
    }
}

fn begun(created: &WebhookCreated, at: Position) -> Webhook {
    Webhook {
        id: created.webhook_id,
        spec: created.spec.clone(),
        secret_id: created.secret_id,
        previous: None,
        disabled: None,
        created_at: at.time,
        start_after: created
            .from_seq
            .map_or(at.seq, |from| from.saturating_sub(1)),
        changed_seq: at.seq,
        rewound: None,
        given_up: 0,
    }
}

#[cfg(test)]
mod tests;
