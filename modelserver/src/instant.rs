//! The mode for benchmarks: one answer, its bytes computed once, a request read only for the two
//! fields that choose among them.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;

use crate::route::{DEFAULT_MODEL, refuse};
use crate::script::WireTokens;
use crate::stats::Stats;
use crate::wire::{Head, Mode, tokens};

/// Tokens that every prompt is said to have.
const INPUT_TOKENS: u64 = 16;

/// Bodies that were computed once.
pub(crate) struct Instant {
    whole: Bytes,
    streamed: Bytes,
    streamed_with_usage: Bytes,
    usage: WireTokens,
}

impl Instant {
    pub(crate) fn new(text: &str, created: u64) -> Self {
        let usage = WireTokens {
            input: INPUT_TOKENS,
            output: tokens(text),
            ..WireTokens::default()
        };
        let head = |wants_usage| Head {
            id: "chatcmpl-instant".into(),
            model: DEFAULT_MODEL.into(),
            created,
            wants_usage,
            unknown_enums: false,
        };
        let stream = |head: &Head| {
            let delta = serde_json::json!({ "role": "assistant", "content": text });
            let end = head.delta(&serde_json::json!({}), Some("stop"));
            let usage = if head.wants_usage {
                head.usage(usage)
            } else {
                String::new()
            };
            Bytes::from(format!(
                "{}{end}{usage}data: [DONE]\n\n",
                head.delta(&delta, None)
            ))
        };
        Self {
            whole: head(false).whole(text, &[], "stop", Some(usage)).into(),
            streamed: stream(&head(false)),
            streamed_with_usage: stream(&head(true)),
            usage,
        }
    }

    pub(crate) fn answer(&self, stats: &Stats, body: &[u8]) -> Response {
        let mode: Mode = match serde_json::from_slice(body) {
            Ok(mode) => mode,
            Err(e) => return refuse(stats, 400, None, None, &e.to_string()),
        };
        stats.add(&stats.input_tokens, self.usage.input);
        stats.add(&stats.output_tokens, self.usage.output);
        stats.add(&stats.completed, 1);
        let (kind, body) = match (mode.streams(), mode.wants_usage()) {
            (false, _) => ("application/json", &self.whole),
            (true, false) => ("text/event-stream", &self.streamed),
            (true, true) => ("text/event-stream", &self.streamed_with_usage),
        };
        let mut response = Response::new(Body::from(body.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}
