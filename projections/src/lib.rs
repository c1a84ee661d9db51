//! The read models: Postgres tables that are folds of the event log, and the queries over them.
//!
//! ```text
//! NEXUS_EVT ──> source ──> batch (pure fold, a file a model) ──> store (one transaction with the
//!                                                                 checkpoint) ──> query
//! ```
//!
//! * [`Projections`]: connect, migrate, and every query (`query/`).
//! * [`run_projector`], or [`Projector`] with options: applies the log to the tables for as long as the process lives.
//! * [`prune`], or [`run_retention`]: takes away what is older than it may become.
//! * [`rebuild`] and [`verify`]: fill new tables beside the live ones, and swap them in or compare.
//!
//! The tables hold nothing that the log does not: they can be thrown away and rebuilt (P4). What is
//! not here: decisions. No role asks these tables what to do; they are for people and for the HTTP
//! interface.

mod applied;
mod audit;
mod batch;
mod connect;
mod fill;
mod fold;
mod gather;
mod ids;
mod log;
mod lookups;
mod metrics;
mod model;
mod partitions;
mod projector;
pub mod query;
mod rebuild;
mod retention;
mod source;
mod store;
mod text;
mod verify;

pub use audit::{
    AuditChain, AuditDifference, AuditHash, AuditHead, ChainBreak, ChainGap, ChainReport, Compared,
    Fault, Side, compare_audit,
};
pub use batch::Batch;
pub use connect::{ProjectionError, Projections, ProjectionsOptions};
pub use fill::{FillError, Progress};
pub use log::{Facts, LogCommit, UnreadableCommit};
pub use metrics::ProjectorMetrics;
pub use projector::{Projector, ProjectorOptions, ProjectorState, run_projector};
pub use rebuild::{Rebuilt, rebuild};
pub use retention::{Pruned, RetentionPolicy, prune, run_retention};
pub use verify::{Difference, TableReport, Verified, verify};
