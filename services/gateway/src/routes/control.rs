//! Telling a run to stop, wait, go on, or something.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use nexus_events::command::{CancelRun, ControlRun, PauseRun, ResumeRun, SignalRun};
use nexus_events::{Command, RunId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::runs::idempotency_key;
use crate::app::App;
use crate::commands::{Order, Outcome, RunDone, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, MaybeJson, path_id};
use crate::identity::Caller;

const MOST_REASON_BYTES: usize = 2_000;

/// Why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// Why, for the log: 2,000 bytes at most.
    reason: Option<String>,
}

impl Reason {
    /// What was given, checked.
    pub(crate) fn checked(self) -> Result<Option<String>, ApiError> {
        match self.reason {
            Some(reason) if reason.len() > MOST_REASON_BYTES => {
                let detail = format!("it may have {MOST_REASON_BYTES} bytes");
                Err(ApiError::invalid("reason", detail))
            }
            reason => Ok(reason),
        }
    }

    fn on(self, run_id: RunId) -> Result<ControlRun, ApiError> {
        Ok(ControlRun {
            run_id,
            reason: self.checked()?,
        })
    }
}

/// A message into a running run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signal {
    /// The message; the model sees it at its next turn.
    input: String,
}

type Answer = Result<(StatusCode, Json<RunDone>), ApiError>;

/// Stops the run.
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(run_id): Path<String>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let run_id = path_id(&run_id, "run_id")?;
    let command = CancelRun(reason.on(run_id)?).into();
    control(
        &app,
        run_id,
        Order {
            caller: &caller,
            trace,
            command,
            run: Some(run_id),
            key: None,
        },
    )
    .await
}

/// Takes no further step.
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(run_id): Path<String>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let run_id = path_id(&run_id, "run_id")?;
    let command = PauseRun(reason.on(run_id)?).into();
    control(
        &app,
        run_id,
        Order {
            caller: &caller,
            trace,
            command,
            run: Some(run_id),
            key: None,
        },
    )
    .await
}

/// Goes on.
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(run_id): Path<String>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let run_id = path_id(&run_id, "run_id")?;
    let command = ResumeRun(reason.on(run_id)?).into();
    control(
        &app,
        run_id,
        Order {
            caller: &caller,
            trace,
            command,
            run: Some(run_id),
            key: None,
        },
    )
    .await
}

/// Tells the run something. The same `Idempotency-Key` again says it once.
pub(crate) async fn signal(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(run_id): Path<String>,
    headers: HeaderMap,
    JsonBody(signal): JsonBody<Signal>,
) -> Answer {
    let run_id = path_id(&run_id, "run_id")?;
    let key = idempotency_key(&headers)?;
    let command: Command = SignalRun {
        run_id,
        input: signal.input,
    }
    .into();
    control(
        &app,
        run_id,
        Order {
            caller: &caller,
            trace,
            command,
            run: Some(run_id),
            key,
        },
    )
    .await
}

async fn control(app: &App, run_id: RunId, order: Order<'_>) -> Answer {
    Ok(match send::<RunDone>(app, order).await? {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => (StatusCode::ACCEPTED, Json(RunDone { run_id, seq: None })),
    })
}
