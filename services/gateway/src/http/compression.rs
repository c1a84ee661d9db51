//! Long answers are compressed for whoever says that it takes that. Streams never are: an encoder holds
//! back what should be seen at once. They do not even pass the layer, whose bodies have room for the
//! encoder that they may turn out to need: six kilobytes for as long as a listener listens.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::Response;
use tower::{Layer, Service};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};

use crate::routes::asked::EVENT_STREAM;

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

/// What compresses.
pub(crate) type Compression = CompressionLayer<And<And<Wanted, SizeAbove>, NotForContentType>>;

/// What compresses, if anything is to.
pub(crate) fn compression(wanted: bool) -> Compression {
    let worthwhile = Wanted(wanted).and(SizeAbove::new(LEAST_BYTES));
    CompressionLayer::new().compress_when(worthwhile.and(NotForContentType::SSE))
}

/// Compresses answers.
pub(crate) async fn compress(
    State(compression): State<Compression>,
    request: Request,
    next: Next,
) -> Response {
    let mut asked = Request::new(Body::empty());
    for accepted in request.headers().get_all(ACCEPT_ENCODING) {
        asked
            .headers_mut()
            .append(ACCEPT_ENCODING, accepted.clone());
    }
    let response = next.run(request).await;
    if is_stream(&response) {
        return response;
    }
    let answered = compression.layer(Answered(Some(response))).call(asked);
    match answered.await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENT_STREAM.as_bytes()))
}

/// An answer that is there.
struct Answered(Option<Response>);

impl Service<Request> for Answered {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(self.0.take().unwrap_or_default()))
    }
}
