//! Budgets: limits in, standings out.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nexus_events::Problem;
use nexus_events::command::SetLimits;
use nexus_events::ledger::{Limits, Scope, Window};
use nexus_projections::query::{BudgetPage, BudgetRow, BudgetStanding, Page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lists::{self, At, Paging};
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, Params};
use crate::identity::Caller;

const MOST_ID_BYTES: usize = 255;

/// Limits of a scope in a window.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutBudget {
    /// In which window; a lifetime when absent.
    #[serde(default)]
    window: Window,
    /// The limits; an absent one lifts it.
    limits: PutLimits,
}

/// Limits as callers write them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutLimits {
    /// Tokens, input and output together.
    tokens: Option<u64>,
    /// Micro-dollars.
    cost_usd_micros: Option<u64>,
    /// Milliseconds of model calls and tools.
    time_ms: Option<u64>,
    /// The same in seconds; instead of `time_ms`.
    time_seconds: Option<u64>,
}

impl PutLimits {
    fn limits(&self) -> Result<Limits, ApiError> {
        if self.time_ms.is_some() && self.time_seconds.is_some() {
            let detail = "give time_ms or time_seconds, not both";
            return Err(ApiError::invalid("limits.time_seconds", detail));
        }
        let time_ms = self
            .time_seconds
            .map(|seconds| seconds.saturating_mul(1_000));
        let limits = Limits {
            tokens: self.tokens,
            cost_usd_micros: self.cost_usd_micros,
            time_ms: self.time_ms.or(time_ms),
        };
        // The tables hold signed numbers.
        let most = i64::MAX.cast_unsigned();
        for (field, value) in [
            ("limits.tokens", limits.tokens),
            ("limits.cost_usd_micros", limits.cost_usd_micros),
            ("limits.time_ms", limits.time_ms),
        ] {
            if value.is_some_and(|value| value > most) {
                return Err(ApiError::invalid(
                    field,
                    format!("it may be {most} at most"),
                ));
            }
        }
        Ok(limits)
    }
}

/// Limits that are set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BudgetSet {
    /// Sequence of the ledger: give it as `min_seq`. Null while no role has answered.
    seq: Option<u64>,
}

/// Budgets with limits.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<Paging>,
) -> Result<Json<Page<BudgetRow>>, ApiError> {
    let after = lists::read_cursor(query.cursor.as_deref())?;
    let page = BudgetPage {
        limit: query.limit,
        after,
    };
    query.limit.map(lists::check_limit).transpose()?;
    lists::caught_up(&app, query.min_seq).await?;
    Ok(Json(
        app.projections()
            .budgets(&caller.tenant, app.bus().now(), &page)
            .await?,
    ))
}

/// The tenant's budget.
pub(crate) async fn get_whole(
    State(app): State<App>,
    caller: Caller,
    Path(kind): Path<String>,
    Params(query): Params<At>,
) -> Result<Json<BudgetStanding>, ApiError> {
    standing(&app, &caller, &scope(&kind, "")?, query.min_seq)
        .await
        .map(Json)
}

/// The budget of a scope.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
    Params(query): Params<At>,
) -> Result<Json<BudgetStanding>, ApiError> {
    standing(&app, &caller, &scope(&kind, &id)?, query.min_seq)
        .await
        .map(Json)
}

/// Sets the tenant's limits.
pub(crate) async fn put_whole(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(kind): Path<String>,
    JsonBody(budget): JsonBody<PutBudget>,
) -> Result<Response, ApiError> {
    set(&app, &caller, trace, scope(&kind, "")?, &budget).await
}

/// Sets limits of a scope.
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path((kind, id)): Path<(String, String)>,
    JsonBody(budget): JsonBody<PutBudget>,
) -> Result<Response, ApiError> {
    set(&app, &caller, trace, scope(&kind, &id)?, &budget).await
}

async fn set(
    app: &App,
    caller: &Caller,
    trace: Trace,
    scope: Scope,
    budget: &PutBudget,
) -> Result<Response, ApiError> {
    let limits = budget.limits.limits()?;
    let command = SetLimits {
        scope: scope.clone(),
        window: budget.window,
        limits,
    }
    .into();
    let order = Order {
        caller,
        trace,
        command,
        run: None,
        key: None,
    };
    let set = match send::<BudgetSet>(app, order).await? {
        Outcome::Done(set) => set,
        Outcome::Accepted => BudgetSet { seq: None },
    };
    let accepted = || Ok((StatusCode::ACCEPTED, Json(set)).into_response());
    // The limits hold once the ledger has said so, whether the read models show them or not.
    let Some(seq) = set.seq else {
        return accepted();
    };
    match standing(app, caller, &scope, Some(seq)).await {
        Ok(standing) => Ok(Json(standing).into_response()),
        Err(_) => accepted(),
    }
}

async fn standing(
    app: &App,
    caller: &Caller,
    scope: &Scope,
    min_seq: Option<u64>,
) -> Result<BudgetStanding, ApiError> {
    lists::caught_up(app, min_seq).await?;
    Ok(app
        .projections()
        .budget(&caller.tenant, scope, app.bus().now())
        .await?)
}

/// Reads a scope; the tenant's needs no id, and whatever is given as one means the caller's tenant.
fn scope(kind: &str, id: &str) -> Result<Scope, ApiError> {
    if !matches!(kind, "tenant" | "user" | "agent" | "session" | "run") {
        let detail = "it must be tenant, user, agent, session or run";
        return Err(ApiError::invalid("scope", detail));
    }
    let named = (1..=MOST_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control);
    let scope = (kind == "tenant" || named)
        .then(|| Scope::parse(kind, id))
        .flatten();
    scope.ok_or_else(|| {
        let detail = match kind {
            "session" | "run" => "it must be a UUID",
            _ => "it must have 1 to 255 bytes and no control characters",
        };
        Problem::new(400, "invalid_id", detail).at("id").into()
    })
}
