//! What the engine answers.

use serde::{Deserialize, Serialize};

use super::error::DecisionError;

/// A decision and everything that explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What may happen.
    pub effect: Effect,
    /// In words, for people. Never empty for a denial.
    pub reasons: Vec<String>,
    /// Which rules decided: `package.rule@file:line`, or the names that the policy gave.
    pub rules: Vec<String>,
    /// What whoever goes ahead must keep to. Empty for a denial.
    #[serde(default, skip_serializing_if = "Obligations::is_empty")]
    pub obligations: Obligations,
    /// `sha256:…` of the bundle that was asked; empty if there was none.
    pub bundle_digest: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Set when the denial comes from a failure and not from a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DecisionError>,
}

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// Go ahead, within the obligations.
    Allow,
    /// Do not.
    Deny,
    /// Wait until people have agreed, then ask again with their approval in the input.
    RequireApproval(ApprovalRequirement),
}

/// Who must agree, and for how long the question stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Conditions on what was allowed. A key that is not here denies: nobody would fulfil it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Names of arguments and result fields to leave out of what is recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
}

impl Obligations {
    /// Every key that a policy may use.
    pub const KEYS: [&str; 5] = [
        "max_tokens",
        "max_cost_usd_micros",
        "timeout_ms",
        "model",
        "redact",
    ];

    /// Whether there is nothing to keep to.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Decision {
    /// The denial that stands for a failure: of the evaluation, or of having a bundle at all.
    pub fn failed(error: DecisionError, bundle_digest: &str, duration_us: u64) -> Self {
        Self {
            effect: Effect::Deny,
            reasons: vec![error.to_string()],
            rules: Vec::new(),
            obligations: Obligations::default(),
            bundle_digest: bundle_digest.to_owned(),
            duration_us,
            error: Some(error),
        }
    }

    /// Whether it may go ahead now.
    pub fn is_allow(&self) -> bool {
        self.effect == Effect::Allow
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
