//! The routes: a file for each kind of thing, and `table`, which lists them all.

mod approvals;
pub(crate) mod asked;
mod audit;
mod budgets;
mod catalog;
mod chat;
mod control;
mod embeddings;
mod events;
mod index;
mod keys;
mod lists;
mod mcp;
mod messages;
mod policies;
mod reservations;
mod responses;
mod route;
pub(crate) mod runs;
mod sessions;
mod spend;
mod system;
mod table;
pub(crate) mod tongue;
pub(crate) mod tools;
mod webhooks;
mod wide;

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;

use crate::app::App;
use crate::http::ApiError;
use crate::http::observe::observe;
use crate::http::{compression, cors};
use crate::identity::authorize;
pub(crate) use route::{Content, Route};
pub(crate) use table::all;

/// The router.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in all() {
        let demands = from_fn_with_state((app.clone(), route.access), authorize);
        router = router.route(route.path, route.handler.layer(demands));
    }
    let compression = compression::compression(app.config().compression);
    let router = router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), observe))
        .layer(from_fn_with_state(compression, compression::compress))
        .with_state(app.clone());
    match app.config().cors.origins.is_empty() {
        true => router,
        false => router.layer(cors::layer(&app.config().cors)),
    }
}

async fn unknown(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(128).collect();
    let detail = format!("there is nothing at {path}; /openapi.json says what there is");
    ApiError::new(404, "unknown_route", detail)
}

async fn wrong_method() -> ApiError {
    let detail = "the route does not take this method; the Allow header says which it takes";
    ApiError::new(405, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests;
