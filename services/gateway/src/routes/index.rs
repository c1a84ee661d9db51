//! The pages for people. They are whole as they are: nothing is fetched from anywhere else.

use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse};

/// What the page about the interface may do: be as it is, and read the document.
const ONLY_ITSELF: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Says what this is.
pub(crate) async fn page() -> Html<&'static str> {
    Html(include_str!("index.html"))
}

/// The OpenAPI document, to be read.
pub(crate) async fn docs() -> impl IntoResponse {
    let policy = [(CONTENT_SECURITY_POLICY, ONLY_ITSELF)];
    (policy, Html(include_str!("docs.html")))
}
