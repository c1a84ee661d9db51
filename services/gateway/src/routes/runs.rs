//! Starting runs, and looking at them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_events::command::StartRun;
use nexus_events::{Problem, RunId, SessionId, Tenant, Timestamp};
use nexus_projections::query::{Page, RunFilter, RunRow, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::lists;
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::duration::Wait;
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, Params, path_id};
use crate::identity::Caller;
use crate::runs::view::{Seen, from_log, look_up};
use crate::runs::wait::{EndOf, checked};

/// Header whose value names one run, signal or session for ever.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A run that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Started {
    /// The run.
    pub(crate) run_id: RunId,
    /// Its conversation.
    pub(crate) session_id: SessionId,
    /// Sequence of its first commit: give it as `min_seq`. Null while no role has taken it up.
    pub(crate) seq: Option<u64>,
    /// `queued` where it waits for its turn in its session; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<RunStatus>,
}

/// See [`start`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartQuery {
    /// Wait so long for the end: `500ms`, `30s`, `2m`; 10 minutes at most.
    wait: Option<Wait>,
}

/// Starts a run. 202 once it is durable; with `wait`, 200 with the run once it has ended.
pub(crate) async fn start(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    Params(query): Params<StartQuery>,
    JsonBody(mut command): JsonBody<StartRun>,
) -> Result<Response, ApiError> {
    take_key(&mut command, &headers)?;
    launch(&app, &caller, trace, query, command).await
}

/// Starts a run whose key is taken.
pub(crate) async fn launch(
    app: &App,
    caller: &Caller,
    trace: Trace,
    query: StartQuery,
    mut command: StartRun,
) -> Result<Response, ApiError> {
    let wait = checked(app, query.wait)?;
    let deadline = wait.map(|wait| Instant::now() + wait);
    let (run_id, fresh) = name(&mut command, &caller.tenant);
    let session_id = command.session_id.unwrap_or_else(|| run_id.own_session());
    // Before the command: what the connection sends later comes later.
    let end = match deadline {
        Some(deadline) => Some((EndOf::listen(app, &caller.tenant, run_id).await?, deadline)),
        None => None,
    };
    let order = Order {
        caller,
        trace,
        command: command.into(),
        run: Some(run_id),
        key: None,
    };
    let started = match send::<Started>(app, order).await? {
        Outcome::Done(started) => started,
        Outcome::Accepted => Started {
            run_id,
            session_id,
            seq: None,
            status: None,
        },
    };
    match started.seq {
        Some(first_seq) => app.known().begun(&caller.tenant, run_id, first_seq),
        None => app.known().queued(&caller.tenant, run_id, session_id),
    }
    let Some((end, deadline)) = end else {
        return Ok(located(
            run_id,
            (StatusCode::ACCEPTED, Json(started)).into_response(),
        ));
    };
    let ended = end.wait(deadline, !fresh).await?;
    let response = shown(app, &caller.tenant, run_id, ended).await?;
    Ok(located(run_id, response))
}

/// The key of the header goes into the command; it must not contradict the body's.
pub(crate) fn take_key(command: &mut StartRun, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(key) = idempotency_key(headers)? else {
        return Ok(());
    };
    match &command.idempotency_key {
        Some(other) if *other != key => {
            let detail = "the Idempotency-Key header and the body name different keys";
            Err(ApiError::invalid("idempotency_key", detail))
        }
        _ => {
            command.idempotency_key = Some(key);
            Ok(())
        }
    }
}

/// The value of the header, checked.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=256).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let detail = "Idempotency-Key must have 1 to 256 visible ASCII characters";
            Err(Problem::new(400, "invalid", detail)
                .at(IDEMPOTENCY_KEY)
                .into())
        }
    }
}

/// The run's id, and whether it is one that nobody can have used before.
pub(crate) fn name(command: &mut StartRun, tenant: &Tenant) -> (RunId, bool) {
    match (command.run_id, &command.idempotency_key) {
        (Some(run_id), _) => (run_id, false),
        (None, Some(key)) => (RunId::from_idempotency_key(tenant, key), false),
        (None, None) => {
            let run_id = RunId::new(Uuid::now_v7());
            command.run_id = Some(run_id);
            (run_id, true)
        }
    }
}

/// See [`list`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Of this conversation.
    session_id: Option<SessionId>,
    /// As far as this.
    status: Option<RunStatus>,
    /// Of this agent.
    agent: Option<String>,
    /// Started by this user.
    user: Option<String>,
    /// Started at this time or later (RFC 3339).
    since: Option<Timestamp>,
    /// Started before this time (RFC 3339).
    until: Option<Timestamp>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Runs, the newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<RunRow>>, ApiError> {
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    lists::caught_up(&app, query.min_seq).await?;
    let filter = RunFilter {
        session: query.session_id,
        status: query.status,
        agent: query.agent,
        user: query.user,
        since: query.since,
        until: query.until,
    };
    Ok(Json(
        app.projections()
            .runs(&caller.tenant, &filter, &page)
            .await?,
    ))
}

/// See [`get`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetQuery {
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
    /// Wait so long for the end: `500ms`, `30s`, `2m`; 10 minutes at most.
    wait: Option<Wait>,
}

/// One run.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(run_id): Path<String>,
    Params(query): Params<GetQuery>,
) -> Result<Response, ApiError> {
    let run_id: RunId = path_id(&run_id, "run_id")?;
    let wait = checked(&app, query.wait)?;
    lists::caught_up(&app, query.min_seq).await?;
    let Some(wait) = wait else {
        return show(&app, &caller.tenant, run_id, StatusCode::OK).await;
    };
    let deadline = Instant::now() + wait;
    let end = EndOf::listen(&app, &caller.tenant, run_id).await?;
    // Says that there is no such run at once.
    look_up(&app, &caller.tenant, run_id).await?;
    let ended = end.wait(deadline, true).await?;
    match ended {
        Some(_) => shown(&app, &caller.tenant, run_id, ended).await,
        None => show(&app, &caller.tenant, run_id, StatusCode::OK).await,
    }
}

/// The run after waiting: 200 with its end, or 202 as it is when time was up.
async fn shown(
    app: &App,
    tenant: &Tenant,
    run_id: RunId,
    ended: Option<u64>,
) -> Result<Response, ApiError> {
    let Some(seq) = ended else {
        return show(app, tenant, run_id, StatusCode::ACCEPTED).await;
    };
    if lists::caught_up(app, Some(seq)).await.is_ok() {
        return show(app, tenant, run_id, StatusCode::OK).await;
    }
    // The read models are behind or away; the log knows the end.
    match from_log(app, tenant, run_id).await? {
        (Some(row), _) => Ok(Json(row).into_response()),
        (None, _) => Err(ApiError::not_found("run", run_id)),
    }
}

async fn show(
    app: &App,
    tenant: &Tenant,
    run_id: RunId,
    status: StatusCode,
) -> Result<Response, ApiError> {
    match look_up(app, tenant, run_id).await? {
        Seen::Run(view) => Ok((status, Json(view)).into_response()),
        Seen::Queued(session_id) => {
            let queued = Started {
                run_id,
                session_id,
                seq: None,
                status: None,
            };
            let again = [(RETRY_AFTER, "1")];
            Ok((StatusCode::ACCEPTED, again, Json(queued)).into_response())
        }
    }
}

fn located(run_id: RunId, mut response: Response) -> Response {
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/runs/{run_id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
