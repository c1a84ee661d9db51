//! Streams of more than one run: a session's, and a tenant's. A list would be read models' to give;
//! what they cannot give is what happens next.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use nexus_bus::{read, topology};
use nexus_events::{AggregateId, AggregateKind, RunId, SessionId, Tenant, subject};
use schemars::JsonSchema;
use serde::Deserialize;

use super::events::{answer, cursor, last_read, listener, wants_stream};
use crate::app::App;
use crate::http::{ApiError, Params, path_id};
use crate::identity::Caller;
use crate::stream::cursor::EventCursor;
use crate::stream::history::subject_of;
use crate::stream::sse::Types;
use crate::stream::wide::{self, Opening, Scope};

/// What of a stream is wanted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WideQuery {
    /// Events after this one: an `id`, or the `seq` of an answer; all of them where absent.
    /// `Last-Event-ID` is preferred.
    after: Option<String>,
    /// Only these types, separated by commas: `nexus.run.started.v1`.
    types: Option<String>,
}

/// Everything that is recorded for the tenant.
pub(crate) async fn of_tenant(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Params(query): Params<WideQuery>,
) -> Result<Response, ApiError> {
    let cursor = begin(&headers, &query)?;
    stream(&app, caller.tenant, Scope::Tenant, cursor, &query).await
}

/// What a session and its runs record.
pub(crate) async fn of_session(
    State(app): State<App>,
    caller: Caller,
    Path(session_id): Path<String>,
    headers: HeaderMap,
    Params(query): Params<WideQuery>,
) -> Result<Response, ApiError> {
    let session: SessionId = path_id(&session_id, "session_id")?;
    let cursor = begin(&headers, &query)?;
    if !app.in_time(exists(&app, &caller.tenant, session)).await? {
        return Err(ApiError::not_found("session", session));
    }
    let scope = Scope::Session(session);
    stream(&app, caller.tenant, scope, cursor, &query).await
}

fn begin(headers: &HeaderMap, query: &WideQuery) -> Result<EventCursor, ApiError> {
    if !wants_stream(headers) {
        let detail = "this is a stream: ask with `Accept: text/event-stream`";
        return Err(ApiError::new(406, "not_acceptable", detail));
    }
    let after = query.after.as_deref().map(|text| cursor(text, "after"));
    let after = after.transpose()?;
    Ok(last_read(headers)?.or(after).unwrap_or(EventCursor::START))
}

/// Whether the session has anything recorded: of its own, or of the run that opened it.
async fn exists(app: &App, tenant: &Tenant, session: SessionId) -> Result<bool, ApiError> {
    let (kind, id) = (AggregateKind::Session, AggregateId::from(session));
    let own = subject::events(tenant, kind, &id);
    for subject in [own, subject_of(tenant, RunId::new(session.uuid()))] {
        let first = read::next_decisive(app.bus(), topology::EVENTS, &subject, 1).await?;
        if first.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn stream(
    app: &App,
    tenant: Tenant,
    scope: Scope,
    cursor: EventCursor,
    query: &WideQuery,
) -> Result<Response, ApiError> {
    let opening = Opening {
        app: app.clone(),
        tenant,
        scope,
        cursor,
        types: Types::parse(query.types.as_deref()),
        permit: listener(app)?,
    };
    Ok(answer(wide::start(opening).await?))
}
