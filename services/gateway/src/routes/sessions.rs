//! Conversations.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_bus::process::load_latest;
use nexus_events::command::{CloseSession, OpenSession};
use nexus_events::session::Session;
use nexus_events::{AggregateId, RunId, SessionId, Tenant};
use nexus_projections::query::{MessageRow, Page, RunRow, SessionFilter, SessionRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lists::{self, At, Paging};
use super::runs::idempotency_key;
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, MaybeJson, Params, path_id};
use crate::identity::Caller;
use crate::runs::view::from_log;

/// The outcome of a command on a session.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SessionDone {
    /// The session.
    session_id: SessionId,
    /// Sequence up to which it was read or written: give it as `min_seq`. Null while no role has
    /// answered; the command is accepted all the same.
    seq: Option<u64>,
}

/// Opens a conversation. The same id or `Idempotency-Key` again is answered with the same one.
pub(crate) async fn open(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    MaybeJson(mut command): MaybeJson<OpenSession>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    let session_id = match (command.session_id, key) {
        (Some(_), Some(_)) => {
            let detail = "give a session_id or an Idempotency-Key, not both";
            return Err(ApiError::invalid("session_id", detail));
        }
        (Some(session_id), None) => session_id,
        (None, Some(key)) => SessionId::derive(&[caller.tenant.as_str(), "idempotency-key", &key]),
        (None, None) => SessionId::new(Uuid::now_v7()),
    };
    command.session_id = Some(session_id);
    let order = Order {
        caller: &caller,
        trace,
        command: command.into(),
        run: None,
        key: None,
    };
    let (status, done) = match send::<SessionDone>(&app, order).await? {
        Outcome::Done(done) => (StatusCode::CREATED, done),
        Outcome::Accepted => (
            StatusCode::ACCEPTED,
            SessionDone {
                session_id,
                seq: None,
            },
        ),
    };
    let mut response = (status, Json(done)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/sessions/{session_id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Takes no further runs.
pub(crate) async fn close(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(session_id): Path<String>,
) -> Result<(StatusCode, Json<SessionDone>), ApiError> {
    let session_id: SessionId = path_id(&session_id, "session_id")?;
    let command = CloseSession { session_id }.into();
    let order = Order {
        caller: &caller,
        trace,
        command,
        run: None,
        key: None,
    };
    Ok(match send::<SessionDone>(&app, order).await? {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => (
            StatusCode::ACCEPTED,
            Json(SessionDone {
                session_id,
                seq: None,
            }),
        ),
    })
}

/// Whether a session takes runs.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionStatus {
    /// It does.
    Active,
    /// It does not.
    Closed,
}

/// See [`list`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Whether it takes runs.
    status: Option<SessionStatus>,
    /// Opened by this user.
    user: Option<String>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Conversations, the newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<SessionRow>>, ApiError> {
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    lists::caught_up(&app, query.min_seq).await?;
    let status = query.status.map(|status| match status {
        SessionStatus::Active => "active".to_owned(),
        SessionStatus::Closed => "closed".to_owned(),
    });
    let filter = SessionFilter {
        status,
        user: query.user,
    };
    Ok(Json(
        app.projections()
            .sessions(&caller.tenant, &filter, &page)
            .await?,
    ))
}

/// One conversation.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(session_id): Path<String>,
    Params(query): Params<At>,
) -> Result<Json<SessionRow>, ApiError> {
    let session_id = path_id(&session_id, "session_id")?;
    lists::caught_up(&app, query.min_seq).await?;
    Ok(Json(existing(&app, &caller.tenant, session_id).await?))
}

/// See [`messages`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesQuery {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
    /// Also what is left out otherwise.
    include: Option<Include>,
}

/// Messages that are no part of the conversation any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Include {
    /// Those of runs that were rolled back.
    RolledBack,
}

/// What was said, the oldest first.
pub(crate) async fn messages(
    State(app): State<App>,
    caller: Caller,
    Path(session_id): Path<String>,
    Params(query): Params<MessagesQuery>,
) -> Result<Json<Page<MessageRow>>, ApiError> {
    let session_id = path_id(&session_id, "session_id")?;
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    lists::caught_up(&app, query.min_seq).await?;
    existing(&app, &caller.tenant, session_id).await?;
    Ok(Json(
        app.projections()
            .messages(
                &caller.tenant,
                session_id,
                query.include == Some(Include::RolledBack),
                &page,
            )
            .await?,
    ))
}

/// Its runs, the newest first.
pub(crate) async fn runs(
    State(app): State<App>,
    caller: Caller,
    Path(session_id): Path<String>,
    Params(query): Params<Paging>,
) -> Result<Json<Page<RunRow>>, ApiError> {
    let session_id = path_id(&session_id, "session_id")?;
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    lists::caught_up(&app, query.min_seq).await?;
    existing(&app, &caller.tenant, session_id).await?;
    Ok(Json(
        app.projections()
            .session_runs(&caller.tenant, session_id, &page)
            .await?,
    ))
}

/// The session of the read models; one that is on the log only is waited for, so that a session is
/// not said to be missing by those who just opened it.
async fn existing(
    app: &App,
    tenant: &Tenant,
    session_id: SessionId,
) -> Result<SessionRow, ApiError> {
    if let Some(row) = app.projections().session(tenant, session_id).await? {
        return Ok(row);
    }
    let seq = on_log(app, tenant, session_id).await?;
    let missing = || ApiError::not_found("session", session_id);
    lists::caught_up(app, Some(seq.ok_or_else(missing)?)).await?;
    app.projections()
        .session(tenant, session_id)
        .await?
        .ok_or_else(missing)
}

/// The sequence of its last commit: of its own, or of the run that opened it by naming none.
async fn on_log(
    app: &App,
    tenant: &Tenant,
    session_id: SessionId,
) -> Result<Option<u64>, ApiError> {
    let id = AggregateId::from(session_id);
    let seq = load_latest::<Session>(app.store(), tenant, &id, 0)
        .await?
        .seq;
    if seq > 0 {
        return Ok(Some(seq));
    }
    let (row, _) = from_log(app, tenant, RunId::new(session_id.uuid())).await?;
    Ok(row
        .filter(|row| row.session_id == session_id)
        .map(|row| row.first_seq))
}
