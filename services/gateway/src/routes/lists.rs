//! What lists and queries of the read models share.

use std::fmt::Display;
use std::str::FromStr;

use nexus_projections::query::{MAX_LIMIT, PageRequest};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::http::ApiError;

/// A query without a page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct At {
    /// Wait until the read models have applied this sequence: that of a command's outcome.
    pub(crate) min_seq: Option<u64>,
}

/// A page of a list without filters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    pub(crate) cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    pub(crate) min_seq: Option<u64>,
}

/// Reads which page is wanted.
pub(crate) fn page(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, ApiError> {
    if let Some(limit) = limit {
        check_limit(limit)?;
    }
    Ok(PageRequest {
        limit,
        cursor: read_cursor(cursor)?,
    })
}

/// Reads a cursor that a page gave.
pub(crate) fn read_cursor<C: FromStr<Err: Display>>(
    text: Option<&str>,
) -> Result<Option<C>, ApiError> {
    let cursor = text.map(str::parse).transpose();
    cursor.map_err(|error| ApiError::invalid("cursor", format!("{error}")))
}

/// Checks a number of rows.
pub(crate) fn check_limit(limit: u32) -> Result<(), ApiError> {
    match (1..=MAX_LIMIT).contains(&limit) {
        true => Ok(()),
        false => Err(ApiError::invalid(
            "limit",
            format!("it must be 1 to {MAX_LIMIT}"),
        )),
    }
}

/// Waits until the read models have applied what the caller has seen.
pub(crate) async fn caught_up(app: &App, min_seq: Option<u64>) -> Result<(), ApiError> {
    if let Some(min_seq) = min_seq.filter(|min_seq| *min_seq > 0) {
        app.projections()
            .wait_for_seq(min_seq, app.min_seq_timeout())
            .await?;
    }
    Ok(())
}
