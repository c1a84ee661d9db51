//! `RateLimit-Policy` and `RateLimit`, as the IETF's draft-ietf-httpapi-ratelimit-headers-09 and later
//! have them: lists of named policies, `q` requests in `w` seconds, of which `r` remain and some come
//! back in `t` seconds.

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::shared::WINDOW_S;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(super) name: &'static str,
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) reset_s: u64,
}

/// Says how limits stand; nothing where there are none.
pub(crate) fn write(headers: &mut HeaderMap, standings: &[Standing]) {
    let (mut policies, mut limits) = (String::new(), String::new());
    for standing in standings {
        let Standing {
            name,
            limit,
            remaining,
            reset_s,
        } = standing;
        let comma = if policies.is_empty() { "" } else { ", " };
        // Writing into a string does not fail.
        let _ = write!(policies, "{comma}\"{name}\";q={limit};w={WINDOW_S}");
        let _ = write!(limits, "{comma}\"{name}\";r={remaining};t={reset_s}");
    }
    for (name, text) in [(POLICY, policies), (LIMIT, limits)] {
        if let Some(value) = HeaderValue::from_str(&text)
            .ok()
            .filter(|_| !text.is_empty())
        {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_lists_of_named_policies() {
        let of = |name, remaining| Standing {
            name,
            limit: 10,
            remaining,
            reset_s: 7,
        };
        let mut headers = HeaderMap::new();
        write(&mut headers, &[of("key", 3), of("tenant", 0)]);
        assert_eq!(headers[POLICY], "\"key\";q=10;w=60, \"tenant\";q=10;w=60");
        assert_eq!(headers[LIMIT], "\"key\";r=3;t=7, \"tenant\";r=0;t=7");
        let mut none = HeaderMap::new();
        write(&mut none, &[]);
        assert!(none.is_empty());
    }
}
