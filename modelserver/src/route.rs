//! The routes: chat completions, messages, embeddings, the list of models, and the control routes.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /v1/chat/completions`, `POST /v1/embeddings`, `GET /v1/models` | OpenAI's |
//! | `POST /v1/messages` | Anthropic's |
//! | `POST /_script` | replaces the script |
//! | `GET /_counters` | [`Counters`](crate::Counters) |
//! | `GET /_requests` | the bodies that came, oldest first |
//! | `GET /_sent` | what each request really got ([`Sent`](crate::Sent)), oldest first |

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::sync::watch;

use crate::dialect::Wire;
use crate::embeddings::EmbeddingRequest;
use crate::fault;
use crate::instant::Instant;
use crate::messages::{self, MessagesRequest};
use crate::plan;
use crate::script::{Fault, Options, Reply, Script};
use crate::send::{Abandoned, pause, send};
use crate::stats::{Recorded, Stats};
use crate::wire::{ChatRequest, error_body};

const MAX_BODY_BYTES: usize = 64 << 20;
pub(crate) const DEFAULT_MODEL: &str = "test-model";

pub(crate) struct Shared {
    pub(crate) stats: Stats,
    pub(crate) script: Mutex<Script>,
    /// Becomes true when the server stops; hanging answers end then.
    pub(crate) stopping: watch::Receiver<bool>,
    instant: Option<Instant>,
    models: Vec<String>,
    created: u64,
    ids: AtomicU64,
}

impl Shared {
    pub(crate) fn new(options: Options, stopping: watch::Receiver<bool>) -> Self {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let named = |models: Vec<String>| {
            if models.is_empty() {
                vec![DEFAULT_MODEL.to_owned()]
            } else {
                models
            }
        };
        Self {
            stats: Stats::default(),
            script: Mutex::new(options.script),
            stopping,
            instant: options.instant.map(|text| Instant::new(&text, created)),
            models: named(options.models),
            created,
            ids: AtomicU64::new(1),
        }
    }

    /// The reply for a request: queue, rules, the model's name, the default behaviour.
    fn choose(&self, request: &ChatRequest, key: Option<&str>) -> Result<Reply, String> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reply) = script.queue.pop_front() {
            return Ok(reply);
        }
        if let Some(rule) = script
            .rules
            .iter_mut()
            .find(|rule| rule.matches(request, key))
        {
            rule.times = rule.times.map(|n| n.saturating_sub(1));
            return Ok(rule.reply.clone());
        }
        fault::from_model(&request.model).unwrap_or_else(|| Ok(Reply::default()))
    }
}

impl crate::script::Rule {
    fn matches(&self, request: &ChatRequest, key: Option<&str>) -> bool {
        let last = request.messages.last();
        let is_result = last.is_some_and(|m| m.role == "tool");
        self.times != Some(0)
            && self.model.as_ref().is_none_or(|m| *m == request.model)
            && self.key.as_deref().is_none_or(|wanted| Some(wanted) == key)
            && self
                .after_tool_result
                .is_none_or(|wanted| wanted == is_result)
            && self
                .contains
                .as_ref()
                .is_none_or(|t| last.is_some_and(|m| m.text().contains(t)))
    }
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/messages", post(messages))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .route("/_script", post(script))
        .route("/_counters", get(counters))
        .route("/_requests", get(requests))
        .route("/_sent", get(sent))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

async fn script(State(shared): State<Arc<Shared>>, Json(new): Json<Script>) -> StatusCode {
    *shared.script.lock().unwrap_or_else(PoisonError::into_inner) = new;
    StatusCode::NO_CONTENT
}

async fn counters(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.stats.counters()).into_response()
}

async fn requests(State(shared): State<Arc<Shared>>) -> Response {
    let bodies: Vec<_> = shared.stats.recorded().iter().map(Recorded::json).collect();
    Json(bodies).into_response()
}

async fn sent(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.stats.sent()).into_response()
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let model = |id: &String| {
        serde_json::json!({ "id": id, "object": "model", "created": shared.created,
            "owned_by": "nexus" })
    };
    let data: Vec<_> = shared.models.iter().map(model).collect();
    Json(serde_json::json!({ "object": "list", "data": data })).into_response()
}

async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(instant) = &shared.instant {
        shared.stats.add(&shared.stats.calls, 1);
        return instant.answer(&shared.stats, &body);
    }
    record(&shared, &headers, &body);
    let request = serde_json::from_slice(&body).map_err(|e| e.to_string());
    chosen(shared, CHAT, &headers, request).await
}

async fn messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    record(&shared, &headers, &body);
    let request = serde_json::from_slice::<MessagesRequest>(&body).map_err(|e| e.to_string());
    let request = request.and_then(MessagesRequest::chat);
    let request = match headers.contains_key("anthropic-version") {
        true => request,
        false => Err("anthropic-version: header is required".to_owned()),
    };
    chosen(shared, MESSAGES, &headers, request).await
}

