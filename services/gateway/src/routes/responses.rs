//! Responses, as OpenAI's clients ask for them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use nexus_events::RunId;
use nexus_events::command::{CancelRun, ControlRun, StartRun};
use schemars::JsonSchema;
use serde::Deserialize;

use super::runs::{idempotency_key, name, take_key};
use crate::app::App;
use crate::commands::{Order, RunDone, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, Params};
use crate::identity::Caller;
use crate::openai::abandon::Abandon;
use crate::openai::follow::Follow;
use crate::openai::open::{Request, begin, listener, naming, open};
use crate::openai::stream::Answering;
use crate::responses::object::{ResponseObject, Shell, run_of};
use crate::responses::read;
use crate::responses::request::ResponseRequest;
use crate::responses::tale::Tale;
use crate::responses::teller::Events;
use crate::stream::history::begin_of;

/// Answers: whole, as a stream, or later.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ResponseRequest>,
) -> Result<Response, ApiError> {
    let streams = request.stream.unwrap_or(false);
    let background = request.background.unwrap_or(false);
    let previous = match request.goes_on_with()? {
        Some(run) => {
            let key = idempotency_key(&headers)?;
            let again = key.map(|key| RunId::from_idempotency_key(&caller.tenant, &key));
            Some(read::previous(&app, &caller.tenant, run, again).await?)
        }
        None => None,
    };
    let command = request.into_command(app.catalog(), previous)?;
    if background && !streams {
        return later(&app, &caller, trace, &headers, command).await;
    }
    let asked = Request {
        app: &app,
        caller: &caller,
        trace,
        headers: &headers,
        streams,
    };
    let teller = |run, fresh: bool| Events::new(Tale::of(run, !fresh), None);
    let (run, mut answering) = open(asked, command, teller).await?;
    if background {
        answering.abandon.disarm();
    }
    let response = match streams {
        true => answering.streamed().await,
        false => match answering.whole().await {
            Ok(told) => Json(told.tale.response()).into_response(),
            Err(refused) => *refused,
        },
    };
    Ok(naming(run, response))
}

/// Starts a run that nobody waits for.
async fn later(
    app: &App,
    caller: &Caller,
    trace: Trace,
    headers: &HeaderMap,
    mut command: StartRun,
) -> Result<Response, ApiError> {
    take_key(&mut command, headers)?;
    let (run, _) = name(&mut command, &caller.tenant);
    let shell = Shell {
        created_at: app.bus().now(),
        model: command.model.clone().unwrap_or_default(),
        tools: command.client_tools.clone(),
        sampling: command.sampling.clone().unwrap_or_default(),
        metadata: command.metadata.clone(),
        previous: None,
    };
    begin(app, caller, trace, run, command).await?;
    let recorded = read::tale(app, &caller.tenant, run).await?.response();
    // A role that has not answered yet will take it up.
    let response = recorded.unwrap_or_else(|| shell.begun(run, "queued"));
    Ok(naming(run, Json(response).into_response()))
}

/// See [`get`]. Parameters that are not listed are ignored.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct GetQuery {
    /// As server-sent events.
    #[serde(default)]
    stream: Option<bool>,
    /// With `stream`: the `sequence_number` of the last event that the reader has.
    #[serde(default)]
    starting_after: Option<u64>,
}

/// A response as it is, or what comes of it from a number on.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    Params(query): Params<GetQuery>,
) -> Result<Response, ApiError> {
    let run = known(&id)?;
    if !query.stream.unwrap_or(false) {
        let response = read::response(&app, &caller.tenant, run).await?;
        return Ok(naming(run, Json(response).into_response()));
    }
    let permit = listener(&app)?;
    let mut follow = Follow::open(&app, &caller.tenant, run, true).await?;
    // Says that there is no such response at once.
    read::response(&app, &caller.tenant, run).await?;
    follow.begin(Some(begin_of(&app, &caller.tenant, run).await));
    let mut abandon = Abandon::new(&app, &caller, trace, run);
    abandon.disarm();
    let teller = Events::new(Tale::of(run, true), query.starting_after);
    let answering = Answering::new(&app, teller, follow, abandon, permit);
    Ok(naming(run, answering.streamed().await))
}

/// Stops a response; one that has ended stays as it is.
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
) -> Result<Json<ResponseObject>, ApiError> {
    let run = known(&id)?;
    let before = read::response(&app, &caller.tenant, run).await?;
    if !matches!(before.status, "queued" | "in_progress") {
        return Ok(Json(before));
    }
    let command = CancelRun(ControlRun {
        run_id: run,
        reason: None,
    });
    let order = Order {
        caller: &caller,
        trace,
        command: command.into(),
        run: Some(run),
        key: None,
    };
    match send::<RunDone>(&app, order).await {
        Ok(_) => {}
        Err(error) => {
            let problem = error.into_problem();
            // It may have ended meanwhile: then it is told as it is.
            if problem.status != 409 {
                return Err(problem.into());
            }
        }
    }
    read::response(&app, &caller.tenant, run).await.map(Json)
}

fn known(id: &str) -> Result<RunId, ApiError> {
    run_of(id).ok_or_else(|| {
        let id: String = id.chars().take(64).collect();
        ApiError::not_found("response", id)
    })
}
