//! How loading and executing fail.

use nexus_events::DomainError;
use nexus_events::aggregate::DecodeError;

use super::loaded::Break;
use crate::append::AppendError;
use crate::read::{ReadError, Stored};

/// An aggregate that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A stored commit cannot be read. The aggregate is parked: it fails until a program that can
    /// read it comes, and the others go on.
    #[error("{subject} cannot be read at sequence {seq}")]
    Corrupt {
        /// The aggregate.
        subject: String,
        /// The commit.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The stored commits do not follow each other.
    #[error("{subject} contradicts itself at sequence {seq}: it does not follow {after}")]
    Contradiction {
        /// The aggregate.
        subject: String,
        /// The commit.
        seq: u64,
        /// The one before it as far as is known; 0 for none.
        after: u64,
    },
    /// The stream does not have what the caller knows of.
    #[error("{subject} ends at sequence {found}, and {at_least} was to be read")]
    Behind {
        /// The aggregate.
        subject: String,
        /// What was asked for.
        at_least: u64,
        /// The last commit that there is.
        found: u64,
    },
    /// The bus could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A command that was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The decision is no, on the aggregate's latest state.
    #[error(transparent)]
    Rejected(DomainError),
    /// The aggregate could not be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was decided could not be appended.
    #[error(transparent)]
    Append(AppendError),
    /// An event's data is not JSON.
    #[error("events for {subject} cannot be encoded")]
    Encode {
        /// The aggregate.
        subject: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Other writers were faster every time.
    #[error("{subject} moved on {tries} times while a command was decided")]
    Contended {
        /// The aggregate.
        subject: String,
        /// How often it was tried.
        tries: u32,
    },
}

impl Break {
    /// As an error at this commit, which was to follow `after`.
    pub(super) fn at(self, stored: &Stored, after: u64) -> StoreError {
        let (subject, seq) = (stored.subject.clone(), stored.seq);
        match self {
            Self::Decode(source) => StoreError::Corrupt {
                subject,
                seq,
                source,
            },
            Self::NotTheFirst | Self::Hole => StoreError::Contradiction {
                subject,
                seq,
                after,
            },
        }
    }
}
