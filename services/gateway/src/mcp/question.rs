//! A question of policy to people, while a client waits for what depends on it. In the newer revision
//! the answer to the call is that something is required: its person is told who is to decide and
//! where, and comes back with the state that is given here. Whoever started a run may not approve it,
//! so what is asked is only whether to go on waiting.
//!
//! The state names the run and nothing else. It needs no seal: what comes back is compared with the
//! run's own log, which says who started it and with what.

use nexus_events::RunId;
use nexus_events::run::ApprovalRequested;
use serde_json::{Value, json};

use super::arguments::short;
use super::wire::{Message, RpcError};

/// The question's name among those of one answer.
const KEY: &str = "approval";
const STATE: &str = "nexus-run:";

/// What is asked, and of whom, in words.
pub(super) fn words(asked: &ApprovalRequested) -> String {
    let what = match (&asked.tool, &asked.arguments) {
        (Some(tool), Some(arguments)) => format!("{tool} {}", short(arguments)),
        (Some(tool), None) => tool.clone(),
        (None, _) => asked.point.name().to_owned(),
    };
    let who = match asked.roles.as_slice() {
        [] => "somebody else".to_owned(),
        roles => format!("somebody with the role {}", roles.join(" or ")),
    };
    let why = match asked.reasons.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join("; ")),
    };
    let id = asked.approval_id;
    format!(
        "{what} needs the approval of {who}{why}. It is given or refused with `nexus approvals \
         approve {id}` or POST /v1/approvals/{id}/approve (deny), until {}.",
        asked.expires_at
    )
}

/// The result that says so.
pub(super) fn required(run: RunId, asked: &ApprovalRequested) -> Value {
    let message = format!("{} Wait for it?", words(asked));
    let schema = json!({
        "type": "object",
        "properties": {
            "wait": {
                "type": "boolean",
                "title": "Wait",
                "description": "Look again whether it was decided; without it the call is cancelled",
                "default": true,
            },
        },
    });
    let params = json!({ "mode": "form", "message": message, "requestedSchema": schema });
    json!({
        "resultType": "input_required",
        "inputRequests": { KEY: { "method": "elicitation/create", "params": params } },
        "requestState": format!("{STATE}{run}"),
        "_meta": { "nexus/run": run, "nexus/approval": asked.approval_id },
    })
}

/// What somebody says who comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Back {
    pub(super) run: RunId,
    /// The call is still wanted.
    pub(super) waits: bool,
}

/// Whether a call is one that was begun before.
///
/// # Errors
/// The state was not made here, or the answer is none.
pub(super) fn back(message: &Message) -> Result<Option<Back>, RpcError> {
    let state = match message.param("requestState") {
        None | Some(Value::Null) => return Ok(None),
        Some(state) => state.as_str(),
    };
    let run = state.and_then(|state| state.strip_prefix(STATE)?.parse().ok());
    let Some(run) = run else {
        return Err(RpcError::params(
            "`requestState` is not one that was given here",
        ));
    };
    let answer = message.param("inputResponses").and_then(|all| all.get(KEY));
    let waits = match answer.map(|answer| answer.get("action").and_then(Value::as_str)) {
        None => true,
        Some(Some("accept")) => {
            let wait = answer.and_then(|answer| answer.get("content")?.get("wait"));
            match wait {
                None | Some(Value::Bool(true)) => true,
                Some(Value::Bool(false)) => false,
                Some(_) => return Err(RpcError::params("`wait` is true or false")),
            }
        }
        Some(Some("decline" | "cancel")) => false,
        Some(_) => return Err(RpcError::params("`action` is accept, decline or cancel")),
    };
    Ok(Some(Back { run, waits }))
}
