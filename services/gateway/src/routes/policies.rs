//! Policy bundles.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nexus_events::command::{
    ActivateBundle, BacktestPolicy, ExplainPolicy, PublishBundle, RollBackBundle, ShadowBundle,
    TryPolicy,
};
use nexus_events::policy::{BUILTIN, BacktestReport, DryDecision, Explanation};
use nexus_events::{Command, Problem};
use nexus_projections::query::BundleRow;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::lists::{self, At};
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, Params};
use crate::identity::Caller;

/// The outcome of a command on policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PolicyDone {
    /// The bundle; null while it was not compiled, and where none is in shadow any more.
    digest: Option<String>,
    /// Sequence up to which policy was read or written: give it as `min_seq`. Null while no role
    /// has answered; the command is accepted all the same.
    seq: Option<u64>,
}

/// Bundles of a tenant.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Bundles {
    /// The newest first, the first 200; `builtin` is always among them.
    items: Vec<BundleRow>,
}

type Answer = Result<(StatusCode, Json<PolicyDone>), ApiError>;

/// Publishes a bundle.
pub(crate) async fn publish(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(bundle): JsonBody<PublishBundle>,
) -> Answer {
    answer(order(&app, &caller, trace, bundle).await?, None)
}

/// Decides by a bundle from now on.
pub(crate) async fn activate(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(digest): Path<String>,
) -> Answer {
    check(&digest)?;
    let command = ActivateBundle {
        digest: digest.clone(),
    };
    answer(order(&app, &caller, trace, command).await?, Some(digest))
}

/// Decides by the bundle that was active before this one.
pub(crate) async fn roll_back(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<RollBackBundle>,
) -> Answer {
    answer(order(&app, &caller, trace, command).await?, None)
}

/// Asks a bundle beside the active one from now on, or none.
pub(crate) async fn shadow(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<ShadowBundle>,
) -> Answer {
    let digest = command.digest.clone();
    digest.as_deref().map_or(Ok(()), check)?;
    answer(order(&app, &caller, trace, command).await?, digest)
}

/// A decision on an input, without effect.
pub(crate) async fn evaluate(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<TryPolicy>,
) -> Result<Json<DryDecision>, ApiError> {
    command.digest.as_deref().map_or(Ok(()), check)?;
    ask(&app, &caller, trace, command).await
}

/// Why a run's steps were judged as they were.
pub(crate) async fn explain(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<ExplainPolicy>,
) -> Result<Json<Explanation>, ApiError> {
    ask(&app, &caller, trace, command).await
}

/// What a bundle would have changed in a stretch of history.
pub(crate) async fn backtest(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<BacktestPolicy>,
) -> Result<Json<BacktestReport>, ApiError> {
    command.digest.as_deref().map_or(Ok(()), check)?;
    ask(&app, &caller, trace, command).await
}

fn check(digest: &str) -> Result<(), ApiError> {
    let hex = digest.strip_prefix("sha256:");
    let is_digest = hex.is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    });
    if digest == BUILTIN || is_digest {
        return Ok(());
    }
    let detail = "it must be builtin, or sha256: and 64 hexadecimal digits";
    Err(Problem::new(400, "invalid_id", detail).at("digest").into())
}

async fn order<T: DeserializeOwned>(
    app: &App,
    caller: &Caller,
    trace: Trace,
    command: impl Into<Command>,
) -> Result<Outcome<T>, ApiError> {
    let order = Order {
        caller,
        trace,
        command: command.into(),
        run: None,
        key: None,
    };
    send(app, order).await
}

/// A question: without an answer there is nothing to give.
async fn ask<T: DeserializeOwned>(
    app: &App,
    caller: &Caller,
    trace: Trace,
    question: impl Into<Command>,
) -> Result<Json<T>, ApiError> {
    match order(app, caller, trace, question).await? {
        Outcome::Done(answer) => Ok(Json(answer)),
        Outcome::Accepted => Err(ApiError::unavailable(
            "no_answer",
            "the policy role did not answer in time; ask again",
        )),
    }
}

fn answer(outcome: Outcome<PolicyDone>, digest: Option<String>) -> Answer {
    Ok(match outcome {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => (StatusCode::ACCEPTED, Json(PolicyDone { digest, seq: None })),
    })
}

/// All bundles.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<At>,
) -> Result<Json<Bundles>, ApiError> {
    lists::caught_up(&app, query.min_seq).await?;
    let items = app.projections().policy_bundles(&caller.tenant).await?;
    Ok(Json(Bundles { items }))
}
