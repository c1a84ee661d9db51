//! Budgets: limits in, standings and alerts out.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nexus_events::Problem;
use nexus_events::command::SetLimits;
use nexus_events::ledger::{Amounts, Limits, OnExhausted, Scope, Thresholds, Unit, Window};
use nexus_projections::query::{
    AlertFilter, AlertKind, AlertRow, BudgetPage, BudgetRow, BudgetStanding, Page,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lists::{self, At};
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
    /// What happens to a step that does not fit; as before when absent, `reject` at first.
    #[serde(default)]
    on_exhausted: Option<OnExhausted>,
    /// Percentages of a limit at which spending is told, four at most; as before when absent, 80 and
    /// 95 at first.
    #[serde(default)]
    thresholds: Option<Thresholds>,
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
    /// Tools that may be called.
    tool_calls: Option<u64>,
    /// Runs that may be in flight at a time.
    runs: Option<u64>,
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
            tool_calls: self.tool_calls,
            runs: self.runs,
        };
        let given = Unit::ALL.map(|unit| (unit, limits.get(unit).unwrap_or_default()));
        check_amounts("limits", &given)?;
        Ok(limits)
    }
}

/// The tables hold signed numbers.
fn check_amounts(field: &str, given: &[(Unit, u64)]) -> Result<(), ApiError> {
    let most = i64::MAX.cast_unsigned();
    match given.iter().find(|(_, amount)| *amount > most) {
        Some((unit, _)) => {
            let field = format!("{field}.{}", unit.as_str());
            Err(ApiError::invalid(
                &field,
                format!("it may be {most} at most"),
            ))
        }
        None => Ok(()),
    }
}

/// The same of one.
pub(crate) fn check_amount(field: &str, given: Option<u64>) -> Result<(), ApiError> {
    let most = i64::MAX.cast_unsigned();
    match given.is_some_and(|amount| amount > most) {
        true => Err(ApiError::invalid(
            field,
            format!("it may be {most} at most"),
        )),
        false => Ok(()),
    }
}

/// Amounts as callers write them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenAmounts {
    /// Tokens, input and output together.
    #[serde(default)]
    tokens: u64,
    /// Micro-dollars.
    #[serde(default)]
    cost_usd_micros: u64,
    /// Milliseconds.
    #[serde(default)]
    time_ms: u64,
    /// Tools that are called.
    #[serde(default)]
    tool_calls: u64,
}

impl GivenAmounts {
    pub(crate) fn amounts(&self, field: &str) -> Result<Amounts, ApiError> {
        let amounts = Amounts {
            tokens: self.tokens,
            cost_usd_micros: self.cost_usd_micros,
            time_ms: self.time_ms,
            tool_calls: self.tool_calls,
            runs: 0,
        };
        check_amounts(field, &Unit::ALL.map(|unit| (unit, amounts.get(unit))))?;
        Ok(amounts)
    }
}

/// Limits that are set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BudgetSet {
    /// Sequence of the ledger: give it as `min_seq`. Null while no role has answered.
    seq: Option<u64>,
}

/// See [`list`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only scopes of this kind: `tenant`, `user`, `key`, `agent`, `session` or `run`.
    scope: Option<String>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Budgets with limits.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<BudgetRow>>, ApiError> {
    let after = lists::read_cursor(query.cursor.as_deref())?;
    let page = BudgetPage {
        limit: query.limit,
        after,
        kind: query.scope.as_deref().map(kind_of_scope).transpose()?,
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
        on_exhausted: budget.on_exhausted,
        thresholds: budget.thresholds,
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

/// See [`alerts`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertQuery {
    /// About this.
    kind: Option<AlertKind>,
    /// Thresholds of this scope: `tenant`, `user`, `key`, `agent`, `session` or `run`.
    scope: Option<String>,
    /// The scope's id; with `scope`, and without it for the tenant.
    id: Option<String>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Limits that are nearly used up, and calls that spent more than was held; the newest first.
pub(crate) async fn alerts(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<AlertQuery>,
) -> Result<Json<Page<AlertRow>>, ApiError> {
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    let scope = match (&query.scope, &query.id) {
        (None, None) => None,
        (None, Some(_)) => {
            let detail = "it needs scope beside it: user, key, agent, session or run";
            return Err(ApiError::invalid("id", detail));
        }
        (Some(kind), id) => Some(scope(kind, id.as_deref().unwrap_or_default())?),
    };
    let filter = AlertFilter {
        kind: query.kind,
        scope,
    };
    lists::caught_up(&app, query.min_seq).await?;
    let alerts = app.projections().alerts(&caller.tenant, &filter, &page);
    Ok(Json(alerts.await?))
}

fn kind_of_scope(kind: &str) -> Result<&'static str, ApiError> {
    let known = Scope::KINDS.into_iter().find(|known| *known == kind);
    known.ok_or_else(|| {
        let detail = "it must be tenant, user, key, agent, session or run";
        ApiError::invalid("scope", detail)
    })
}

/// Reads a scope; the tenant's needs no id, and whatever is given as one means the caller's tenant.
fn scope(kind: &str, id: &str) -> Result<Scope, ApiError> {
    kind_of_scope(kind)?;
    let named = (1..=MOST_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control);
    let scope = (kind == "tenant" || named)
        .then(|| Scope::parse(kind, id))
        .flatten();
    scope.ok_or_else(|| {
        let detail = match kind {
            "key" | "session" | "run" => "it must be a UUID",
            _ => "it must have 1 to 255 bytes and no control characters",
        };
        Problem::new(400, "invalid_id", detail).at("id").into()
    })
}
