//! Who calls. There are no credentials yet, so this is the one module that keys and tokens change.
//!
//! Until then everybody who reaches the loopback is the configured user of the configured tenant,
//! and may say with `Nexus-Tenant`, `Nexus-User`, `Nexus-Roles` and `Nexus-Groups` to be another. Where
//! the gateway listens on other addresses these headers are refused instead of ignored: whoever relies on them should
//! learn that they do not hold there. A browser is not "everybody on this machine": a foreign page
//! that it shows must not act here, so `Host`, `Origin` and `Sec-Fetch-Site` are checked.

use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use nexus_events::{Actor, Problem, Tenant};

use crate::app::App;
use crate::http::ApiError;
use crate::source::Attempt;

/// Header that names the tenant.
pub(crate) const TENANT_HEADER: &str = "Nexus-Tenant";
/// Header that names the user.
pub(crate) const USER_HEADER: &str = "Nexus-User";

/// Header that names the user's roles, separated by commas.
pub(crate) const ROLES_HEADER: &str = "Nexus-Roles";
/// Header that names the user's groups, separated by commas.
pub(crate) const GROUPS_HEADER: &str = "Nexus-Groups";

const MOST_USER_BYTES: usize = 255;
/// Roles, or groups.
const MOST_NAMES: usize = 16;
const MOST_NAME_BYTES: usize = 64;

/// Who calls, and for which tenant.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: Tenant,
    pub(crate) actor: Actor,
}

/// How callers are told apart.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    tenant: Tenant,
    user: String,
    loopback: bool,
    hosts: Vec<String>,
}

impl Identity {
    pub(crate) fn new(
        tenant: Tenant,
        user: String,
        listen: SocketAddr,
        hosts: Vec<String>,
    ) -> Self {
        Self {
            tenant,
            user,
            loopback: listen.ip().is_loopback(),
            hosts,
        }
    }

    /// Who sent these headers.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let tenant = match self.chosen(headers, TENANT_HEADER)? {
            Some(name) => name
                .parse()
                .map_err(|error| invalid(TENANT_HEADER, &error))?,
            None => self.tenant.clone(),
        };
        let user = match self.chosen(headers, USER_HEADER)? {
            Some(name) if (1..=MOST_USER_BYTES).contains(&name.len()) => name.to_owned(),
            Some(_) => return Err(invalid(USER_HEADER, &"it must have 1 to 255 bytes")),
            None => self.user.clone(),
        };
        let names = |header| match self.chosen(headers, header)? {
            Some(text) => names_of(text, header),
            None => Ok(vec![]),
        };
        Ok(Caller {
            tenant,
            actor: Actor {
                user,
                roles: names(ROLES_HEADER)?,
                groups: names(GROUPS_HEADER)?,
                ..Actor::default()
            },
        })
    }

    fn chosen<'a>(
        &self,
        headers: &'a HeaderMap,
        name: &'static str,
    ) -> Result<Option<&'a str>, ApiError> {
        let Some(value) = headers.get(name) else {
            return Ok(None);
        };
        if !self.loopback {
            let detail =
                format!("{name} is honoured only where the gateway listens on the loopback");
            return Err(Problem::new(403, "identity_refused", detail)
                .at(name)
                .into());
        }
        // Visible ASCII: what goes on into headers of the bus.
        value
            .to_str()
            .map(Some)
            .map_err(|_| invalid(name, &"it must be visible ASCII"))
    }

    /// Refuses what a foreign page makes a browser send.
    pub(crate) fn guard(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST.as_str()).unwrap_or("");
        if self.loopback && !host.is_empty() && !self.is_ours(host_name(host)) {
            let detail = "this name is not one of this gateway; if a proxy uses it, list it under \
                          `allowed_hosts`";
            return Err(Problem::new(403, "host_refused", detail).at("Host").into());
        }
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let fetched_from = text("Sec-Fetch-Site");
        let foreign = match (fetched_from, text(ORIGIN.as_str())) {
            (Some(site), _) => !matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => origin.split_once("://").is_none_or(|(_, at)| at != host),
            (None, None) => false,
        };
        if foreign {
            let detail = "a page of another origin may not act here";
            return Err(Problem::new(403, "origin_refused", detail)
                .at("Origin")
                .into());
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            || self
                .hosts
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(host))
    }
}

