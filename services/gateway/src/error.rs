//! Why a gateway did not start.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A gateway that cannot be started, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Other machines would be served without anybody proving who they are.
    #[error(
        "refusing to listen on {listen}: nobody could show who they are, so everybody who reaches it \
         could start runs and spend money. Under `[gateway]`, set `root_key` (NEXUS_GATEWAY_ROOT_KEY; \
         `nexus keys create` makes the others with it) or `[[gateway.issuers]]`, or set \
         `allow_unauthenticated = true` if the network in front of it decides who may call; or listen \
         on 127.0.0.1"
    )]
    Exposed {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// A field of the configuration does not hold what it must.
    #[error("{field}: {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The certificate or its key cannot be used.
    #[error("tls: {path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The address cannot be had.
    #[error("cannot listen on {listen}; is another gateway running there?")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bus refuses a subscription.
    #[error("cannot listen for the outcomes of commands")]
    Subscribe(#[source] async_nats::SubscribeError),
}
