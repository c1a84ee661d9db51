//! Which revision a request speaks. The newer one has no handshake: each request says its revision
//! itself, in `_meta` and in a header, and what neither says is of the older one.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::headers::single;
use super::wire::{HEADER_MISMATCH, Message, RpcError, UNSUPPORTED_VERSION};

/// The newer one, without sessions.
pub(crate) const STATELESS: &str = "2026-07-28";
/// The older ones, with a handshake; the newest first. What is served differs in nothing but that.
pub(crate) const HANDSHAKE: [&str; 2] = ["2025-11-25", "2025-06-18"];
/// Header that names a request's revision.
pub(crate) const VERSION: &str = "mcp-protocol-version";

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A way of speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Of [`HANDSHAKE`].
    Handshake,
    /// [`STATELESS`].
    Stateless,
}

/// All that is spoken, the newest first.
pub(crate) fn spoken() -> Vec<&'static str> {
    let mut all = vec![STATELESS];
    all.extend(HANDSHAKE);
    all
}

impl Revision {
    /// That of a request.
    ///
    /// # Errors
    /// It is none that is spoken here, or the request says two, or too little of itself.
    pub(crate) fn of(headers: &HeaderMap, message: &Message) -> Result<Self, RpcError> {
        let header = single(headers, VERSION)?;
        let meta = message.meta(META_VERSION);
        let method = message.method.as_deref().unwrap_or_default();
        // The handshake names a revision in its parameters.
        let shakes_hands = method == "initialize" && header != Some(STATELESS);
        let stateless = meta.is_some() || header == Some(STATELESS) || method == "server/discover";
        match (header, stateless && !(shakes_hands && meta.is_none())) {
            (_, true) => stateless_of(header, message).map(|()| Self::Stateless),
            (None, false) => Ok(Self::Handshake),
            (Some(_), false) if method == "initialize" => Ok(Self::Handshake),
            (Some(version), false) if is_handshake(version) => Ok(Self::Handshake),
            (Some(version), false) => Err(unsupported(version)),
        }
    }
}

/// Whether a revision is of the older kind. The one before what is served has no header of its own,
/// and clients name it where they know no better.
fn is_handshake(version: &str) -> bool {
    HANDSHAKE.contains(&version) || version == "2025-03-26"
}

fn stateless_of(header: Option<&str>, message: &Message) -> Result<(), RpcError> {
    let version = message.meta(META_VERSION).and_then(Value::as_str);
    let capabilities = message.meta(META_CAPABILITIES).filter(|it| it.is_object());
    let (Some(version), Some(_)) = (version, capabilities) else {
        let detail = format!("`params._meta` must have {META_VERSION:?} and {META_CAPABILITIES:?}");
        return Err(RpcError::params(detail).with_status(400));
    };
    if header != Some(version) {
        let detail = "the header MCP-Protocol-Version and `params._meta` name different revisions";
        return Err(RpcError::new(HEADER_MISMATCH, detail).with_status(400));
    }
    match version {
        STATELESS => Ok(()),
        other => Err(unsupported(other)),
    }
}

fn unsupported(version: &str) -> RpcError {
    let requested: String = version.chars().take(64).collect();
    let detail = format!("revision {requested:?} of the protocol is not spoken here");
    RpcError::new(UNSUPPORTED_VERSION, detail)
        .with(json!({ "supported": spoken(), "requested": requested }))
        .with_status(400)
}

/// Whether the client of a request can ask its person something.
pub(crate) fn can_ask(message: &Message) -> bool {
    let elicitation = message
        .meta(META_CAPABILITIES)
        .and_then(|all| all.get("elicitation"));
    // Forms are what is meant where no mode is named.
    elicitation.is_some_and(|modes| {
        modes.get("form").is_some() || modes.as_object().is_some_and(serde_json::Map::is_empty)
    })
}
