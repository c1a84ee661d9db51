//! The webhooks role: takes commands on webhooks, and delivers what is recorded to whoever asked for
//! it, signed, in the order of each run, at least once.
//!
//! Which process delivers for a webhook follows from who lives (`crew`); how far it has come is a
//! document beside the log that only one writer can move (`endpoint`). Two processes that both
//! believe to be in charge therefore double messages, which have the same id, and lose none.

mod commands;
mod config;
mod crew;
mod directory;
mod endpoint;
mod hints;
mod message;
mod metrics;
mod post;
mod runs;
mod service;

use nexus_bus::RoleSpec;

pub use commands::WebhooksRole;
pub use config::{ConfigError, Secret, Settings, WebhooksConfig};
pub use service::deliver;

/// What the role takes, and how.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 32,
    prefetch: 0,
    ..RoleSpec::new("webhooks", &["webhook"])
};
