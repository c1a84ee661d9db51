//! Text in events: short ones inline, long ones by reference to the content-addressed object store,
//! so that no commit grows beyond what the bus moves cheaply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longer texts go to the object store.
pub const INLINE_LIMIT_BYTES: usize = 64 * 1024;

/// A text, or where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Body {
    /// The text itself.
    Inline(String),
    /// A text in the object store.
    Stored {
        /// Its content address, `sha256:<hex>`.
        object: String,
        /// Its length.
        bytes: u64,
    },
}

impl Body {
    /// The text's length in bytes.
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Inline(text) => text.len() as u64,
            Self::Stored { bytes, .. } => *bytes,
        }
    }

    /// The text, where it is inline.
    pub fn inline(&self) -> Option<&str> {
        match self {
            Self::Inline(text) => Some(text),
            Self::Stored { .. } => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Inline(String::new())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Inline(text)
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::Inline(text.to_owned())
    }
}
