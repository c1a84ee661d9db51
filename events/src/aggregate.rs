//! What every aggregate is: a fold of its events. `decide` and `react` are each aggregate's own
//! functions, since their commands differ; folding is the same for all.

use std::fmt::Debug;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::time::Timestamp;

/// The kinds of aggregate: the fourth token of an event's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateKind {
    /// One agent run.
    Run,
    /// One conversation.
    Session,
    /// A tenant's limits, reservations and spend.
    Ledger,
    /// A tenant's policy bundles.
    Policy,
    /// What one gateway refused.
    Access,
    /// A tenant's API keys.
    Keys,
    /// A tenant's own tools.
    Tools,
    /// A tenant's webhooks.
    Webhooks,
}

impl AggregateKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::Session,
        Self::Ledger,
        Self::Policy,
        Self::Access,
        Self::Keys,
        Self::Tools,
        Self::Webhooks,
    ];

    /// As a subject token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Session => "session",
            Self::Ledger => "ledger",
            Self::Policy => "policy",
            Self::Access => "access",
            Self::Keys => "key",
            Self::Tools => "tools",
            Self::Webhooks => "webhook",
        }
    }

    /// Reads the subject token.
    pub fn parse(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == token)
    }
}

/// Where and when an event was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Stream sequence of the commit that holds the event.
    pub seq: u64,
    /// The event's place in its commit, from zero.
    pub index: u32,
    /// When the commit was decided.
    pub time: Timestamp,
}

/// How an aggregate's state is kept beside the log, so that reading a long one back does not begin
/// at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSpec {
    /// What [`Aggregate::save`] writes, and what a fold makes of the events: a change of either is
    /// another version, and snapshots of any other are not read.
    pub version: u32,
    /// After how many commits a new one is made.
    pub every_commits: u64,
}

/// An aggregate's state: nothing but a fold of its events.
pub trait Aggregate: Default + Clone + Debug + Send + Sync + 'static {
    /// The token in its subject.
    const KIND: AggregateKind;
    /// How its state is kept; for aggregates that stay short, not at all. One that is kept is cloned
    /// with each snapshot, so its state should be cheap to clone.
    const SNAPSHOT: Option<SnapshotSpec> = None;
    /// Its events.
    type Event: Event;

    /// Takes one event into the state. It never refuses: what was recorded is so.
    fn evolve(&mut self, event: &Self::Event, at: Position);

    /// The whole state, for [`Aggregate::restore`]; nothing when it cannot be kept now.
    fn save(&self) -> Option<Vec<u8>> {
        None
    }

    /// The state that was saved; nothing when the bytes are not one. What is restored must be what
    /// the fold had made: it decides on in its place.
    fn restore(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// The events of one aggregate.
pub trait Event: Clone + Debug + PartialEq + Send + Sync + Serialize + 'static {
    /// Versioned type, such as `nexus.run.started.v1`.
    fn type_name(&self) -> &'static str;

    /// Reads the data of a recorded event, older versions through their upcasters.
    fn decode(type_name: &str, data: &RawValue) -> Result<Self, DecodeError>;

    /// Every type name that is written today.
    fn type_names() -> &'static [&'static str];
}

/// A recorded event that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No such type here: it was written by a newer program.
    #[error("event type {0:?} is not known to this version")]
    UnknownType(String),
    /// The data does not fit the type.
    #[error("event of type {type_name} cannot be read")]
    Data {
        /// The type it claims.
        type_name: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The commit is not a CloudEvents batch.
    #[error("commit cannot be read")]
    Commit(#[source] serde_json::Error),
    /// A commit holds at least one event.
    #[error("commit holds no event")]
    Empty,
}

/// Defines an aggregate's events: variant, data and versioned type name on one line each.
macro_rules! events {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident($data:ty) = $type_name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
        #[serde(tag = "type", content = "data")]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $type_name)] $variant($data),)+
        }

        impl $crate::aggregate::Event for $name {
            fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $type_name,)+ }
            }

            fn decode(
                type_name: &str,
                data: &serde_json::value::RawValue,
            ) -> Result<Self, $crate::aggregate::DecodeError> {
                match type_name {
                    $($type_name => serde_json::from_str(data.get()).map(Self::$variant).map_err(
                        |source| $crate::aggregate::DecodeError::Data {
                            type_name: type_name.to_owned(),
                            source,
                        },
                    ),)+
                    other => Err($crate::aggregate::DecodeError::UnknownType(other.to_owned())),
                }
            }

            fn type_names() -> &'static [&'static str] {
                &[$($type_name),+]
            }
        }

        $(impl From<$data> for $name {
            fn from(data: $data) -> Self {
                Self::$variant(data)
            }
        })+
    };
}
pub(crate) use events;