async fn embed(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    record(&shared, &headers, &body);
    let request = match serde_json::from_slice::<EmbeddingRequest>(&body) {
        Ok(request) => request,
        Err(e) => return refuse(&shared.stats, 400, None, None, &e.to_string()),
    };
    let asked = match request.chat() {
        Ok(asked) => asked,
        Err(wrong) => return refuse(&shared.stats, 400, None, None, &wrong),
    };
    let reply = match shared.choose(&asked, key_of(&headers).as_deref()) {
        Ok(reply) => reply,
        Err(unknown) => {
            return refuse(&shared.stats, 404, None, Some("model_not_found"), &unknown);
        }
    };
    match refused_or_hung(&shared, &asked, &reply).await {
        Some(response) => response,
        None => {
            let account = shared
                .stats
                .open("/v1/embeddings", &asked.model, String::new());
            let (text, tokens) = request.answer(&reply);
            send(shared, plan::body(text, &reply, tokens), account)
        }
    }
}

fn record(shared: &Shared, headers: &HeaderMap, body: &Bytes) {
    shared.stats.add(&shared.stats.calls, 1);
    shared.stats.record(Recorded {
        authorization: key_of(headers),
        body: body.clone(),
    });
}

/// The header that says who asks.
fn key_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    text("authorization").or_else(|| text("x-api-key"))
}

/// A protocol's path and how it says no.
struct Route {
    path: &'static str,
    refuse: Refuse,
}

type Refuse = fn(&Stats, u16, Option<u64>, Option<&str>, &str) -> Response;

const CHAT: Route = Route {
    path: "/v1/chat/completions",
    refuse,
};
const MESSAGES: Route = Route {
    path: "/v1/messages",
    refuse: refuse_messages,
};

async fn chosen(
    shared: Arc<Shared>,
    route: Route,
    headers: &HeaderMap,
    request: Result<ChatRequest, String>,
) -> Response {
    let request = match request {
        Ok(request) => request,
        Err(wrong) => return (route.refuse)(&shared.stats, 400, None, None, &wrong),
    };
    let reply = match shared.choose(&request, key_of(headers).as_deref()) {
        Ok(reply) => reply,
        Err(unknown) => {
            let code = (request.wire == Wire::Chat).then_some("model_not_found");
            return (route.refuse)(&shared.stats, 404, None, code, &unknown);
        }
    };
    match refused_or_hung(&shared, &request, &reply).await {
        Some(response) => response,
        None => {
            let prefix = match request.wire {
                Wire::Chat => "chatcmpl",
                Wire::Messages => "msg",
            };
            let id = format!("{prefix}-{}", shared.ids.fetch_add(1, Relaxed));
            let account = shared.stats.open(route.path, &request.model, id.clone());
            let plan = plan::plan(&request, &reply, id, shared.created);
            send(shared, plan, account)
        }
    }
}

/// What happens before there is an answer: a delay, an error status, or nothing ever.
async fn refused_or_hung(
    shared: &Arc<Shared>,
    request: &ChatRequest,
    reply: &Reply,
) -> Option<Response> {
    let mut stopping = shared.stopping.clone();
    if reply.first_byte_delay_ms > 0 {
        let delay = Duration::from_millis(reply.first_byte_delay_ms);
        let guard = Abandoned::new(shared.clone());
        pause(delay, &mut stopping).await;
        guard.defuse();
    }
    match &reply.fault {
        Some(Fault::Status {
            status,
            retry_after_s,
            code,
            message,
        }) => {
            let message = message.as_deref().unwrap_or("scripted failure");
            let refuse = match request.wire {
                Wire::Chat => CHAT.refuse,
                Wire::Messages => MESSAGES.refuse,
            };
            let (stats, code) = (&shared.stats, code.as_deref());
            Some(refuse(stats, *status, *retry_after_s, code, message))
        }
        Some(Fault::Hang) => {
            (shared.stats).add(&shared.stats.input_tokens, request.tokens());
            let _guard = Abandoned::new(shared.clone());
            // Ends only by the client going away or the server stopping.
            let _ = stopping.wait_for(|stop| *stop).await;
            Some(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
        _ => None,
    }
}

/// An HTTP error with OpenAI's body.
pub(crate) fn refuse(
    stats: &Stats,
    status: u16,
    retry_after_s: Option<u64>,
    code: Option<&str>,
    message: &str,
) -> Response {
    let (kind, usual) = match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    };
    let body = error_body(kind, code.or(usual), message);
    refusal(stats, status, retry_after_s, body)
}

/// An HTTP error with Anthropic's body.
fn refuse_messages(
    stats: &Stats,
    status: u16,
    retry_after_s: Option<u64>,
    code: Option<&str>,
    message: &str,
) -> Response {
    let body = messages::error_body(status, code, message);
    refusal(stats, status, retry_after_s, body)
}

fn refusal(stats: &Stats, status: u16, retry_after_s: Option<u64>, body: String) -> Response {
    stats.add(&stats.refused, 1);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(seconds) = retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
