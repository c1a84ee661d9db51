//! The gateway against a real nats-server, a real PostgreSQL, and the run and budget roles.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod approvals;
mod audit;
mod bad_input;
mod budgets;
mod chat;
mod identity;
mod isolation;
mod limits;
mod listeners;
mod messages;
mod outages;
mod resources;
mod responses;
mod runs;
mod shared;
mod sockets;
mod sse;
mod streams;
mod system;
mod transport;
mod wide;
mod world;
