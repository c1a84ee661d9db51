//! Reservations: what is held and who waits for it, a person's word to one who waits, and budget for
//! spending outside of runs.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use nexus_events::command::{GrantBudget, HoldBudget, RefuseBudget, ReleaseBudget};
use nexus_events::ledger::{Amounts, Scope};
use nexus_events::{Command, ReservationId, RunId, Timestamp};
use nexus_projections::query::{Page, ReservationFilter, ReservationRow, ReservationStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::budgets::GivenAmounts;
use super::control::Reason;
use super::lists::{self, At};
use super::runs::idempotency_key;
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, MaybeJson, Params, path_id};
use crate::identity::Caller;

/// The outcome of a command on a reservation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReservationDone {
    /// The reservation.
    reservation_id: ReservationId,
    /// Sequence of the ledger: give it as `min_seq`. Null while no role has answered; the command is
    /// accepted all the same.
    seq: Option<u64>,
}

/// See [`list`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// With this status.
    status: Option<ReservationStatus>,
    /// Of this run.
    run_id: Option<RunId>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Reservations, the oldest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<ReservationRow>>, ApiError> {
    let filter = ReservationFilter {
        status: query.status,
        run: query.run_id,
        limit: query.limit,
        after: lists::read_cursor(query.cursor.as_deref())?,
    };
    query.limit.map(lists::check_limit).transpose()?;
    lists::caught_up(&app, query.min_seq).await?;
    let rows = app.projections().reservations(&caller.tenant, &filter);
    Ok(Json(rows.await?))
}

/// One reservation.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<At>,
) -> Result<Json<ReservationRow>, ApiError> {
    let id: ReservationId = path_id(&id, "reservation_id")?;
    lists::caught_up(&app, query.min_seq).await?;
    let row = app.projections().reservation(&caller.tenant, id).await?;
    row.map(Json)
        .ok_or_else(|| ApiError::not_found("reservation", id))
}

/// How much more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// By how much the limit is raised, in its own unit; by what is missing when absent.
    amount: Option<u64>,
}

type Answer = Result<(StatusCode, Json<ReservationDone>), ApiError>;

/// Gives one who waits what he waits for.
pub(crate) async fn grant(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    MaybeJson(grant): MaybeJson<Grant>,
) -> Answer {
    let reservation_id = path_id(&id, "reservation_id")?;
    let command = GrantBudget {
        reservation_id,
        amount: grant.amount,
    };
    tell(&app, &caller, trace, reservation_id, command.into()).await
}

/// Says no to one who waits.
pub(crate) async fn refuse(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let reservation_id = path_id(&id, "reservation_id")?;
    let command = RefuseBudget {
        reservation_id,
        reason: reason.checked()?,
    };
    tell(&app, &caller, trace, reservation_id, command.into()).await
}

/// What became of a hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// What was spent; nothing when absent.
    #[serde(default)]
    spent: GivenAmounts,
}

/// Accounts for what was spent of a hold.
pub(crate) async fn release(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    MaybeJson(release): MaybeJson<Release>,
) -> Answer {
    let reservation_id = path_id(&id, "reservation_id")?;
    let command = ReleaseBudget {
        reservation_id,
        spent: release.spent.amounts("spent")?,
    };
    tell(&app, &caller, trace, reservation_id, command.into()).await
}

async fn tell(
    app: &App,
    caller: &Caller,
    trace: Trace,
    reservation_id: ReservationId,
    command: Command,
) -> Answer {
    #[derive(Deserialize)]
    struct Done {
        seq: u64,
    }
    let done = send::<Done>(app, order(caller, trace, command)).await?;
    let (status, seq) = match done {
        Outcome::Done(Done { seq }) => (StatusCode::OK, Some(seq)),
        Outcome::Accepted => (StatusCode::ACCEPTED, None),
    };
    let done = ReservationDone {
        reservation_id,
        seq,
    };
    Ok((status, Json(done)))
}

fn order(caller: &Caller, trace: Trace, command: Command) -> Order<'_> {
    Order {
        caller,
        trace,
        command,
        run: None,
        key: None,
    }
}

/// Budget that is wanted for spending outside of runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHold {
    /// The reservation's id (a UUID); one is made when absent. Holding again under an id that is held
    /// is answered with what is held.
    #[serde(default)]
    reservation_id: Option<ReservationId>,
    /// What is to be held.
    amounts: GivenAmounts,
    /// Scopes that it counts in beside the tenant and the caller: at most 16.
    #[serde(default)]
    scopes: Vec<Scope>,
    /// The model, for reports.
    #[serde(default)]
    model: Option<String>,
    /// When it goes back by itself: 1 to 86,400 seconds, 900 when absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 86_400))]
    hold_seconds: Option<u64>,
}

/// What is held.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Hold {
    /// The reservation: release it when the spending is done.
    reservation_id: ReservationId,
    /// What is held; absent while no role has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amounts: Option<Amounts>,
    /// When it goes back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Sequence of the ledger: give it as `min_seq`. Null while no role has answered.
    seq: Option<u64>,
}

/// Holds budget for spending outside. The same id or `Idempotency-Key` again is one hold.
pub(crate) async fn hold(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewHold>,
) -> Result<Response, ApiError> {
    let reservation_id = match (new.reservation_id, idempotency_key(&headers)?) {
        (Some(_), Some(_)) => {
            let detail = "give a reservation_id or an Idempotency-Key, not both";
            return Err(ApiError::invalid("reservation_id", detail));
        }
        (Some(id), None) => id,
        (None, Some(key)) => ReservationId::derive(&[caller.tenant.as_str(), "hold", &key]),
        (None, None) => ReservationId::new(Uuid::now_v7()),
    };
    let command = HoldBudget {
        reservation_id,
        scopes: new.scopes,
        amounts: new.amounts.amounts("amounts")?,
        model: new.model,
        hold_seconds: new.hold_seconds,
    };
    let (status, hold) = match send::<Hold>(&app, order(&caller, trace, command.into())).await? {
        Outcome::Done(hold) if hold.amounts.is_none() => {
            let detail = format!("hold {reservation_id} was settled; use another id");
            return Err(ApiError::new(409, "wrong_state", detail));
        }
        Outcome::Done(hold) => (StatusCode::CREATED, hold),
        Outcome::Accepted => {
            let hold = Hold {
                reservation_id,
                amounts: None,
                expires_at: None,
                seq: None,
            };
            (StatusCode::ACCEPTED, hold)
        }
    };
    let mut response = (status, Json(hold)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/reservations/{reservation_id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}
