//! W3C trace context: a caller's is honoured, else a trace begins here.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use nexus_bus::trace::TraceParent;
use nexus_events::envelope::TRACEPARENT;
use rand::Rng;

/// The trace that a request belongs to. In the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace(pub(crate) TraceParent);

impl Trace {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        Self(given.unwrap_or_else(begin))
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        self.0.to_string().parse().ok()
    }
}

fn begin() -> TraceParent {
    let mut rng = rand::rng();
    // Zero is forbidden; the lowest bit keeps it away.
    TraceParent {
        trace_id: (rng.random::<u128>() | 1).to_be_bytes(),
        span_id: (rng.random::<u64>() | 1).to_be_bytes(),
        flags: 1,
    }
}

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts
            .extensions
            .get::<Self>()
            .copied()
            .unwrap_or_else(|| Self::of(&parts.headers)))
    }
}
