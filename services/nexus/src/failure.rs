//! What makes the program end with an error, and its exit codes.

use nexus_devstack::DevstackError;

use crate::config::ConfigError;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Models and providers.
    #[error(transparent)]
    Models(#[from] nexus_llm::provider::ConfigError),
    /// Routes.
    #[error(transparent)]
    Routes(#[from] nexus_llm::route::RouteError),
    /// Agents.
    #[error(transparent)]
    Agents(#[from] crate::agents::AgentsError),
    /// The cache of answers.
    #[error(transparent)]
    Cache(#[from] nexus_llm::cache::CacheError),
    /// The content filter.
    #[error(transparent)]
    Filter(#[from] nexus_content::FilterError),
    /// MCP servers.
    #[error("the configuration of tools: {0}")]
    Mcp(#[from] nexus_mcp::ConfigError),
    /// Webhooks.
    #[error("the configuration of webhooks: {0}")]
    Webhooks(#[from] nexus_webhooks::ConfigError),
    /// Servers of our own.
    #[error(transparent)]
    Devstack(#[from] DevstackError),
    /// The data are of another number of servers.
    #[error(
        "the log in {path} is kept by {nodes} NATS server(s): start with --nats-nodes {nodes}, or in \
         another --data-dir"
    )]
    OtherNodes {
        /// Where it is.
        path: std::path::PathBuf,
        /// How many keep it.
        nodes: u8,
    },
    /// What isolates tenants.
    #[error(transparent)]
    Isolation(#[from] crate::isolation::FilesError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] nexus_bus::ConnectError),
    /// The streams.
    #[error(transparent)]
    Topology(#[from] nexus_bus::TopologyError),
    /// The read models.
    #[error(transparent)]
    Projections(#[from] nexus_projections::ProjectionError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] nexus_gateway::GatewayError),
    /// The monitor.
    #[error("the monitor cannot listen on {address}: {source}; choose another `monitor.listen`")]
    Monitor {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Traces.
    #[error("traces cannot be exported: {0}")]
    Telemetry(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A role ended by itself.
    #[error("a role ended unexpectedly: {0}")]
    RoleEnded(String),
    /// A file.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A document of permissions.
    #[error("{path} {reason}")]
    Permissions {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no place for data.
    #[error("there is no home directory to keep data in: name one with --data-dir")]
    NoDataDir,
    /// Signals cannot be waited for.
    #[error("signals cannot be handled: {0}")]
    Signals(#[source] std::io::Error),
}
