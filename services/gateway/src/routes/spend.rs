//! What was spent, by whom, with what and when.

use axum::Json;
use axum::extract::State;
use nexus_projections::query::{Day, SpendBy, SpendFilter, SpendPage};
use schemars::JsonSchema;
use serde::Deserialize;

use super::lists;
use crate::app::App;
use crate::http::{ApiError, Params};
use crate::identity::Caller;

/// See [`sums`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpendQuery {
    /// On this day or later: `2026-11-22`, in UTC.
    from: Option<Day>,
    /// On this day or before.
    to: Option<Day>,
    /// What is summed up apart: any of `day`, `user`, `agent` and `model`, with commas between.
    by: Option<String>,
    /// By this user.
    user: Option<String>,
    /// By this agent.
    agent: Option<String>,
    /// With this model.
    model: Option<String>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Sums of what was spent.
pub(crate) async fn sums(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<SpendQuery>,
) -> Result<Json<SpendPage>, ApiError> {
    query.limit.map(lists::check_limit).transpose()?;
    let filter = SpendFilter {
        from: query.from,
        to: query.to,
        user: query.user,
        agent: query.agent,
        model: query.model,
        by: keys(query.by.as_deref().unwrap_or_default())?,
        limit: query.limit,
        after: lists::read_cursor(query.cursor.as_deref())?,
    };
    lists::caught_up(&app, query.min_seq).await?;
    let page = app.projections().spend(&caller.tenant, &filter).await?;
    Ok(Json(page))
}

fn keys(text: &str) -> Result<SpendBy, ApiError> {
    let mut by = SpendBy::default();
    for key in text.split(',').filter(|key| !key.is_empty()) {
        match key {
            "day" => by.day = true,
            "user" => by.user = true,
            "agent" => by.agent = true,
            "model" => by.model = true,
            _ => {
                let detail = "it takes day, user, agent and model, with commas between";
                return Err(ApiError::invalid("by", detail));
            }
        }
    }
    Ok(by)
}
