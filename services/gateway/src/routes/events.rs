//! What a run recorded: as a list, or as a stream that goes on live.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_events::{Problem, RunId, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::asked::Asked;
use super::lists::check_limit;
use crate::app::App;
use crate::http::problem::internal;
use crate::http::{ApiError, Params, path_id};
use crate::identity::Caller;
use crate::known::Known;
use crate::runs::view::from_log;
use crate::stream::bodies;
use crate::stream::cursor::EventCursor;
use crate::stream::encoding::Encoding;
use crate::stream::heard::Listening;
use crate::stream::history::{self, HistoryPage, begin_of, subject_of};
use crate::stream::pump::{self, Opening};
use crate::stream::record::{self, EventRecord};
use crate::stream::sse::Types;

const LAST_EVENT_ID: &str = "Last-Event-ID";
const DEFAULT_LIMIT: u32 = 50;
/// Pages of the log that one list reads at most: with a rare type in `types` it may find less than
/// was asked for, and its cursor says where it stopped.
const MOST_PAGES: usize = 8;

/// See [`events`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Events after this one: an `id`. A stream prefers `Last-Event-ID`.
    #[serde(alias = "last_event_id")]
    after: Option<String>,
    /// Events of the list, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// Only these types, separated by commas: `nexus.run.started.v1`; `delta` for the deltas of a
    /// stream.
    types: Option<String>,
}

/// A page of events.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventPage {
    /// The oldest first.
    items: Vec<EventRecord>,
    /// What `after` takes for the next page; absent when this was the last one for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A list, or a stream where `Accept` or `Upgrade` asks for one.
pub(crate) async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(run_id): Path<String>,
    headers: HeaderMap,
    Params(query): Params<EventsQuery>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let run_id: RunId = path_id(&run_id, "run_id")?;
    let after = query
        .after
        .as_deref()
        .map(|text| cursor(text, "after"))
        .transpose()?;
    let types = Types::parse(query.types.as_deref());
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    check_limit(limit)?;
    if let Some(encoding) = asked.encoding() {
        let after = last_read(&headers)?.or(after);
        let wanted = Wanted {
            after,
            types,
            encoding,
        };
        return stream(&app, &caller.tenant, run_id, wanted, asked).await;
    }
    let page = list(&app, &caller.tenant, run_id, after, limit as usize, &types).await?;
    Ok(Json(page).into_response())
}

/// What a reader that comes back has.
pub(super) fn last_read(headers: &HeaderMap) -> Result<Option<EventCursor>, ApiError> {
    let last = headers
        .get(LAST_EVENT_ID)
        .map(|value| value.to_str().unwrap_or("invalid"));
    last.map(|text| cursor(text, LAST_EVENT_ID)).transpose()
}

/// A place among the streams that may be open.
pub(super) fn listener(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    let permit = Arc::clone(app.listeners()).try_acquire_owned();
    permit.map_err(|_| {
        ApiError::unavailable("too_many_listeners", "too many event streams are open here")
    })
}

pub(super) fn cursor(text: &str, field: &str) -> Result<EventCursor, ApiError> {
    text.trim().parse().map_err(|error| {
        Problem::new(400, "invalid", format!("{field}: {error}"))
            .at(field)
            .into()
    })
}

async fn list(
    app: &App,
    tenant: &Tenant,
    run: RunId,
    after: Option<EventCursor>,
    limit: usize,
    types: &Types,
) -> Result<EventPage, ApiError> {
    let subject = subject_of(tenant, run);
    let cursor = after.unwrap_or(EventCursor::START);
    let mut next = Some(from(app, tenant, run, after).await);
    let mut items: Vec<EventRecord> = vec![];
    let mut scanned = None;
    let mut found_any = false;
    for _ in 0..MOST_PAGES {
        let Some(from) = next else { break };
        let page = app
            .in_time(history::page(app.bus(), &subject, from))
            .await?;
        found_any |= !page.commits.is_empty();
        next = page.next;
        for stored in page.commits {
            let records =
                record::events(stored.seq, &stored.body).map_err(|error| internal(&error))?;
            for record in records {
                if cursor.covers(record.seq, record.index) {
                    continue;
                }
                if items.len() == limit {
                    return Ok(page_of(app, tenant, items, scanned).await);
                }
                scanned = Some(record.id.clone());
                if types.wants(&record.type_name) {
                    items.push(record);
                }
            }
        }
    }
    if !found_any {
        exists(app, tenant, run).await?;
    }
    // More pages than one list reads: it goes on where this one stopped.
    let more = next.and(scanned);
    Ok(page_of(app, tenant, items, more).await)
}

async fn page_of(
    app: &App,
    tenant: &Tenant,
    mut items: Vec<EventRecord>,
    next_cursor: Option<String>,
) -> EventPage {
    let objects = app.objects();
    for record in &mut items {
        bodies::resolve(&objects, tenant, record).await;
    }
    EventPage { items, next_cursor }
}

/// Where reading begins: with the commit that the reader has last, which shows that it exists, or
/// with the run's first one.
async fn from(app: &App, tenant: &Tenant, run: RunId, after: Option<EventCursor>) -> u64 {
    match after {
        Some(cursor) if cursor.seq > 0 => cursor.seq,
        _ => begin_of(app, tenant, run).await,
    }
}

/// Whether the run has ended; a problem where it does not exist.
async fn exists(app: &App, tenant: &Tenant, run: RunId) -> Result<bool, ApiError> {
    let (row, ended) = from_log(app, tenant, run).await?;
    let queued = matches!(app.known().get(tenant, run), Some(Known::Queued(_)));
    match row.is_some() || queued {
        true => Ok(ended),
        false => Err(ApiError::not_found("run", run)),
    }
}

/// What of a stream is wanted, and how.
struct Wanted {
    after: Option<EventCursor>,
    types: Types,
    encoding: Encoding,
}

async fn stream(
    app: &App,
    tenant: &Tenant,
    run: RunId,
    wanted: Wanted,
    asked: Asked,
) -> Result<Response, ApiError> {
    let Wanted {
        after,
        types,
        encoding,
    } = wanted;
    let permit = listener(app)?;
    // First the subscription, then the read: in between nothing is missed.
    let listening = Listening::to(app, tenant, run, types.wants_deltas()).await;
    let listening = listening.map_err(|error| internal(&error))?;
    let from = from(app, tenant, run, after).await;
    let subject = subject_of(tenant, run);
    let first_page = app
        .in_time(history::page(app.bus(), &subject, from))
        .await?;
    let cursor = after.unwrap_or(EventCursor::START);
    let over = match first_page.commits.is_empty() || after.is_some() {
        true => exists(app, tenant, run).await?,
        false => false,
    };
    let nothing = over && first_page.next.is_none() && nothing_after(cursor, &first_page);
    if nothing && encoding == Encoding::Sse {
        // What makes a browser's EventSource stop connecting again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let opening = Opening {
        app: app.clone(),
        tenant: tenant.clone(),
        run,
        listening,
        cursor,
        over,
        first_page,
        types,
        encoding,
        permit,
    };
    Ok(asked.answer(pump::start(opening)))
}

/// Whether the reader has all of these commits.
fn nothing_after(cursor: EventCursor, page: &HistoryPage) -> bool {
    page.commits.iter().all(|stored| {
        let events = record::events(stored.seq, &stored.body).unwrap_or_default();
        events
            .iter()
            .all(|event| cursor.covers(event.seq, event.index))
    })
}
