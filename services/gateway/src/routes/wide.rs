//! Streams of more than one run: a session's, and a tenant's. A list would be read models' to give;
//! what they cannot give is what happens next.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use nexus_bus::{read, topology};
use nexus_events::{AggregateId, AggregateKind, RunId, SessionId, Tenant, subject};
use schemars::JsonSchema;
use serde::Deserialize;

use super::asked::Asked;
use super::events::{cursor, last_read, listener};
use crate::app::App;
use crate::http::{ApiError, Params, path_id};
use crate::identity::Caller;
use crate::stream::cursor::EventCursor;
use crate::stream::encoding::Encoding;
use crate::stream::history::subject_of;
use crate::stream::sse::Types;
use crate::stream::wide::{self, Opening, Scope};

/// What of a stream is wanted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WideQuery {
    /// Events after this one: an `id`, or the `seq` of an answer; all of them where absent.
    /// `Last-Event-ID` is preferred.
    #[serde(alias = "last_event_id")]
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
    asked: Asked,
) -> Result<Response, ApiError> {
    let begin = begin(&headers, &query, &asked)?;
    stream(&app, caller.tenant, Scope::Tenant, begin, asked).await
}

/// What a session and its runs record.
pub(crate) async fn of_session(
    State(app): State<App>,
    caller: Caller,
    Path(session_id): Path<String>,
    headers: HeaderMap,
    Params(query): Params<WideQuery>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let session: SessionId = path_id(&session_id, "session_id")?;
    let begin = begin(&headers, &query, &asked)?;
    if !app.in_time(exists(&app, &caller.tenant, session)).await? {
        return Err(ApiError::not_found("session", session));
    }
    let scope = Scope::Session(session);
    stream(&app, caller.tenant, scope, begin, asked).await
}

/// With what a stream begins, and how it goes on.
struct Begin {
    cursor: EventCursor,
    types: Types,
    encoding: Encoding,
}

fn begin(headers: &HeaderMap, query: &WideQuery, asked: &Asked) -> Result<Begin, ApiError> {
    let Some(encoding) = asked.encoding() else {
        let detail = "this is a stream: ask with `Accept: text/event-stream`, or for a WebSocket";
        return Err(ApiError::new(406, "not_acceptable", detail));
    };
    let after = query.after.as_deref().map(|text| cursor(text, "after"));
    let after = after.transpose()?;
    Ok(Begin {
        cursor: last_read(headers)?.or(after).unwrap_or(EventCursor::START),
        types: Types::parse(query.types.as_deref()),
        encoding,
    })
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
    begin: Begin,
    asked: Asked,
) -> Result<Response, ApiError> {
    let opening = Opening {
        app: app.clone(),
        tenant,
        scope,
        cursor: begin.cursor,
        types: begin.types,
        encoding: begin.encoding,
        permit: listener(app)?,
    };
    Ok(asked.answer(wide::start(opening).await?))
}
