//! What policy answers to people who ask about it: a decision that counts for nothing, and why one
//! that counted was made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApprovalRequirement, Obligations};
use crate::ids::RunId;
use crate::run::PolicyDecided;
use crate::time::Timestamp;

/// A decision on an input that somebody wrote. Nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DryDecision {
    /// It would go ahead.
    pub allowed: bool,
    /// These people would be asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequirement>,
    /// What it would have to keep to.
    #[serde(default, skip_serializing_if = "Obligations::is_empty")]
    pub obligations: Obligations,
    /// Why, for people.
    pub reasons: Vec<String>,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// Where they are: `file:line`.
    pub places: Vec<String>,
    /// What went wrong; then it is a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Digest of the bundle that was asked.
    pub bundle: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// Why a run's steps were judged as they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The run.
    pub run_id: RunId,
    /// Its judgements, in order.
    pub decisions: Vec<Explained>,
    /// There are more; ask for a turn or a call.
    pub truncated: bool,
}

/// One judgement, and the same question asked again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// Sequence of the commit that recorded it.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What was recorded.
    pub recorded: PolicyDecided,
    /// Where its rules are in the bundle: `file:line`.
    pub places: Vec<String>,
    /// What the policy was asked, as the run's log gives it; absent when it is too long to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
    /// What the same bundle says now to the same question; absent when that bundle is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<PolicyDecided>,
    /// In what the two differ, and what could not be done; empty when they agree.
    pub remarks: Vec<String>,
}
