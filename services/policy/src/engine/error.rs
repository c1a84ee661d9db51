//! What can be wrong with a bundle, and why a decision failed closed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a bundle was refused, with the place in its source when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct BundleError {
    /// What sort of fault it is; stable, for programs.
    pub kind: BundleErrorKind,
    /// The module's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The fault in words, for the author of the policy.
    pub reason: String,
}

/// The sorts of fault in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BundleErrorKind {
    /// No modules, too many, too much text, or a path that is empty, too long or given twice.
    Size,
    /// The data is not an object, too large, too deep, or claims a path that a rule defines.
    Data,
    /// A module does not parse as Rego v1 nor as v0.
    Syntax,
    /// The modules parse but cannot be compiled: an unsafe variable, an unknown function, recursion.
    Compile,
    /// No package defines `decision` or `allow`.
    NoEntryPoint,
    /// Several packages do, and none is `nexus.agent.policy`.
    AmbiguousEntryPoint,
    /// A built-in function, or a format, with which one call could exhaust memory.
    Forbidden,
}

impl BundleError {
    pub(crate) fn new(kind: BundleErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            file: None,
            line: None,
            column: None,
            reason: reason.into(),
        }
    }

    /// Reads the evaluator's own message, `\n--> FILE:LINE:COLUMN\n … \nerror: REASON`.
    pub(crate) fn parse(kind: BundleErrorKind, message: &str) -> Self {
        let Some((place, rest)) = message
            .strip_prefix("\n--> ")
            .and_then(|text| text.split_once('\n'))
        else {
            return Self::new(kind, message.trim());
        };
        let reason = rest.split_once("\nerror: ").map_or(rest, |(_, text)| text);
        let mut parts = place.rsplitn(3, ':');
        let column = parts.next().and_then(|text| text.parse().ok());
        let line = parts.next().and_then(|text| text.parse().ok());
        Self {
            kind,
            file: parts.next().map(str::to_owned),
            line,
            column,
            reason: reason.trim().to_owned(),
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() {
            f.write_str(" ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Why a decision is a denial although no rule said so. Recorded in the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum DecisionError {
    /// There is no bundle to ask.
    #[error("no policy is active")]
    NoPolicy,
    /// The bundle that is active cannot be used.
    #[error("the active bundle cannot be used: {reason}")]
    BundleUnusable {
        /// Why.
        reason: String,
    },
    /// The bundle has neither `decision` nor `allow`.
    #[error("the policy has no entry point")]
    MissingEntryPoint,
    /// The entry point has no value for this input.
    #[error("{rule} is undefined")]
    Undefined {
        /// The rule's path.
        rule: String,
    },
    /// `allow` is something else than true or false.
    #[error("{rule} is {found}, not a boolean")]
    NotBoolean {
        /// The rule's path.
        rule: String,
        /// The type that was found.
        found: String,
    },
    /// A rule's value does not have the shape of its kind.
    #[error("{rule} is malformed: {reason}")]
    Malformed {
        /// The rule's path.
        rule: String,
        /// What does not fit.
        reason: String,
    },
    /// An obligation that nobody would fulfil.
    #[error("unknown obligation `{key}`")]
    UnknownObligation {
        /// Its key.
        key: String,
    },
    /// Two bodies of one rule gave different values.
    #[error("{rule} has several values at once")]
    Conflict {
        /// The rule's path.
        rule: String,
    },
    /// The evaluation took too long.
    #[error("the policy took longer than {limit_ms} ms")]
    TimeLimit {
        /// The limit.
        limit_ms: u64,
    },
    /// The evaluation took too many steps.
    #[error("the policy took more than {limit} steps")]
    StepLimit {
        /// The limit.
        limit: u64,
    },
    /// The input is larger than the limit.
    #[error("the input is larger than {limit_bytes} bytes")]
    InputTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The input is nested deeper than the limit.
    #[error("the input is nested deeper than {limit} levels")]
    InputTooDeep {
        /// The limit.
        limit: u64,
    },
    /// The input cannot be written as JSON.
    #[error("the input cannot be read: {reason}")]
    InputInvalid {
        /// Why.
        reason: String,
    },
    /// The evaluator reported an error.
    #[error("the evaluation failed: {reason}")]
    Evaluation {
        /// Its words, which name no values of the input.
        reason: String,
    },
}
