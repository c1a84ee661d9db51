//! Chat completions, as OpenAI's clients ask for them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use nexus_events::RunId;
use nexus_events::command::StartRun;
use tokio::time::Instant;

use super::runs::{Started, name, take_key};
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody};
use crate::identity::Caller;
use crate::openai::abandon::Abandon;
use crate::openai::answer::{ChatCompletion, Head};
use crate::openai::chunks::Chunks;
use crate::openai::collect::Collected;
use crate::openai::follow::Follow;
use crate::openai::request::ChatRequest;
use crate::openai::stream::Answering;
use crate::stream::history::begin_of;

/// The route. It waits for a run's end by its nature.
pub(crate) const CHAT: &str = "/v1/chat/completions";
/// The models and agents, in OpenAI's form.
pub(crate) const MODELS: &str = "/v1/models";

/// The run behind an answer.
const RUN_ID: HeaderName = HeaderName::from_static("nexus-run-id");

/// Whether the errors of a route are OpenAI's.
pub(crate) fn speaks_openai(path: &str) -> bool {
    matches!(path, CHAT | MODELS)
}

/// Answers a conversation: whole, or as a stream.
pub(crate) async fn complete(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let (model, streams) = (request.model.clone(), request.stream.unwrap_or(false));
    let includes_usage = request.includes_usage();
    let mut command = request.into_command(app.catalog())?;
    take_key(&mut command, &headers)?;
    let (run, fresh) = name(&mut command, &caller.tenant);
    let permit = Arc::clone(app.listeners())
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("overloaded", "too many answers are waited for here"))?;
    let chunks = Chunks::new(command.client_tools.iter().map(|tool| tool.name.clone()));
    // First the subscription, then the command: in between nothing is missed.
    let mut follow = Follow::open(&app, &caller.tenant, run, streams).await?;
    let mut abandon = Abandon::new(&app, &caller, trace, run);
    if !fresh {
        abandon.disarm();
    }
    match begin(&app, &caller, trace, run, command).await {
        Ok(()) => {}
        Err(refused) => {
            abandon.disarm();
            return Err(refused);
        }
    }
    let from = match fresh {
        true => None,
        false => Some(begin_of(&app, &caller.tenant, run).await),
    };
    follow.begin(from);
    let config = app.config();
    let answering = Answering {
        head: Head {
            run,
            model,
            created: now(),
        },
        follow,
        chunks,
        collected: Collected::default(),
        includes_usage,
        abandon,
        deadline: Instant::now() + Duration::from_millis(config.max_wait_ms),
        heartbeat: Duration::from_millis(config.heartbeat_ms),
        stall: Duration::from_millis(config.stall_timeout_ms),
        _permit: permit,
    };
    let mut response = match streams {
        true => answering.streamed().await,
        false => match answering.whole().await {
            Ok((head, collected)) => Json(ChatCompletion::new(&head, collected)).into_response(),
            Err(refused) => *refused,
        },
    };
    if let Ok(id) = HeaderValue::from_str(&run.to_string()) {
        response.headers_mut().insert(RUN_ID, id);
    }
    Ok(response)
}

async fn begin(
    app: &App,
    caller: &Caller,
    trace: Trace,
    run: RunId,
    command: StartRun,
) -> Result<(), ApiError> {
    let order = Order {
        caller,
        trace,
        command: command.into(),
        run: Some(run),
        key: None,
    };
    match send::<Started>(app, order).await? {
        Outcome::Done(Started {
            seq: Some(first), ..
        }) => app.known().begun(&caller.tenant, run, first),
        _ => (app.known()).queued(&caller.tenant, run, run.own_session()),
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
