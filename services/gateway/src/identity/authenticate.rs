//! Finds out who calls from what a request shows.

use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use nexus_events::Tenant;
use nexus_events::keys::ApiKey;
use sha2::{Digest, Sha256};

use super::loopback::{Defaults, refuse_names};
use super::tokens::Tokens;
use super::{Caller, guard, keys, socket};
use crate::app::App;
use crate::config::GatewayConfig;
use crate::http::ApiError;

/// As some clients send a key.
const API_KEY_HEADER: &str = "x-api-key";

/// How callers are told apart.
#[derive(Debug)]
pub(crate) struct Identity {
    defaults: Defaults,
    /// Nobody needs a credential.
    is_open: bool,
    loopback: bool,
    hosts: Vec<String>,
    /// Pages of these origins may act.
    origins: Vec<String>,
    root: Option<[u8; 32]>,
    tokens: Tokens,
}

impl Identity {
    /// # Errors
    /// The field of an issuer that cannot work, and why.
    pub(crate) fn new(
        config: &GatewayConfig,
        tenant: Tenant,
        listen: SocketAddr,
    ) -> Result<Self, String> {
        let loopback = listen.ip().is_loopback();
        Ok(Self {
            defaults: Defaults {
                tenant,
                user: config.default_user.clone(),
            },
            is_open: config.is_open_at(listen),
            loopback,
            hosts: config.allowed_hosts.clone(),
            origins: config.cors.origins.clone(),
            root: config.root_key.as_ref().map(|key| digest(key.expose())),
            tokens: Tokens::new(&config.issuers)?,
        })
    }

    /// Who sent these headers.
    pub(crate) async fn caller(&self, app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(shown) = shown(headers)? else {
            return self.nobody(headers);
        };
        if ApiKey::is_like(shown) {
            refuse_names(headers)?;
            return keys::caller(app, shown).await;
        }
        if self.root.is_some_and(|root| root == digest(shown)) {
            return self.defaults.root(headers);
        }
        if let Some(token) = self.tokens.read(shown) {
            refuse_names(headers)?;
            return self.tokens.caller(token).await;
        }
        // Clients that insist on a key are given any: where none is needed, none is wrong.
        match self.is_open {
            true => self.nobody(headers),
            false => Err(invalid()),
        }
    }

    fn nobody(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        match self.is_open {
            true => self.defaults.local(headers, self.loopback),
            false => Err(required()),
        }
    }

    /// Refuses what a foreign page makes a browser send.
    pub(crate) fn guard(
        &self,
        method: &axum::http::Method,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let hosts = self.loopback.then_some(self.hosts.as_slice());
        guard::guard(hosts, &self.origins, method, headers)
    }
}

/// The credential that a request shows.
fn shown(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| invalid())?;
        let (scheme, token) = text.split_once(' ').ok_or_else(invalid)?;
        return match scheme.eq_ignore_ascii_case("bearer") {
            true => Ok(Some(token.trim())),
            false => Err(invalid()),
        };
    }
    let key = headers.get(API_KEY_HEADER).map(|value| value.to_str());
    let key = key.transpose().map_err(|_| invalid())?;
    Ok(key.or_else(|| socket::credential(headers)))
}

/// The digest of whatever credential is shown, well-formed or not.
pub(super) fn shown_digest(headers: &HeaderMap) -> Option<[u8; 32]> {
    let value = headers.get(AUTHORIZATION).or(headers.get(API_KEY_HEADER));
    let value = value.map(|value| value.as_bytes());
    let value = value.or_else(|| socket::credential(headers).map(str::as_bytes))?;
    Some(Sha256::digest(value).into())
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// 401: nothing was shown.
pub(super) fn required() -> ApiError {
    let detail = "show a key: `Authorization: Bearer nxk_…`; `nexus keys create` makes one";
    ApiError::new(401, "credentials_required", detail)
}

/// 401: what was shown is not good. It does not say why: whoever guesses should not learn.
pub(super) fn invalid() -> ApiError {
    ApiError::new(
        401,
        "credentials_invalid",
        "this credential is not known, has expired or was revoked",
    )
}
