//! Who did what, when, to what, and why it was allowed.

use axum::Json;
use axum::extract::State;
use nexus_events::Timestamp;
use nexus_projections::query::{AuditFilter, AuditRow, Page};
use schemars::JsonSchema;
use serde::Deserialize;

use super::lists;
use crate::app::App;
use crate::http::{ApiError, Params};
use crate::identity::Caller;

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
