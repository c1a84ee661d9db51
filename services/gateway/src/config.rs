//! What an installation decides about its gateway. Every bound on what callers may use is here.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use nexus_events::Tenant;
use nexus_events::webhook::SigningKey;
use serde::{Deserialize, Serialize};

use crate::error::GatewayError;
use crate::http::cors::CorsConfig;
use crate::http::tls::TlsConfig;
use crate::identity::IssuerConfig;
use crate::limits::LimitsConfig;
use crate::source::Proxies;

/// Nobody guesses a root key that somebody's machine made.
const LEAST_ROOT_KEY_BYTES: usize = 32;

/// A key. It is never printed: not by `Debug`, not by an error, not by a log line.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A key that was read somewhere.
    pub fn new(key: String) -> Self {
        Self(key)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The gateway's configuration; every field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Tenant of callers that name none.
    pub default_tenant: String,
    /// User of callers that name none.
    pub default_user: String,
    /// Serve other machines although nobody proves who they are.
    pub allow_unauthenticated: bool,
    /// Ask for a credential on the loopback too.
    pub require_credentials: bool,
    /// Whoever shows this key may do everything for every tenant. For the first key of a tenant, and
    /// for operators; at least 32 bytes.
    #[serde(skip_serializing)]
    pub root_key: Option<Secret>,
    /// OpenID providers whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// Further names that a `Host` header may have when it listens on the loopback: those of a
    /// proxy on this machine. Without the check, a web page could reach it by a name of its own.
    pub allowed_hosts: Vec<String>,
    /// Addresses and networks (`10.0.0.0/8`) of proxies in front of it: their `X-Forwarded-For`
    /// says where a request comes from.
    pub trusted_proxies: Vec<String>,
    /// Refused requests (401, 403) of one source that are recorded one by one in a minute; what is
    /// more is counted, and the count is recorded.
    pub denials_per_minute: u32,
    /// The same of all sources together.
    pub denials_per_minute_total: u32,
    /// Largest request body.
    pub body_limit_bytes: usize,
    /// Largest request head.
    pub head_limit_bytes: usize,
    /// What all bodies that are being read may hold together; further ones are refused with 503.
    pub body_memory_bytes: usize,
    /// How long a body may take to come.
    pub body_timeout_ms: u64,
    /// How long a new connection may take to send the head of its first request, TLS included.
    pub head_timeout_ms: u64,
    /// Connections at the same time; further ones are told so with 503 and closed.
    pub max_connections: usize,
    /// Connections of one address at the same time (of one /64 of IPv6); `trusted_proxies` may have
    /// any number.
    pub max_connections_per_address: usize,
    /// Event streams at the same time.
    pub max_listeners: usize,
    /// Commands that wait for their outcome at the same time.
    pub max_waiting_commands: usize,
    /// How long a request may take, what it waits for on purpose not counted.
    pub request_timeout_ms: u64,
    /// How long a command's outcome is waited for once the bus has the command.
    pub reply_timeout_ms: u64,
    /// How long `?wait=` may be.
    pub max_wait_ms: u64,
    /// How long `min_seq` waits for the read models.
    pub min_seq_timeout_ms: u64,
    /// Pause between two signs of life on an event stream.
    pub heartbeat_ms: u64,
    /// How long a reader of an event stream may take nothing of what waits for it.
    pub stall_timeout_ms: u64,
    /// Bytes that may wait for a reader of an event stream.
    pub listener_buffer_bytes: usize,
    /// Texts up to this length are given whole; longer ones as a reference to the object store.
    pub resolve_limit_bytes: u64,
    /// Sequences that the read models may be behind before `/readyz` says no.
    pub max_projection_lag: u64,
    /// How long requests may take to end when the gateway stops.
    pub drain_timeout_ms: u64,
    /// How long `/readyz` says that the gateway will stop before it does: as long as a load balancer
    /// needs to notice.
    pub drain_notice_ms: u64,
    /// Whether long answers are compressed for whoever takes that; event streams never are.
    pub compression: bool,
    /// Pages of other origins that may call.
    pub cors: CorsConfig,
    /// Serves HTTPS, and nothing else, where it is set.
    pub tls: Option<TlsConfig>,
    /// How often callers may ask.
    pub limits: LimitsConfig,
    /// What secrets of webhooks derive from; `[webhooks]` says which.
    #[serde(skip)]
    pub webhook_key: Option<SigningKey>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            default_tenant: "default".to_owned(),
            default_user: "local".to_owned(),
            allow_unauthenticated: false,
            require_credentials: false,
            root_key: None,
            issuers: vec![],
            allowed_hosts: vec![],
            trusted_proxies: vec![],
            denials_per_minute: 20,
            denials_per_minute_total: 600,
            body_limit_bytes: 1024 * 1024,
            head_limit_bytes: 64 * 1024,
            body_memory_bytes: 256 * 1024 * 1024,
            body_timeout_ms: 20_000,
            head_timeout_ms: 10_000,
            max_connections: 20_000,
            max_connections_per_address: 4_096,
            max_listeners: 16_384,
            max_waiting_commands: 65_536,
            request_timeout_ms: 30_000,
            reply_timeout_ms: 5_000,
            max_wait_ms: 600_000,
            min_seq_timeout_ms: 5_000,
            heartbeat_ms: 15_000,
            stall_timeout_ms: 30_000,
            listener_buffer_bytes: 1024 * 1024,
            resolve_limit_bytes: 1024 * 1024,
            max_projection_lag: 10_000,
            drain_timeout_ms: 10_000,
            drain_notice_ms: 0,
            compression: true,
            cors: CorsConfig::default(),
            tls: None,
            limits: LimitsConfig::default(),
            webhook_key: None,
        }
    }
}

