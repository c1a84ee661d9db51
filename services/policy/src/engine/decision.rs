//! What the engine answers.

use serde::{Deserialize, Serialize};

pub use nexus_events::policy::{ApprovalRequirement, Obligations};

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
