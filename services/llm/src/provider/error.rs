//! How a call fails, and what it left behind.

use std::time::Duration;

use nexus_events::model::{ToolCall, Usage};

use super::config::Secret;

/// Longest message that is taken over from a provider, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// A call that gave no whole answer.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct ProviderError {
    /// What went wrong; decides what the caller may do.
    #[source]
    pub failure: Failure,
    /// What had been generated and used until then.
    pub partial: Box<Partial>,
}

/// The kinds of failure that a caller treats differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The same call may succeed later, or elsewhere.
    #[error("the provider failed for now: {message}")]
    Transient {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
        /// The provider's words, cut to a bounded length.
        message: String,
    },
    /// The same call will fail again.
    #[error("the provider refused the call ({code}): {message}")]
    Permanent {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// The provider's error code, or `http_<status>`.
        code: String,
        /// The provider's words, cut to a bounded length.
        message: String,
    },
    /// The answer stopped before it was complete.
    #[error("the answer was cut off: {message}")]
    Truncated {
        /// How it ended.
        message: String,
    },
    /// The provider does not keep to the protocol, or exceeded a size limit.
    #[error("the provider sent something unusable: {message}")]
    Malformed {
        /// What was unusable.
        message: String,
    },
    /// The caller gave the call up.
    #[error("the call was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("the call's deadline passed")]
    DeadlineExceeded,
}

impl Failure {
    /// A stable name for logs, metrics and events.
    pub fn code(&self) -> &str {
        match self {
            Self::Transient { .. } => "provider_transient",
            Self::Permanent { code, .. } => code,
            Self::Truncated { .. } => "provider_truncated",
            Self::Malformed { .. } => "provider_malformed",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self::Transient {
            status: None,
            retry_after: None,
            message: message.into(),
        }
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed {
            message: message.into(),
        }
    }

    pub(super) fn truncated(message: impl Into<String>) -> Self {
        Self::Truncated {
            message: message.into(),
        }
    }
}

/// What a failed call generated, and what it is to be charged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Text so far, whether or not it was given to the sink.
    pub text: String,
    /// Tool calls so far. Arguments that break off are a JSON string, as with any that are no JSON.
    pub tool_calls: Vec<ToolCall>,
    /// Zero for a call that was never answered for; else as reported, or bounded from above.
    pub usage: Usage,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// The model that answered.
    pub response_model: Option<String>,
    /// From the call to the first generated fragment.
    pub time_to_first_token: Option<Duration>,
}

/// A provider's message as it may be shown and logged: without the key or anything that looks like
/// one, on one line, of bounded length.
pub(super) fn presentable(message: &str, key: Option<&Secret>) -> String {
    let message = match key.map(Secret::expose).filter(|k| !k.is_empty()) {
        Some(key) => message.replace(key, "[redacted]"),
        None => message.to_owned(),
    };
    let mut shown = String::new();
    for word in message.split_whitespace() {
        let word = if word.contains("sk-") {
            "[redacted]"
        } else {
            word
        };
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
        if shown.len() > MAX_MESSAGE_CHARS * 4 {
            break;
        }
    }
    match shown.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", shown.split_at(at).0),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_hold_no_key() {
        let key = Secret::from("topsecret".to_owned());
        let shown = presentable("bad key topsecret,\n or sk-abc123 ", Some(&key));
        assert_eq!(shown, "bad key [redacted], or [redacted]");
        let long = presentable(&"ü".repeat(5_000), None);
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