impl GatewayConfig {
    /// Whether callers need no credential, where it listens as configured.
    pub fn is_open(&self) -> bool {
        self.is_open_at(self.listen)
    }

    pub(crate) fn is_open_at(&self, listen: SocketAddr) -> bool {
        !self.require_credentials && (listen.ip().is_loopback() || self.allow_unauthenticated)
    }

    /// Checks what can be checked before anything is started.
    ///
    /// # Errors
    /// [`GatewayError::Exposed`] and [`GatewayError::Config`].
    pub(crate) fn check(&self, listen: SocketAddr) -> Result<Tenant, GatewayError> {
        let has_credentials = self.root_key.is_some() || !self.issuers.is_empty();
        if !listen.ip().is_loopback() && !has_credentials && !self.allow_unauthenticated {
            return Err(GatewayError::Exposed { listen });
        }
        let invalid = |field: &'static str, reason: String| GatewayError::Config { field, reason };
        let too_small = |field, least: u64| invalid(field, format!("it must be at least {least}"));
        for (field, value, least) in [
            ("body_limit_bytes", self.body_limit_bytes as u64, 1024),
            ("head_limit_bytes", self.head_limit_bytes as u64, 8192),
            ("max_connections", self.max_connections as u64, 1),
            (
                "max_connections_per_address",
                self.max_connections_per_address as u64,
                1,
            ),
            ("body_timeout_ms", self.body_timeout_ms, 10),
            ("head_timeout_ms", self.head_timeout_ms, 10),
            ("max_listeners", self.max_listeners as u64, 1),
            ("max_waiting_commands", self.max_waiting_commands as u64, 1),
            ("request_timeout_ms", self.request_timeout_ms, 100),
            ("reply_timeout_ms", self.reply_timeout_ms, 1),
            ("heartbeat_ms", self.heartbeat_ms, 10),
            ("stall_timeout_ms", self.stall_timeout_ms, 10),
            (
                "listener_buffer_bytes",
                self.listener_buffer_bytes as u64,
                1024,
            ),
        ] {
            if value < least {
                return Err(too_small(field, least));
            }
        }
        if (self.root_key.as_ref()).is_some_and(|key| key.expose().len() < LEAST_ROOT_KEY_BYTES) {
            return Err(too_small("root_key", LEAST_ROOT_KEY_BYTES as u64));
        }
        if self.body_memory_bytes < self.body_limit_bytes {
            let reason = "it must be at least body_limit_bytes".to_owned();
            return Err(invalid("body_memory_bytes", reason));
        }
        (self.cors.check(self.is_open_at(listen)))
            .map_err(|reason| invalid("cors.origins", reason))?;
        if let Some(name) = self.limits.wrong_name() {
            let reason = format!("{name:?} is no name of a tenant");
            return Err(invalid("limits.tenants", reason));
        }
        Proxies::parse(&self.trusted_proxies)
            .map_err(|reason| invalid("trusted_proxies", reason))?;
        (self.default_tenant.parse()).map_err(|error| invalid("default_tenant", format!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn other_machines_are_served_only_when_the_configuration_says_so() {
        let everywhere: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let closed = GatewayConfig::default();
        let refusal = closed.check(everywhere).unwrap_err().to_string();
        assert!(
            refusal.contains("allow_unauthenticated = true"),
            "{refusal}"
        );
        let open = GatewayConfig {
            allow_unauthenticated: true,
            ..closed.clone()
        };
        assert!(open.check(everywhere).is_ok());
        assert!(closed.check("[::1]:0".parse().unwrap()).is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let bad = GatewayConfig {
            default_tenant: "Acme".to_owned(),
            ..GatewayConfig::default()
        };
        let error = bad.check(bad.listen).unwrap_err().to_string();
        assert!(error.starts_with("default_tenant"), "{error}");
        let bad = GatewayConfig {
            body_limit_bytes: 0,
            ..GatewayConfig::default()
        };
        assert!(bad.check(bad.listen).is_err());
    }
}
