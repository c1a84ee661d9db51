//! The bus: everything that Nexus does with NATS JetStream, and nothing else.
//!
//! Roles meet on the bus only, so this crate holds what all of them share: the streams as data,
//! one `append` that owns every ambiguous acknowledgement, a store that loads and executes
//! aggregates from a cache, and the driver that feeds commands to a role's handler.

pub mod append;
pub mod backoff;
mod batch;
mod bodies;
pub mod connect;
pub mod consumer;
pub mod dlq;
mod ensure;
pub mod inbound;
pub mod isolation;
pub mod js;
mod lonely;
pub mod metrics;
pub mod objects;
mod pin;
pub mod process;
pub mod publish;
mod pull;
pub mod quota;
pub mod read;
pub mod seal;
mod settle;
pub mod shelf;
pub mod store;
pub mod timer;
pub mod tools;
pub mod topology;
pub mod trace;
pub mod webhooks;
pub mod worker;

pub use append::{AppendError, Appended, append};
pub use connect::{Bus, BusConfig, Clock, ConnectError, Credentials};
pub use ensure::{TopologyError, ensure};
pub use inbound::{Delivery, Undecodable};
pub use publish::{CommandMeta, PublishError, Published, publish_command, publish_commands, reply};
pub use read::{ReadError, Stored};
pub use store::{Cause, Done, ExecuteError, Guard, Loaded, ReadHint, Store, StoreError};
pub use topology::TopologyConfig;
pub use worker::{BatchHandler, Failure, Handler, RoleSpec, run_batch_role, run_role};
