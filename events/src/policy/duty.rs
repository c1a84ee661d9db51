//! What a policy may ask for beside yes and no: that people agree first, and what whoever goes ahead
//! must keep to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::content::ContentDuty;
use crate::tool::Permissions;

/// Who must agree, and for how long the question stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequirement {
    /// Roles of which an approver must have one. `admin` unless the policy says otherwise.
    #[serde(default = "default_roles")]
    pub roles: Vec<String>,
    /// How many different people.
    #[serde(default = "default_count")]
    pub count: u32,
    /// Seconds until the question expires.
    #[serde(default = "default_expires_seconds")]
    pub expires_seconds: u64,
    /// Seconds after which further roles may answer too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_seconds: Option<u64>,
    /// Those roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate_to: Vec<String>,
}

impl Default for ApprovalRequirement {
    fn default() -> Self {
        Self {
            roles: default_roles(),
            count: default_count(),
            expires_seconds: default_expires_seconds(),
            escalate_seconds: None,
            escalate_to: vec![],
        }
    }
}

fn default_roles() -> Vec<String> {
    vec!["admin".to_owned()]
}

fn default_count() -> u32 {
    1
}

fn default_expires_seconds() -> u64 {
    3600
}

/// Conditions on what was allowed. A key that is not here denies: nobody would fulfil it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Obligations {
    /// Tokens that one model call may produce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Cost of the call, in millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd_micros: Option<u64>,
    /// Time for the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The model to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Names of fields that are left out. Asked of a tool call: of the arguments that the tool gets,
    /// and of the result. Asked of a model call or of a run: of the arguments that the model writes,
    /// before anything records them, so that the tool does not get them either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
    /// What the tool may touch at most, within what its own document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What the content filter does with what goes to the model and comes from it, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<ContentDuty>,
    /// What becomes of secrets in a tool's result, where this is stricter than what the installation
    /// does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretsDuty>,
    /// What becomes of a tool call that is left in doubt; without it, people are waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_doubt: Option<OnDoubt>,
}

/// What becomes of secrets in a tool's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretsDuty {
    /// They are left out.
    Redact,
    /// The result is refused.
    Refuse,
}

/// What policy says of a call that may have taken effect. It cannot say what the result was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDoubt {
    /// It counts as failed: the model is told so.
    Failed,
    /// It is tried again with the same idempotency key, as often as an idempotent call would be.
    Retry,
}

impl Obligations {
    /// Every key that a policy may use.
    pub const KEYS: [&str; 9] = [
        "max_tokens",
        "max_cost_usd_micros",
        "timeout_ms",
        "model",
        "redact",
        "permissions",
        "secrets",
        "on_doubt",
        "filter",
    ];

    /// Whether there is nothing to keep to.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
