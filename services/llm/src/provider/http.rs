//! The HTTP clients of providers: where they may go, and which connections are kept.

use std::time::Duration;

use reqwest::Url;

use super::config::ProviderConfig;
use super::models::ConfigError;

/// The base URL that is configured, or the usual one, without a slash at its end.
pub(super) fn base(config: &ProviderConfig, usual: &str) -> Result<(String, Url), ConfigError> {
    let base = config.base_url.as_deref().unwrap_or(usual);
    let base = base.trim_end_matches('/');
    let url = parse(base).map_err(|reason| ConfigError::BaseUrl {
        provider: config.name.clone(),
        reason,
    })?;
    Ok((base.to_owned(), url))
}

/// Reads a base URL.
pub(super) fn parse(base: &str) -> Result<Url, String> {
    let url = Url::parse(base).map_err(|e| e.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must begin with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user or a password".to_owned());
    }
    Ok(url)
}

/// How a server is reached.
pub(super) struct Reach {
    /// Proxies of the environment are not for this machine.
    direct: bool,
    /// Connections that are kept, and for how long.
    idle_connections: usize,
    idle: Duration,
}

impl Reach {
    /// llama.cpp promises to keep connections and closes each one after its answer.
    pub(super) const LOCAL: Self = Self {
        direct: true,
        idle_connections: 0,
        idle: Duration::ZERO,
    };

    /// Many servers close what was idle for 5 s, and a call that meets this fails; the vendors' own
    /// keep it longer.
    pub(super) fn of(url: &Url) -> Self {
        let vendor = matches!(url.host_str(), Some("api.openai.com" | "api.anthropic.com"));
        Self {
            direct: matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
            idle_connections: usize::MAX,
            idle: Duration::from_secs(if vendor { 60 } else { 4 }),
        }
    }
}

/// One pool of connections a provider. Redirects are not followed: the key would follow too.
pub(super) fn client(
    config: &ProviderConfig,
    reach: &Reach,
) -> Result<reqwest::Client, ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(ConfigError::NoTls);
    }
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .read_timeout(Duration::from_millis(config.idle_timeout_ms))
        .pool_max_idle_per_host(reach.idle_connections)
        .pool_idle_timeout(reach.idle)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")));
    let builder = if reach.direct {
        builder.no_proxy()
    } else {
        builder
    };
    let failed = |source| ConfigError::Client {
        provider: config.name.clone(),
        source,
    };
    builder.build().map_err(failed)
}
