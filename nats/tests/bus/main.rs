//! The bus against real servers, one private to each test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod active;
mod append;
mod batch;
mod cluster;
mod dlq;
mod measure;
mod objects;
mod proxy;
mod restart;
mod shelf;
mod snapshot;
mod store;
mod support;
mod timer;
mod topology;
mod trace;
mod worker;
