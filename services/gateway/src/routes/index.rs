//! The page for people.

use axum::response::Html;

/// Says what this is.
pub(crate) async fn page() -> Html<&'static str> {
    Html(include_str!("index.html"))
}