fn names_of(text: &str, header: &str) -> Result<Vec<String>, ApiError> {
    let mut names = vec![];
    for name in text.split(',').map(str::trim) {
        if !(1..=MOST_NAME_BYTES).contains(&name.len()) || names.len() == MOST_NAMES {
            let reason = format!(
                "it must have 1 to {MOST_NAMES} names of 1 to {MOST_NAME_BYTES} bytes, separated \
                 by commas"
            );
            return Err(invalid(header, &reason));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// A `Host` without its port, and an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn invalid(header: &str, reason: &dyn std::fmt::Display) -> ApiError {
    Problem::new(400, "invalid", format!("{header}: {reason}"))
        .at(header)
        .into()
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let mut caller = app.identity().caller(&parts.headers)?;
        if let Some(attempt) = parts.extensions.get::<Attempt>() {
            caller.actor.source = Some(Box::new(attempt.source().clone()));
            attempt.is_by(&caller);
        }
        app.tenants().note(&caller.tenant);
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn identity(listen: &str) -> Identity {
        let hosts = vec!["nexus.local".to_owned()];
        Identity::new(
            "acme".parse().unwrap(),
            "local".into(),
            listen.parse().unwrap(),
            hosts,
        )
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn headers_choose_on_the_loopback_only() {
        let named = headers(&[("nexus-tenant", "other"), ("nexus-user", "ada")]);
        let caller = identity("127.0.0.1:1").caller(&named).unwrap();
        assert_eq!(
            (caller.tenant.as_str(), caller.actor.user.as_str()),
            ("other", "ada")
        );
        let caller = identity("127.0.0.1:1").caller(&HeaderMap::new()).unwrap();
        assert_eq!(
            (caller.tenant.as_str(), caller.actor.user.as_str()),
            ("acme", "local")
        );
        let refused = identity("0.0.0.0:1").caller(&named).unwrap_err();
        assert_eq!(refused.code(), "identity_refused");
        for bad in [
            ("nexus-tenant", "A.b"),
            ("nexus-tenant", ""),
            ("nexus-user", ""),
        ] {
            assert!(
                identity("127.0.0.1:1").caller(&headers(&[bad])).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn roles_are_named_on_the_loopback_only_and_are_few() {
        let named = |roles: &str| headers(&[("nexus-roles", roles)]);
        let here = identity("127.0.0.1:1");
        let caller = here.caller(&named("admin, boss,admin")).unwrap();
        assert_eq!(caller.actor.roles, ["admin", "boss"]);
        let nobody = here.caller(&HeaderMap::new()).unwrap();
        assert!(nobody.actor.roles.is_empty());
        let many: Vec<String> = (0..17).map(|n| format!("r{n}")).collect();
        for bad in ["", "a,,b", &many.join(","), &"x".repeat(65)] {
            assert!(here.caller(&named(bad)).is_err(), "{bad:?}");
        }
        let refused = identity("0.0.0.0:1").caller(&named("admin")).unwrap_err();
        assert_eq!(refused.code(), "identity_refused");
    }

    #[test]
    fn a_foreign_page_cannot_act() {
        let here = identity("127.0.0.1:8080");
        let allowed = |method: Method, pairs: &[(&'static str, &str)]| {
            here.guard(&method, &headers(pairs)).is_ok()
        };
        let own = ("host", "localhost:8080");
        assert!(allowed(Method::POST, &[own]));
        assert!(allowed(Method::POST, &[("host", "[::1]:8080")]));
        assert!(allowed(Method::GET, &[("host", "nexus.local")]));
        assert!(!allowed(Method::GET, &[("host", "evil.example:8080")]));
        assert!(allowed(
            Method::POST,
            &[own, ("origin", "http://localhost:8080")]
        ));
        assert!(!allowed(
            Method::POST,
            &[own, ("origin", "http://evil.example")]
        ));
        assert!(!allowed(Method::POST, &[own, ("origin", "null")]));
        assert!(!allowed(
            Method::POST,
            &[own, ("sec-fetch-site", "cross-site")]
        ));
        assert!(allowed(
            Method::POST,
            &[own, ("sec-fetch-site", "same-origin")]
        ));
        assert!(allowed(
            Method::GET,
            &[own, ("sec-fetch-site", "cross-site")]
        ));
    }
}
