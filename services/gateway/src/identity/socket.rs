//! Requests for a WebSocket. A page can set no header of one, but may offer protocols: one that begins
//! with `bearer.` is its credential. Addresses with the credential in them were the alternative; they
//! end up in the logs of every proxy.

use axum::http::HeaderMap;
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};

/// The protocol that is spoken.
pub(crate) const PROTOCOL: &str = "nexus.v1";
/// What a credential among the protocols begins with.
const BEARER: &str = "bearer.";

/// Whether a WebSocket is asked for.
pub(crate) fn wants_socket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).map(|value| value.as_bytes());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"websocket"))
}

/// The protocols that are offered.
pub(crate) fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let lists = lists.filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',').map(str::trim))
}

/// The credential among them, if a WebSocket is asked for.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    let mut offers = offers(headers);
    let shown = offers.find_map(|offer| offer.strip_prefix(BEARER));
    shown.filter(|_| wants_socket(headers))
}
