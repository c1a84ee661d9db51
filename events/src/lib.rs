//! The pure core of Nexus: ids, envelope, subjects, and a folder an aggregate.
//!
//! Nothing here reads a clock, a random source, a socket or a file: time, ids and configuration
//! come in as arguments, effects go out as data. That is what lets the same code decide on the bus,
//! replay in a test and be simulated by the thousand.

pub mod access;
pub mod agent;
pub mod aggregate;
pub mod body;
pub mod catalog;
pub mod command;
pub mod content;
pub mod envelope;
pub mod error;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod model;
pub mod policy;
pub mod run;
pub mod session;
pub mod source;
pub mod subject;
pub mod time;
pub mod tool;
pub mod webhook;

pub use aggregate::{Aggregate, AggregateKind, Event, Position};
pub use body::Body;
pub use command::{Command, Due};
pub use envelope::{Actor, CommandEnvelope, Commit, Recorded};
pub use error::{DomainError, Problem};
pub use ids::{
    AggregateId, ApprovalId, CommandId, KeyId, ReservationId, RunId, SessionId, Tenant, WebhookId,
};
pub use source::Source;
pub use time::Timestamp;
