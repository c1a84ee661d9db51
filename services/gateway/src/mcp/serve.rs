//! The one address: a message comes in, and its answer goes out, as JSON or as a stream.

use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use nexus_bus::process::load_latest;
use nexus_events::run::{Run, Step, ToolPhase};
use nexus_events::{AggregateId, RunId};
use serde_json::{Map, Value, json};

use super::arguments::{self, Asked, Target};
use super::calling::{self, Request};
use super::reply::{Reply, of_problem, server, taken};
use super::revision::{HANDSHAKE, Revision, can_ask, spoken};
use super::session::{SESSION, Session};
use super::wire::{
    Answer, INTERNAL, INVALID_REQUEST, METHOD_NOT_FOUND, Message, PARSE_ERROR, RpcError,
};
use super::{catalog, headers, question};
use crate::app::App;
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody};
use crate::identity::Caller;
use crate::openai::abandon::Abandon;

/// How long a list of tools may be kept: a tool that is registered is seen that much later.
const LIST_TTL_MS: u64 = 10_000;
/// What is spoken here changes with the program.
const DISCOVERY_TTL_MS: u64 = 60_000;
const INSTRUCTIONS: &str = "Tools and agents of a Nexus platform. Each call is judged by policy, \
    counted against budgets and recorded; some wait for a person's approval. A result that says \
    in_doubt must not be called again before somebody says what became of it.";

/// Who sent a message.
struct Sender<'a> {
    app: &'a App,
    caller: &'a Caller,
    trace: Trace,
    headers: &'a HeaderMap,
}

/// Takes a message.
pub(crate) async fn serve(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    body: Result<JsonBody<Message>, ApiError>,
) -> Response {
    let message = match body {
        Ok(JsonBody(message)) => message,
        Err(error) => return unreadable(error),
    };
    let from = Sender {
        app: &app,
        caller: &caller,
        trace,
        headers: &headers,
    };
    match (&message.method, &message.id) {
        _ if message.jsonrpc != "2.0" => refuse("`jsonrpc` must be \"2.0\""),
        // We ask clients nothing, so that nobody waits for their answers.
        (None, Some(_)) => taken(),
        (None, None) => refuse("there is neither a `method` nor an `id`"),
        (Some(_), None) => notified(&from, &message).await,
        (Some(_), Some(id @ (Value::String(_) | Value::Number(_)))) => {
            asked(from, &message, id).await
        }
        (Some(_), Some(_)) => refuse("`id` must be a string or a number"),
    }
}

/// A message that is no JSON, or not in a shape that could be answered.
fn unreadable(error: ApiError) -> Response {
    let problem = error.into_problem();
    let code = match problem.code.as_str() {
        "invalid_json" => PARSE_ERROR,
        _ if problem.status < 500 => INVALID_REQUEST,
        _ => return ApiError::from(problem).into_response(),
    };
    let status = problem.status;
    Answer::of(Value::Null, Err(of_problem(code, &problem))).with_status(status)
}

fn refuse(detail: &str) -> Response {
    let error = RpcError::new(INVALID_REQUEST, detail);
    Answer::of(Value::Null, Err(error)).with_status(400)
}

async fn asked(from: Sender<'_>, message: &Message, id: &Value) -> Response {
    let revision = match Revision::of(from.headers, message) {
        Ok(revision) => revision,
        Err(error) => {
            let status = error.status;
            return Answer::of(id.clone(), Err(error)).with_status(status);
        }
    };
    let reply = Reply {
        id: id.clone(),
        revision,
    };
    match revision {
        Revision::Stateless => stateless(from, message, reply).await,
        Revision::Handshake => with_handshake(from, message, reply).await,
    }
}

async fn stateless(from: Sender<'_>, message: &Message, reply: Reply) -> Response {
    if let Err(error) = headers::check(from.headers, message) {
        return reply.response(Err(error));
    }
    match message.method.as_deref().unwrap_or_default() {
        "server/discover" => reply.response(Ok(discovery())),
        "tools/list" => {
            let listed = list(&from, message).await;
            reply.response(listed.map(|tools| kept(tools, LIST_TTL_MS)))
        }
        "tools/call" => call(from, message, reply, None).await,
        _ => reply.response(Err(unknown())),
    }
}

async fn with_handshake(from: Sender<'_>, message: &Message, reply: Reply) -> Response {
    let method = message.method.as_deref().unwrap_or_default();
    if method == "initialize" {
        return initialized(message, &reply);
    }
    let session = match Session::of(from.headers) {
        Ok(session) => session,
        Err(error) => {
            let status = error.status;
            return reply.answer(Err(error)).with_status(status);
        }
    };
    match method {
        "ping" => reply.response(Ok(json!({}))),
        "tools/list" => {
            let listed = list(&from, message).await;
            reply.response(listed.map(Value::Object))
        }
        "tools/call" => {
            let run = session.map(|session| session.run_of(from.caller, &reply.id));
            call(from, message, reply, run).await
        }
        _ => reply.response(Err(unknown())),
    }
}

