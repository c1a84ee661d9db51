//! In which form events are asked for: as a list, as server-sent events, or over a WebSocket.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::http::ApiError;
use crate::http::server::Held;
use crate::identity::socket::{PROTOCOL, offers, wants_socket};
use crate::stream::encoding::Encoding;
use crate::stream::socket;
use crate::stream::sse::Frames;

/// Media type of a stream.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// See the module.
pub(crate) enum Asked {
    /// What there is, as JSON.
    List,
    /// As server-sent events.
    Sse,
    /// As messages of a WebSocket.
    Socket(Box<WebSocketUpgrade>, Option<Held>),
}

impl FromRequestParts<App> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if !wants_socket(&parts.headers) {
            return Ok(match wants_stream(&parts.headers) {
                true => Self::Sse,
                false => Self::List,
            });
        }
        let held = parts.extensions.get::<Held>().cloned();
        let offered = offers(&parts.headers).next().is_some();
        let upgrade = WebSocketUpgrade::from_request_parts(parts, app).await;
        let mut upgrade = upgrade
            .map_err(|refused| ApiError::new(400, "invalid_upgrade", refused.body_text()))?;
        if offered {
            // A browser takes no answer that chooses none of what its page offered, and the
            // credential is not for an answer.
            if !upgrade.requested_protocols().any(|name| name == PROTOCOL) {
                let detail =
                    format!("offer the protocol {PROTOCOL} too: it is the one spoken here");
                return Err(ApiError::new(400, "invalid_upgrade", detail));
            }
            upgrade.set_selected_protocol(HeaderValue::from_static(PROTOCOL));
        }
        Ok(Self::Socket(Box::new(upgrade), held))
    }
}

impl Asked {
    /// How a stream is to be written; none where a list is asked for.
    pub(crate) fn encoding(&self) -> Option<Encoding> {
        match self {
            Self::List => None,
            Self::Sse => Some(Encoding::Sse),
            Self::Socket(..) => Some(Encoding::Socket),
        }
    }

    /// An answer that goes on.
    pub(crate) fn answer(self, frames: Frames) -> Response {
        if let Self::Socket(upgrade, held) = self {
            return socket::answer(*upgrade, frames, held);
        }
        let headers = [
            (CONTENT_TYPE.as_str(), EVENT_STREAM),
            (CACHE_CONTROL.as_str(), "no-store"),
            // nginx would collect events otherwise.
            ("X-Accel-Buffering", "no"),
        ];
        (headers, Body::from_stream(frames)).into_response()
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    accept
        .split(',')
        .any(|range| range.split(';').next().unwrap_or("").trim() == EVENT_STREAM)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_stream_is_given_where_it_is_asked_for() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            wants_stream(&headers)
        };
        assert!(wants("text/event-stream"));
        assert!(wants("application/json, text/event-stream;q=0.5"));
        assert!(!wants("application/json"));
        assert!(!wants("*/*"));
        assert!(!wants_stream(&HeaderMap::new()));
    }
}
