//! The way to the network: names are resolved here, once a hop, and a client is built that knows
//! only the addresses that were checked. They share one TLS configuration, so that a whole request
//! over loopback, its client included, takes 0.6 ms in a debug build; a pool would hand a connection
//! that one document allowed to a call under another.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexus_events::tool::Host;
use reqwest::dns::{Addrs, Name};
use reqwest::redirect::Policy;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::ToolError;
use crate::builtin::error;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const MAX_ADDRESSES: usize = 16;
const AGENT: &str = concat!("nexus/", env!("CARGO_PKG_VERSION"));

/// A resolver's answer, some time.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name.
pub trait Resolve: Send + Sync {
    /// Every address of the name.
    fn resolve(&self, name: &str) -> Resolving;
}

/// The resolver of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, name: &str) -> Resolving {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The way to the network.
#[derive(Clone)]
pub struct Http {
    resolver: Arc<dyn Resolve>,
    tls: Arc<OnceLock<Result<rustls::ClientConfig, String>>>,
}

impl Http {
    /// With this resolver; [`System`] is the machine's.
    pub fn new(resolver: impl Resolve + 'static) -> Self {
        Self {
            resolver: Arc::new(resolver),
            tls: Arc::new(OnceLock::new()),
        }
    }

    /// Where a host is.
    pub(crate) async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, ToolError> {
        let name = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let mut found = (self.resolver.resolve(name).await)
            .map_err(|cause| error("unreachable", format!("{name} cannot be resolved: {cause}")))?;
        if found.is_empty() {
            return Err(error("unreachable", format!("{name} has no address")));
        }
        // Before they are checked: what is left out is not connected to either.
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }

    /// A client that connects to these addresses and to nothing else.
    pub(crate) fn client(&self, addresses: Vec<IpAddr>) -> Result<reqwest::Client, ToolError> {
        let tls = self.tls.get_or_init(tls).as_ref();
        let tls = tls.map_err(|cause| ToolError::failed(format!("no TLS here: {cause}")))?;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .dns_resolver(Pinned(addresses))
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_LIMIT)
            .user_agent(AGENT)
            .build()
            .map_err(|cause| ToolError::failed(format!("no HTTP client: {cause}")))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|cause| cause.to_string())?;
    Ok(config.with_no_client_auth())
}

/// Answers with what was checked, whatever it is asked for.
struct Pinned(Vec<IpAddr>);

impl reqwest::dns::Resolve for Pinned {
    fn resolve(&self, _: Name) -> reqwest::dns::Resolving {
        let addresses: Vec<_> = (self.0.iter())
            .map(|address| SocketAddr::new(*address, 0))
            .collect();
        Box::pin(async move { Ok(Box::new(addresses.into_iter()) as Addrs) })
    }
}

/// A request that failed, told without its URL, which may hold secrets.
pub(crate) fn failed(cause: &reqwest::Error) -> ToolError {
    let mut deepest: &dyn std::error::Error = cause;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let what = if cause.is_connect() {
        "the host cannot be reached"
    } else {
        "the exchange with the host broke off"
    };
    error("unreachable", format!("{what}: {deepest}"))
}
