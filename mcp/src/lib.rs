//! Tools of servers that speak the Model Context Protocol: programs that are started here and speak
//! it over their standard input and output, and servers elsewhere that speak it over HTTP.
//!
//! The protocol itself is `rmcp`'s, in its revisions of 2025 and 2026. What is here is what a platform
//! needs around it: connections that are kept by tenant and made again, programs that end with us,
//! bounds on what a server may send, and a clear word on whether a call may have taken effect.
//!
//! A server is no guest of the sandbox. Who configures one trusts it with what its program or its
//! address can reach; what it says is trusted in nothing.

mod answer;
mod child;
mod config;
mod connect;
mod frames;
mod import;
mod pool;

pub use config::{ConfigError, McpServerConfig, Protocol, Secret};
pub use import::{Imported, Listing, Refused, Wanted, imported};
pub use pool::{Answer, CallError, RemoteCall, Servers};
