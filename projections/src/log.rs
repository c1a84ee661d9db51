//! The log as the projection reads it: one commit of any aggregate, decoded once.

use nexus_events::access::AccessEvent;
use nexus_events::aggregate::DecodeError;
use nexus_events::keys::KeyEvent;
use nexus_events::ledger::LedgerEvent;
use nexus_events::policy::PolicyEvent;
use nexus_events::run::RunEvent;
use nexus_events::session::SessionEvent;
use nexus_events::tool::registry::ToolsEvent;
use nexus_events::webhook::WebhookEvent;
use nexus_events::{AggregateKind, Commit, RunId, SessionId, Tenant, subject};

/// One commit with its place in the log.
#[derive(Clone, Debug)]
pub struct LogCommit {
    /// Stream sequence.
    pub seq: u64,
    /// Whose it is.
    pub tenant: Tenant,
    /// What happened.
    pub facts: Facts,
    /// Length of the message, in bytes.
    pub bytes: usize,
}

/// The events of a commit, by aggregate.
#[derive(Clone, Debug)]
pub enum Facts {
    /// Of a run.
    Run(RunId, Commit<RunEvent>),
    /// Of a session.
    Session(SessionId, Commit<SessionEvent>),
    /// Of the tenant's ledger.
    Ledger(Commit<LedgerEvent>),
    /// Of the tenant's policy.
    Policy(Commit<PolicyEvent>),
    /// Of a gateway that refused requests.
    Access(Commit<AccessEvent>),
    /// Of the tenant's keys.
    Keys(Commit<KeyEvent>),
    /// Of the tenant's registry of tools.
    Tools(Commit<ToolsEvent>),
    /// Of the tenant's webhooks.
    Webhooks(Commit<WebhookEvent>),
}

/// A commit that this program cannot read. The projection stops before it: what is skipped is lost
/// for everybody who asks the tables.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableCommit {
    /// The subject is not one of ours.
    #[error("subject {0:?} names no aggregate that this version knows")]
    Subject(String),
    /// The id in the subject is not one.
    #[error("subject {subject:?} does not end in an id")]
    Id {
        /// The subject.
        subject: String,
        /// What is wrong.
        #[source]
        source: nexus_events::ids::InvalidId,
    },
    /// The body cannot be read, or holds an event that a newer program wrote.
    #[error("the commit on {subject} cannot be read")]
    Body {
        /// The subject.
        subject: String,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
}

impl LogCommit {
    /// Reads a message of the event stream.
    ///
    /// # Errors
    /// [`UnreadableCommit`]: written by a newer program, or not by ours at all.
    pub fn decode(subject: &str, seq: u64, body: &[u8]) -> Result<Self, UnreadableCommit> {
        let unreadable = |source| UnreadableCommit::Body {
            subject: subject.to_owned(),
            source,
        };
        let no_id = |source| UnreadableCommit::Id {
            subject: subject.to_owned(),
            source,
        };
        let (tenant, kind, id) = subject::parse_events(subject)
            .ok_or_else(|| UnreadableCommit::Subject(subject.to_owned()))?;
        let facts = match kind {
            AggregateKind::Run => Facts::Run(
                id.as_str().parse().map_err(no_id)?,
                Commit::decode(body).map_err(unreadable)?,
            ),
            AggregateKind::Session => Facts::Session(
                id.as_str().parse().map_err(no_id)?,
                Commit::decode(body).map_err(unreadable)?,
            ),
            AggregateKind::Ledger => Facts::Ledger(Commit::decode(body).map_err(unreadable)?),
            AggregateKind::Policy => Facts::Policy(Commit::decode(body).map_err(unreadable)?),
            AggregateKind::Access => Facts::Access(Commit::decode(body).map_err(unreadable)?),
            AggregateKind::Keys => Facts::Keys(Commit::decode(body).map_err(unreadable)?),
            AggregateKind::Tools => Facts::Tools(Commit::decode(body).map_err(unreadable)?),
            AggregateKind::Webhooks => Facts::Webhooks(Commit::decode(body).map_err(unreadable)?),
        };
        Ok(Self {
            seq,
            tenant,
            facts,
            bytes: body.len(),
        })
    }

    /// Events in the commit.
    pub fn len(&self) -> usize {
        match &self.facts {
            Facts::Run(_, commit) => commit.events.len(),
            Facts::Session(_, commit) => commit.events.len(),
            Facts::Ledger(commit) => commit.events.len(),
            Facts::Policy(commit) => commit.events.len(),
            Facts::Access(commit) => commit.events.len(),
            Facts::Keys(commit) => commit.events.len(),
            Facts::Tools(commit) => commit.events.len(),
            Facts::Webhooks(commit) => commit.events.len(),
        }
    }

    /// A commit that was read holds at least one event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When it was decided.
    pub fn time(&self) -> nexus_events::Timestamp {
        match &self.facts {
            Facts::Run(_, commit) => commit.time,
            Facts::Session(_, commit) => commit.time,
            Facts::Ledger(commit) => commit.time,
            Facts::Policy(commit) => commit.time,
            Facts::Access(commit) => commit.time,
            Facts::Keys(commit) => commit.time,
            Facts::Tools(commit) => commit.time,
            Facts::Webhooks(commit) => commit.time,
        }
    }
}
