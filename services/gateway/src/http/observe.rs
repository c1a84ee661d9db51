//! Around every request: the browser guard, its trace, its time limit, its count. One layer instead
//! of a tower of them, as the order matters and all of it fits on a page.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use nexus_bus::trace::set_parent;
use nexus_events::envelope::TRACEPARENT;
use tracing::{Instrument, field, info_span};

use super::ApiError;
use super::trace::Trace;
use crate::app::App;
use crate::metrics::{ByRoute, Request as Counted};
use crate::routes::tongue::{Tongue, waits};
use crate::source::Attempt;

/// The route label of what matched none.
const UNMATCHED: &str = "unmatched";

pub(crate) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    name_host(&mut request);
    let trace = Trace::of(request.headers());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let method = method_label(request.method().as_str());
    request.extensions_mut().insert(trace);
    let source = app
        .proxies()
        .source(request.extensions(), request.headers());
    let attempt = Attempt::new(source, request.headers());
    request.extensions_mut().insert(attempt.clone());
    let mut response = match app.identity().guard(request.method(), request.headers()) {
        Ok(()) => limited(&app, request, next, &route, trace).await,
        Err(refused) => refused.into_response(),
    };
    response = match Tongue::of(&route) {
        Tongue::Own => response,
        Tongue::OpenAi => crate::openai::errors::reshape(response, false),
        Tongue::Responses => crate::openai::errors::reshape(response, true),
        Tongue::Anthropic => crate::anthropic::errors::reshape(response, &trace),
    };
    app.denials().note(&attempt, &route, method, &response);
    if let Some(header) = trace.header() {
        response.headers_mut().insert(TRACEPARENT, header);
    }
    let metrics = app.metrics();
    let status = response.status().as_u16();
    metrics
        .durations
        .get_or_create(&ByRoute {
            route: route.clone(),
        })
        .observe(begun.elapsed().as_secs_f64());
    metrics
        .requests
        .get_or_create(&Counted {
            route,
            method: method.to_owned(),
            status,
        })
        .inc();
    response
}

async fn limited(app: &App, request: Request, next: Next, route: &str, trace: Trace) -> Response {
    let span = info_span!(
        "request",
        otel.name = field::Empty,
        otel.kind = "server",
        http.route = route,
        http.request.method = %request.method(),
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{} {route}", request.method()));
        set_parent(&span, trace.0);
    }
    // What waits on purpose bounds itself, by `max_wait_ms`.
    let config = app.config();
    let asks = request.uri().query();
    let waits = waits(route) || asks.is_some_and(|query| query.contains("wait="));
    let most_ms = config.request_timeout_ms + if waits { config.max_wait_ms } else { 0 };
    let answer = next.run(request).instrument(span);
    match tokio::time::timeout(Duration::from_millis(most_ms), answer).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("the request was not answered within {most_ms} ms");
            ApiError::new(504, "timeout", detail).into_response()
        }
    }
}

/// HTTP/2 has the host in the target; whoever checks it looks at one place.
fn name_host(request: &mut Request) {
    if request.headers().contains_key(HOST) {
        return;
    }
    let authority = request.uri().authority().map(|it| it.as_str().to_owned());
    if let Some(host) = authority.and_then(|host| host.parse().ok()) {
        request.headers_mut().insert(HOST, host);
    }
}

/// A method as a label; callers may invent methods.
fn method_label(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
