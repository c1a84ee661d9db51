//! Pages of other origins. Off by default: a page that may call the gateway may do all that its
//! visitor may.

use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Stands for every origin.
pub(crate) const ANY_ORIGIN: &str = "*";
/// How long a browser may remember what it was allowed.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// Which pages may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// Such as `https://app.example.com`; `*` for all, where everybody needs a credential. A browser
    /// never sends cookies along.
    pub origins: Vec<String>,
}

impl CorsConfig {
    /// # Errors
    /// What is wrong; `open`: nobody needs a credential.
    pub(crate) fn check(&self, open: bool) -> Result<(), String> {
        for origin in &self.origins {
            if origin == ANY_ORIGIN && open {
                return Err(
                    "where nobody needs a credential, \"*\" would let every page that \
                            somebody opens act here; name the origins"
                        .to_owned(),
                );
            }
            let host = origin.split_once("://").map(|(_, host)| host);
            let good = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
            if origin != ANY_ORIGIN && (!good || HeaderValue::from_str(origin).is_err()) {
                return Err(format!(
                    "{origin:?} is no origin such as https://app.example.com"
                ));
            }
        }
        Ok(())
    }
}

/// The layer; it adds nothing where no origin is named.
pub(crate) fn layer(config: &CorsConfig) -> CorsLayer {
    if config.origins.is_empty() {
        return CorsLayer::new();
    }
    let any = config.origins.iter().any(|origin| origin == ANY_ORIGIN);
    let origins = match any {
        true => AllowOrigin::any(),
        false => {
            let named = config.origins.iter();
            AllowOrigin::list(named.filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    let takes = [
        "idempotency-key",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "traceparent",
        "x-api-key",
    ];
    let takes = takes.map(HeaderName::from_static).into_iter();
    let shows = [
        "ratelimit",
        "ratelimit-policy",
        "traceparent",
        "nexus-run-id",
        "mcp-session-id",
    ];
    let shows = shows.map(HeaderName::from_static).into_iter();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(
            takes
                .chain([ACCEPT, AUTHORIZATION, CONTENT_TYPE])
                .collect::<Vec<_>>(),
        )
        .expose_headers(shows.chain([LOCATION, RETRY_AFTER]).collect::<Vec<_>>())
        .max_age(MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_and_all_only_where_everybody_is_known() {
        let check = |origin: &str, open| {
            let origins = vec![origin.to_owned()];
            CorsConfig { origins }.check(open).is_ok()
        };
        assert!(check("https://app.example:8443", true));
        assert!(check("*", false) && !check("*", true));
        for bad in ["", "app.example", "https://", "https://app.example/"] {
            assert!(!check(bad, false), "{bad}");
        }
    }
}
