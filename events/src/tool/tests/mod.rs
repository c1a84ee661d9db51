//! Permissions: what matches, what is special, and that narrowing never opens anything.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod addresses;
mod documents;
mod hosts;
mod paths;
