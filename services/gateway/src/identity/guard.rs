//! A browser is not "everybody on this machine": a foreign page that it shows must not act here, so
//! `Host`, `Origin` and `Sec-Fetch-Site` are checked.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use nexus_events::Problem;

use super::socket::wants_socket;
use crate::http::ApiError;
use crate::http::cors::ANY_ORIGIN;

/// Refuses what a foreign page makes a browser send. `hosts` are further names of a gateway on the
/// loopback; none where it listens elsewhere, where its names are not known. Pages of `origins` may
/// act.
pub(super) fn guard(
    hosts: Option<&[String]>,
    origins: &[String],
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST.as_str()).unwrap_or("");
    if let Some(hosts) = hosts
        && !host.is_empty()
        && !is_ours(hosts, host_name(host))
    {
        let detail = "this name is not one of this gateway; if a proxy uses it, list it under \
                      `allowed_hosts`";
        return Err(Problem::new(403, "host_refused", detail).at("Host").into());
    }
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    // What a request answers a foreign page is not shown to it, but what a WebSocket says is.
    if reads && !wants_socket(headers) {
        return Ok(());
    }
    let origin = text(ORIGIN.as_str());
    // Whoever may call from anywhere shows a credential, which a foreign page does not have.
    let invited = |origin: &str| origins.iter().any(|one| one == origin || one == ANY_ORIGIN);
    if origin.is_some_and(invited) {
        return Ok(());
    }
    let fetched_from = text("Sec-Fetch-Site");
    let foreign = match (fetched_from, origin) {
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

fn is_ours(hosts: &[String], host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
}

/// A `Host` without its port, and an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_foreign_page_cannot_act() {
        let here = ["nexus.local".to_owned()];
        let allowed = |method: Method, pairs: &[(&'static str, &str)]| {
            guard(
                Some(&here),
                &["https://app.example".to_owned()],
                &method,
                &headers(pairs),
            )
            .is_ok()
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
        let invited = ("origin", "https://app.example");
        let cross = ("sec-fetch-site", "cross-site");
        assert!(allowed(Method::POST, &[own, invited, cross]));
        let elsewhere = ("host", "evil.example");
        assert!(!allowed(Method::POST, &[elsewhere, invited]));
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
        let socket = ("upgrade", "WebSocket");
        assert!(allowed(Method::GET, &[own, socket]));
        assert!(allowed(Method::GET, &[own, socket, invited]));
        let evil = ("origin", "http://evil.example");
        assert!(!allowed(Method::GET, &[own, socket, evil]));
        assert!(!allowed(Method::GET, &[own, socket, cross]));
    }
}
