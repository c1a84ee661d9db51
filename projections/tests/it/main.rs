//! The read models against real servers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod approvals;
mod audit;
mod budgets;
mod lookups;
mod measure;
mod projector;
mod queries;
mod queue;
mod rebuild;
mod retention;
mod stack;
mod world;
