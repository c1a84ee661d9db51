//! What a decision says when it says no, and how that reaches a caller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::{Refusal, Shortage};

/// A decision's refusal. The code is stable and part of the public contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// What was named does not exist (or belongs to another tenant, which is never told).
    #[error("{what} {id} does not exist")]
    NotFound {
        /// Kind of thing, such as `run`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// It exists, and is in a state in which this cannot be done.
    #[error("{what} {id} is {state}: it cannot {action}")]
    WrongState {
        /// Kind of thing.
        what: &'static str,
        /// Which.
        id: String,
        /// Its state now.
        state: String,
        /// What was wanted.
        action: &'static str,
    },
    /// Another run of the session is still going.
    #[error(
        "session {session} is busy with run {run}; wait for it, cancel it, or use another session"
    )]
    SessionBusy {
        /// The session.
        session: String,
        /// The run that is going.
        run: String,
    },
    /// As many runs wait in the session as may.
    #[error("{most} runs wait in session {session} already; try again when one of them has ended")]
    SessionQueueFull {
        /// The session.
        session: String,
        /// How many may.
        most: usize,
    },
    /// Whoever asks may not.
    #[error("{reason}")]
    Forbidden {
        /// Why, and who may.
        reason: String,
    },
    /// A limit leaves too little.
    #[error("{}", .0.describe())]
    BudgetExhausted(Box<Refusal>),
    /// A field does not hold what it must.
    #[error("{field}: {reason}")]
    Invalid {
        /// Path of the field in the command's body.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl DomainError {
    /// A field does not hold what it must.
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::WrongState { .. } => "wrong_state",
            Self::SessionBusy { .. } => "session_busy",
            Self::SessionQueueFull { .. } => "session_queue_full",
            Self::Forbidden { .. } => "forbidden",
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::Invalid { .. } => "invalid",
        }
    }

    /// The HTTP status that says the same (RFC 9110).
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            Self::WrongState { .. } | Self::SessionBusy { .. } => 409,
            Self::Forbidden { .. } => 403,
            Self::BudgetExhausted(_) | Self::SessionQueueFull { .. } => 429,
            Self::Invalid { .. } => 422,
        }
    }
}

/// An error as callers see it, over HTTP and on the bus: RFC 9457 with a stable `code`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable code, such as `wrong_state`.
    pub code: String,
    /// Short title of the status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// The offending field, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// With `budget_exhausted`: what is too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Box<Shortage>>,
}

impl Problem {
    /// A problem of our own making.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            field: None,
            shortage: None,
        }
    }

    /// Names the offending field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl From<&DomainError> for Problem {
    fn from(error: &DomainError) -> Self {
        let problem = Self::new(error.status(), error.code(), error.to_string());
        match error {
            DomainError::Invalid { field, .. } => problem.at(field.clone()),
            DomainError::BudgetExhausted(refusal) => Self {
                shortage: Some(Box::new(refusal.shortage.clone())),
                ..problem
            },
            _ => problem,
        }
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        406 => "Not acceptable",
        408 => "Request timeout",
        409 => "Conflict",
        413 => "Content too large",
        415 => "Unsupported media type",
        422 => "Unprocessable content",
        429 => "Too many requests",
        503 => "Service unavailable",
        504 => "Gateway timeout",
        _ => "Internal error",
    }
}
