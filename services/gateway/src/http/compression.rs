//! Long answers are compressed for whoever says that it takes that. Streams never are: an encoder holds
//! back what should be seen at once.

use axum::http::StatusCode;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};

/// Shorter answers fit into one packet anyway.
const LEAST_BYTES: u16 = 1024;

/// Whether compression is wanted at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted(bool);

impl Predicate for Wanted {
    fn should_compress<B>(&self, response: &axum::http::Response<B>) -> bool
    where
        B: axum::body::HttpBody,
    {
        self.0 && response.status() != StatusCode::PARTIAL_CONTENT
    }
}

/// The layer.
pub(crate) fn layer(
    wanted: bool,
) -> CompressionLayer<And<And<Wanted, SizeAbove>, NotForContentType>> {
    let worthwhile = Wanted(wanted).and(SizeAbove::new(LEAST_BYTES));
    CompressionLayer::new().compress_when(worthwhile.and(NotForContentType::SSE))
}
