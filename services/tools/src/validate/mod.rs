//! The one place where what goes into a tool and what comes out of it is checked. Arguments come
//! from a model, results from whoever the tool spoke to: neither is trusted.
//!
//! In: [`shape`] (size, depth, encoding), then [`schema`]. Out: the same, then [`secrets`] are left
//! out, and what tries to instruct the model is marked as data ([`untrusted`]).

pub mod schema;
mod schema_cost;
pub mod secrets;
pub mod shape;
pub mod untrusted;

use nexus_events::policy::SecretsDuty;
use serde_json::Value;

use crate::ToolError;
use schema::Schema;
use secrets::WhatFor;
use shape::Shape;

/// Of arguments, in bytes.
pub const MAX_INPUT: u64 = 1 << 20;

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRules {
    /// Of the result as JSON.
    pub max_bytes: u64,
    /// What is done where something looks like a secret.
    pub secrets: OnSecret,
    /// Whether e-mail addresses are secrets.
    pub emails: bool,
}

/// What is done where something looks like a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnSecret {
    /// It is passed on: for tools whose purpose it is.
    Keep,
    /// It is replaced by `[redacted: what it was]`.
    #[default]
    Redact,
    /// The result is refused.
    Refuse,
}

impl OnSecret {
    /// This, or what policy obliges to where that is stricter.
    #[must_use]
    pub fn at_least(self, duty: Option<SecretsDuty>) -> Self {
        self.max(match duty {
            None => Self::Keep,
            Some(SecretsDuty::Redact) => Self::Redact,
            Some(SecretsDuty::Refuse) => Self::Refuse,
        })
    }
}

/// A result that may be recorded and shown to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The result.
    pub output: Value,
    /// What kinds of secrets were left out.
    pub redacted: Vec<&'static str>,
    /// Whether it holds text that tries to instruct the model, and is wrapped for it.
    pub marked: bool,
}

/// Checks arguments before anything is done with them.
///
/// # Errors
/// [`ToolError`] `bad_arguments`, which says what is wrong and where, for the model to correct.
pub fn input(schema: &Schema, arguments: &Value) -> Result<(), ToolError> {
    let bounds = Shape::of_at_most(MAX_INPUT).without_nul();
    (bounds.check(arguments)).map_err(|fault| ToolError::arguments(fault.to_string()))?;
    (schema.check(arguments)).map_err(|fault| ToolError::arguments(fault.to_string()))
}

/// Checks a result before it is recorded.
///
/// # Errors
/// [`ToolError`] `bad_output`: too large, not of its schema, or with a secret where that is refused.
pub fn output(
    schema: Option<&Schema>,
    rules: OutputRules,
    mut output: Value,
) -> Result<Checked, ToolError> {
    let bad = |message| ToolError {
        code: "bad_output",
        message,
    };
    (Shape::of_at_most(rules.max_bytes).check(&output)).map_err(|fault| bad(fault.to_string()))?;
    if let Some(schema) = schema {
        schema
            .check(&output)
            .map_err(|fault| bad(fault.to_string()))?;
    }
    let what_for = if rules.emails {
        WhatFor::EmailsToo
    } else {
        WhatFor::Keys
    };
    let redacted = match rules.secrets {
        OnSecret::Keep => Vec::new(),
        OnSecret::Redact | OnSecret::Refuse => secrets::redact(what_for, &mut output),
    };
    if rules.secrets == OnSecret::Refuse && !redacted.is_empty() {
        let what = redacted.join(", ");
        return Err(bad(format!(
            "the result holds what looks like a secret: {what}"
        )));
    }
    let marked = untrusted::mark(&mut output);
    Ok(Checked {
        output,
        redacted,
        marked,
    })
}

#[cfg(test)]
mod tests;
