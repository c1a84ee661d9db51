//! Attempts to get out: every row asks a built-in tool for something that it may not have, and says
//! which refusal it expects. Servers that must not be reached count who connects.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod files;
mod network;
mod server;
mod stand;
