//! The policy role on a real bus: bundles change under load, workers die, shadows change nothing,
//! and history is judged again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod activation;
mod history;
mod shadow;
mod stand;
