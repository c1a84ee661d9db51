//! Commands on webhooks. A secret never travels on the bus: whoever creates or rotates brings the id
//! that it derives from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{WebhookCreated, WebhookSpec};
use crate::ids::WebhookId;

/// `webhook.create`: deliver events from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CreateWebhook(pub WebhookCreated);

/// `webhook.update`: deliver somewhere else, or other events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// All that it is from now on.
    pub spec: WebhookSpec,
}

/// `webhook.rotate`: give it another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// What the new secret derives from.
    pub secret_id: Uuid,
    /// For how long messages are signed with the one before too, at most a week.
    #[serde(default)]
    pub grace_ms: u64,
}

/// `webhook.enable`: go on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
}

/// `webhook.disable`: deliver nothing until it is enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `webhook.rewind`: begin again at an earlier place, or try at once what waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewindWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The first sequence that is delivered again; where it stands if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
}

/// `webhook.delete`: be done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
}

/// `webhook.test`: deliver a message of no meaning, once, and say what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
}
