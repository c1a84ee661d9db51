//! Questions to people: what is asked, and their answers. Who answers is who calls; nobody answers
//! for somebody else.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nexus_events::command::{Answer as Word, DecideApproval};
use nexus_events::{ApprovalId, RunId};
use nexus_projections::query::{ApprovalFilter, ApprovalRow, ApprovalStatus, Page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::control::Reason;
use super::lists::{self, At};
use crate::app::App;
use crate::commands::{Order, Outcome, RunDone, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, MaybeJson, Params, path_id};
use crate::identity::Caller;

/// See [`list`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// With this status.
    status: Option<ApprovalStatus>,
    /// Of this run.
    run_id: Option<RunId>,
    /// That this role may answer.
    role: Option<String>,
    /// Rows of the page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one.
    cursor: Option<String>,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// Questions, the newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<ApprovalRow>>, ApiError> {
    let page = lists::page(query.limit, query.cursor.as_deref())?;
    lists::caught_up(&app, query.min_seq).await?;
    let filter = ApprovalFilter {
        status: query.status,
        run: query.run_id,
        role: query.role,
    };
    let rows = app.projections().approvals(&caller.tenant, &filter, &page);
    Ok(Json(rows.await?))
}

/// One question.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<At>,
) -> Result<Json<ApprovalRow>, ApiError> {
    let id = path_id(&id, "approval_id")?;
    find(&app, &caller, id, query.min_seq).await.map(Json)
}

/// A yes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// Why, for the log: 2,000 bytes at most.
    reason: Option<String>,
    /// `subject` of the question as the approver saw it: the answer is refused where something else
    /// is asked by now.
    subject: Option<String>,
    /// What the tool is to be called with instead; policy sees it again.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    arguments: Option<serde_json::Value>,
}

/// The outcome of an answer.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct ApprovalDone {
    /// The question.
    approval_id: ApprovalId,
    /// The run that waits for it.
    run_id: RunId,
    /// Sequence up to which the run was read or written: give it as `min_seq`. Null while no role
    /// has answered; the command is accepted all the same.
    seq: Option<u64>,
}

type Answer = Result<(StatusCode, Json<ApprovalDone>), ApiError>;

/// It may go ahead.
pub(crate) async fn approve(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    Params(query): Params<At>,
    MaybeJson(approval): MaybeJson<Approval>,
) -> Answer {
    let id = path_id(&id, "approval_id")?;
    let reason = Reason::from(approval.reason).checked()?;
    let run_id = find(&app, &caller, id, query.min_seq).await?.run_id;
    let command = DecideApproval {
        run_id,
        approval_id: id,
        answer: Word::Approve,
        reason,
        subject: approval.subject,
        arguments: approval.arguments,
    };
    decide(&app, &caller, trace, command).await
}

/// It may not.
pub(crate) async fn deny(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    Params(query): Params<At>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let id = path_id(&id, "approval_id")?;
    let reason = reason.checked()?;
    let run_id = find(&app, &caller, id, query.min_seq).await?.run_id;
    let command = DecideApproval {
        run_id,
        approval_id: id,
        answer: Word::Deny,
        reason,
        subject: None,
        arguments: None,
    };
    decide(&app, &caller, trace, command).await
}

async fn find(
    app: &App,
    caller: &Caller,
    id: ApprovalId,
    min_seq: Option<u64>,
) -> Result<ApprovalRow, ApiError> {
    lists::caught_up(app, min_seq).await?;
    let row = app.projections().approval(&caller.tenant, id).await?;
    row.ok_or_else(|| ApiError::not_found("approval", id))
}

async fn decide(app: &App, caller: &Caller, trace: Trace, command: DecideApproval) -> Answer {
    let (run_id, approval_id) = (command.run_id, command.approval_id);
    let order = Order {
        caller,
        trace,
        command: command.into(),
        run: Some(run_id),
        key: None,
    };
    let (status, seq) = match send::<RunDone>(app, order).await? {
        Outcome::Done(done) => (StatusCode::OK, done.seq),
        Outcome::Accepted => (StatusCode::ACCEPTED, None),
    };
    let done = ApprovalDone {
        approval_id,
        run_id,
        seq,
    };
    Ok((status, Json(done)))
}
