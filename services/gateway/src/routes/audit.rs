//! Who did what, when, to what, and why it was allowed: as a list, and as an export that anybody can
//! verify.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use nexus_events::{Tenant, Timestamp};
use nexus_projections::query::{AuditFilter, AuditRow, Page, QueryError};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::lists;
use crate::app::App;
use crate::http::{ApiError, Params};
use crate::identity::Caller;

/// Media type of an export.
pub(crate) const LINES: &str = "application/x-ndjson";
/// Entries of an export that are read at once.
const PAGE: u32 = 500;

/// See [`list`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// By this user.
    user: Option<String>,
    /// This action, or with a final `.` all that begin so: `policy.`.
    action: Option<String>,
    /// To this kind of thing.
    resource_type: Option<String>,
    /// To this thing.
    resource_id: Option<String>,
    /// At this time or later (RFC 3339).
    since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    until: Option<Timestamp>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Entries, the newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<AuditRow>>, ApiError> {
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    lists::caught_up(&app, query.min_seq).await?;
    let filter = AuditFilter {
        user: query.user,
        action: query.action,
        resource_type: query.resource_type,
        resource_id: query.resource_id,
        since: query.since,
        until: query.until,
    };
    Ok(Json(
        app.projections()
            .audit(&caller.tenant, &filter, &page)
            .await?,
    ))
}

/// See [`export`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// By this user.
    user: Option<String>,
    /// This action, or with a final `.` all that begin so: `policy.`.
    action: Option<String>,
    /// To this kind of thing.
    resource_type: Option<String>,
    /// To this thing.
    resource_id: Option<String>,
    /// At this time or later (RFC 3339).
    since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    until: Option<Timestamp>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// All entries that there are now, the oldest first, a line each. An export that ends before all of
/// them are given ends as a broken connection.
pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ExportQuery>,
) -> Result<Response, ApiError> {
    let permit = Arc::clone(app.listeners())
        .try_acquire_owned()
        .map_err(|_| {
            ApiError::unavailable("too_many_listeners", "too many streams are open here")
        })?;
    lists::caught_up(&app, query.min_seq).await?;
    let filter = AuditFilter {
        user: query.user,
        action: query.action,
        resource_type: query.resource_type,
        resource_id: query.resource_id,
        since: query.since,
        until: query.until,
    };
    let tenant = caller.tenant;
    let head = app.projections().audit_heads(Some(&tenant)).await?.pop();
    let export = Export {
        app,
        tenant,
        filter,
        after: None,
        to: head.map_or(0, |head| head.seq),
        _permit: permit,
    };
    // The first page tells whether there is an answer at all.
    let (first, rest) = export.next().await?;
    let rest = stream::try_unfold(rest, |rest| async {
        match rest {
            Some(export) => export.next_of_stream().await.map(Some),
            None => Ok(None),
        }
    });
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    let headers = [(CONTENT_TYPE, LINES), (CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// An export under way. It holds no connection and no snapshot: entries are never changed, so that
/// the next page is where the last one ended.
struct Export {
    app: App,
    tenant: Tenant,
    filter: AuditFilter,
    after: Option<(u64, u32)>,
    /// Sequence of the last entry when it began.
    to: u64,
    _permit: OwnedSemaphorePermit,
}

impl Export {
    /// The next page as lines, and the export after it unless that was all.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), QueryError> {
        let rows = self
            .app
            .projections()
            .audit_after(&self.tenant, &self.filter, self.after, PAGE)
            .await?;
        let full = rows.len() == PAGE as usize;
        let mut lines = Vec::new();
        for row in rows.iter().take_while(|row| row.seq <= self.to) {
            // An entry is texts and numbers: it always encodes.
            lines.extend(serde_json::to_vec(row).unwrap_or_default());
            lines.push(b'\n');
        }
        self.after = rows.last().map(|row| (row.seq, row.position));
        let more = full && self.after.is_some_and(|(seq, _)| seq < self.to);
        Ok((lines.into(), more.then_some(self)))
    }

    /// The same for a stream, which a gateway that stops breaks off.
    async fn next_of_stream(self) -> io::Result<(Bytes, Option<Self>)> {
        if self.app.stopping().is_cancelled() {
            return Err(io::Error::other("the gateway stops"));
        }
        self.next().await.map_err(|error| {
            warn!(%error, "an export of the audit log was broken off");
            io::Error::other(error)
        })
    }
}