/// The handshake: what was asked for where it is spoken, else the newest that has a handshake.
fn initialized(message: &Message, reply: &Reply) -> Response {
    let Some(wanted) = message.param("protocolVersion").and_then(Value::as_str) else {
        return reply.response(Err(RpcError::params("`protocolVersion` must be a text")));
    };
    let [newest, ..] = HANDSHAKE;
    let version = HANDSHAKE.into_iter().find(|version| *version == wanted);
    let mut response = reply.response(Ok(json!({
        "protocolVersion": version.unwrap_or(newest),
        "capabilities": { "tools": {} },
        "serverInfo": server(),
        "instructions": INSTRUCTIONS,
    })));
    if let Ok(id) = HeaderValue::from_str(&Session::begin().text()) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(SESSION), id);
    }
    response
}

fn discovery() -> Value {
    let mut result = Map::new();
    result.insert("supportedVersions".to_owned(), json!(spoken()));
    result.insert("capabilities".to_owned(), json!({ "tools": {} }));
    result.insert("instructions".to_owned(), json!(INSTRUCTIONS));
    kept(result, DISCOVERY_TTL_MS)
}

/// A result that its client may keep, for itself alone.
fn kept(mut result: Map<String, Value>, ttl_ms: u64) -> Value {
    result.insert("ttlMs".to_owned(), json!(ttl_ms));
    result.insert("cacheScope".to_owned(), json!("private"));
    Value::Object(result)
}

fn unknown() -> RpcError {
    RpcError::new(METHOD_NOT_FOUND, "Method not found").with_status(404)
}

async fn list(from: &Sender<'_>, message: &Message) -> Result<Map<String, Value>, RpcError> {
    match catalog::list(from.app, from.caller, message).await {
        Ok(listed) => listed,
        Err(error) => Err(of_problem(INTERNAL, &error.into_problem())),
    }
}

async fn call(from: Sender<'_>, message: &Message, reply: Reply, run: Option<RunId>) -> Response {
    let wanted = arguments::named(message).and_then(|named| Ok((named, question::back(message)?)));
    let ((name, arguments), back) = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return reply.response(Err(error)),
    };
    let target = match catalog::agent_named(&name) {
        None => Target::Tool(Value::Object(arguments)),
        Some(agent) => match arguments::for_agent(agent, arguments) {
            Ok(target) => target,
            // The model that made them is told, and can do better.
            Err(words) => return reply.response(Ok(Reply::complaint(&words))),
        },
    };
    let asked = Asked {
        name,
        target,
        user: from.caller.actor.user.clone(),
    };
    let request = Request {
        app: from.app,
        caller: from.caller,
        trace: from.trace,
        headers: from.headers,
        run,
        token: message.meta("progressToken").cloned().filter(is_token),
        asks: reply.revision == Revision::Stateless && can_ask(message),
        streams: takes_streams(from.headers),
        reply,
    };
    calling::call(request, asked, back).await
}

fn is_token(token: &Value) -> bool {
    token.is_string() || token.is_number()
}

fn takes_streams(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut types = accepts.flat_map(|value| value.split(','));
    types.any(|one| {
        let essence = one.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

/// A client of the older revision gives up a request. In the newer one it closes the response.
async fn notified(from: &Sender<'_>, message: &Message) -> Response {
    let cancels = message.method.as_deref() == Some("notifications/cancelled");
    let request = message.param("requestId").filter(|id| is_token(id));
    let session = match Session::of(from.headers) {
        Ok(session) => session,
        Err(error) => {
            let status = error.status;
            return Answer::of(Value::Null, Err(error)).with_status(status);
        }
    };
    if let (true, Some(request), Some(session)) = (cancels, request, session) {
        let run = session.run_of(from.caller, request);
        if can_be_taken_back(from, run).await {
            // Dropping it cancels the run.
            drop(Abandon::new(from.app, from.caller, from.trace, run));
        }
    }
    taken()
}

/// Whether a run is there, goes on, and is no call of a tool that has begun.
async fn can_be_taken_back(from: &Sender<'_>, run: RunId) -> bool {
    let tenant = &from.caller.tenant;
    let first_seq = from.app.known().first_seq(tenant, run).unwrap_or(0);
    let id = AggregateId::from(run);
    let loading = load_latest::<Run>(from.app.store(), tenant, &id, first_seq);
    let Ok(loaded) = from.app.in_time(loading).await else {
        return false;
    };
    let run = &loaded.state;
    let began = match &run.step {
        Step::Tools { calls, .. } => calls
            .iter()
            .any(|call| matches!(call.phase, ToolPhase::Started { .. } | ToolPhase::InDoubt)),
        _ => false,
    };
    run.started.is_some() && !run.status.is_terminal() && !(run.invokes() && began)
}
