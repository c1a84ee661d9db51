//! Approval by people: asked for by policy, bound to the run, to exactly what is to be done and to
//! the bundle that asked, and answered once. What it allows is judged again with the answer.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    ApprovalDenied, ApprovalEscalated, ApprovalExpired, ApprovalGranted, ApprovalRequested,
    PolicyDecided, PolicyPoint, Run, RunEvent, RunFailed, Status, ToolArgumentsChanged,
};
use crate::command::{Answer, DecideApproval};
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::ids::{ApprovalId, RunId};
use crate::model::ToolCall;
use crate::policy::ApprovalRequirement;
use crate::time::Timestamp;

/// How often people are asked about one step before it counts as denied: a policy that is never
/// content must not ask for ever.
const MOST_QUESTIONS: u32 = 4;
/// Characters of a reason.
const MOST_REASON_CHARS: usize = 1_000;
/// Bytes of arguments that an approver puts in the place of the model's.
const MOST_ARGUMENT_BYTES: usize = 65_536;
/// Bytes of arguments that a question repeats.
const MOST_SHOWN_BYTES: usize = 16_384;

/// A digest of exactly what is to be done: an approval is good for nothing else.
pub fn subject_of(run: &Run, point: &PolicyPoint) -> String {
    let arguments = call_of(run, point).map(|call| &call.arguments);
    subject_with(run, point, arguments)
}

/// The same, with these arguments of the tool.
fn subject_with(run: &Run, point: &PolicyPoint, arguments: Option<&Value>) -> String {
    let info = run.info();
    let what = match point {
        PolicyPoint::RunStart => json!({ "input": info.map(|info| &info.input) }),
        PolicyPoint::LlmCall { turn } => json!({ "turn": turn, "model": run.model }),
        PolicyPoint::ToolCall { turn, call_id } => json!({
            "turn": turn,
            "call": call_id,
            "tool": call_of(run, point).map(|call| &call.name),
            "arguments": arguments,
        }),
    };
    let run_id = info.map(|info| info.run_id.to_string());
    let whole = json!({ "run": run_id, "point": point.name(), "what": what });
    // Objects are written with their keys in order.
    format!("sha256:{}", hex::encode(Sha256::digest(whole.to_string())))
}

/// Whether people were asked about a step so often that asking again is a denial.
pub fn asked_too_often(run: &Run, point: &PolicyPoint) -> bool {
    run.questions(point) >= MOST_QUESTIONS
}

fn call_of<'a>(run: &'a Run, point: &PolicyPoint) -> Option<&'a ToolCall> {
    match point {
        PolicyPoint::ToolCall { turn, call_id } => {
            run.tool_step(*turn, call_id).map(|step| &step.call)
        }
        _ => None,
    }
}

/// The question that a judgement asks; none where people were asked often enough.
pub(super) fn question(
    run: &Run,
    decided: &PolicyDecided,
    need: &ApprovalRequirement,
    now: Timestamp,
) -> Option<ApprovalRequested> {
    let info = run.info()?;
    let asked = run.questions(&decided.point);
    if asked_too_often(run, &decided.point) {
        return None;
    }
    let call = call_of(run, &decided.point);
    let arguments = call.map(|call| &call.arguments);
    let seconds = |seconds: u64| now.plus_millis(seconds.saturating_mul(1_000));
    Some(ApprovalRequested {
        approval_id: approval_id(info.run_id, &decided.point, asked),
        tool: call.map(|call| call.name.clone()),
        arguments: (arguments.cloned())
            .filter(|arguments| arguments.to_string().len() <= MOST_SHOWN_BYTES),
        subject: subject_of(run, &decided.point),
        point: decided.point.clone(),
        bundle: decided.bundle.clone(),
        reasons: decided.reasons.clone(),
        requester: info.user.user.clone(),
        roles: need.roles.clone(),
        count: need.count,
        expires_at: seconds(need.expires_seconds),
        escalate_at: (need.escalate_seconds)
            .filter(|after| *after < need.expires_seconds && !need.escalate_to.is_empty())
            .map(seconds),
        escalate_to: need.escalate_to.clone(),
    })
}

/// The id of a question: the same however often the step is judged.
fn approval_id(run_id: RunId, point: &PolicyPoint, asked: u32) -> ApprovalId {
    let (turn, call_id) = match point {
        PolicyPoint::RunStart => (0, ""),
        PolicyPoint::LlmCall { turn } => (*turn, ""),
        PolicyPoint::ToolCall { turn, call_id } => (*turn, call_id.as_str()),
    };
    let (run_id, turn, asked) = (run_id.to_string(), turn.to_string(), asked.to_string());
    ApprovalId::derive(&[&run_id, point.name(), &turn, call_id, &asked])
}

/// Takes a person's answer. The same answer by the same person again is no event; two consoles at
/// once are one decision, whichever is first.
///
/// # Errors
/// Nobody asked; it is decided otherwise, or expired; the person may not answer: the requester
/// himself, or somebody without one of the roles; or he saw something else than is asked now.
pub fn decide_approval(
    run: &Run,
    command: &DecideApproval,
    actor: &Actor,
    now: Timestamp,
) -> Result<Vec<RunEvent>, DomainError> {
    let id = command.approval_id;
    let Some(pending) = run.approvals.get(&id) else {
        return already(run, command, actor);
    };
    let asked = &pending.asked;
    if now >= asked.expires_at {
        return Err(decided(id, "expired"));
    }
    let forbidden = |reason: String| Err(DomainError::Forbidden { reason });
    if actor.user.is_empty() || actor.user == asked.requester {
        return forbidden(format!(
            "approval {id} was requested by {}: somebody else has to answer",
            asked.requester
        ));
    }
    if !actor.roles.iter().any(|role| pending.roles.contains(role)) {
        let roles = pending.roles.join(" or ");
        return forbidden(format!("approval {id} is for {roles} to answer"));
    }
    let now_asked = subject_of(run, &asked.point);
    if command
        .subject
        .as_ref()
        .is_some_and(|seen| *seen != now_asked)
    {
        let reason = "it is about something else by now; look at it again";
        return Err(DomainError::invalid("subject", reason));
    }
    let reason = command
        .reason
        .as_ref()
        .map(|reason| reason.chars().take(MOST_REASON_CHARS).collect());
    match command.answer {
        Answer::Deny => {
            let approver = actor.user.clone();
            let denied = ApprovalDenied {
                approval_id: id,
                approver,
                reason,
            };
            Ok(with_end(
                run,
                &asked.point,
                denied.into(),
                "approval_denied",
            ))
        }
        Answer::Approve => {
            let mut events = vec![];
            if let Some(arguments) = &command.arguments {
                let PolicyPoint::ToolCall { turn, call_id } = &asked.point else {
                    let reason = "only the arguments of a tool call can be changed";
                    return Err(DomainError::invalid("arguments", reason));
                };
                if !pending.approvers.is_empty() {
                    let reason = "somebody has approved other arguments already; deny it instead";
                    return Err(DomainError::invalid("arguments", reason));
                }
                if !arguments.is_object() || arguments.to_string().len() > MOST_ARGUMENT_BYTES {
                    let reason = format!("an object of {MOST_ARGUMENT_BYTES} bytes at most");
                    return Err(DomainError::invalid("arguments", reason));
                }
                let changed = ToolArgumentsChanged {
                    turn: *turn,
                    call_id: call_id.clone(),
                    arguments: arguments.clone(),
                    approval_id: id,
                    subject: subject_with(run, &asked.point, Some(arguments)),
                };
                events.push(changed.into());
            }
            if pending.approvers.contains(&actor.user) {
                return Ok(vec![]);
            }
            let given = pending.approvers.len() as u32 + 1;
            let granted = ApprovalGranted {
                approval_id: id,
                approver: actor.user.clone(),
                reason,
                missing: asked.count.saturating_sub(given),
            };
            events.push(granted.into());
            Ok(events)
        }
    }
}

/// A question that is not open any more.
fn already(
    run: &Run,
    command: &DecideApproval,
    actor: &Actor,
) -> Result<Vec<RunEvent>, DomainError> {
    let id = command.approval_id;
    let Some(closed) = run.answered.get(&id) else {
        return Err(DomainError::NotFound {
            what: "approval",
            id: id.to_string(),
        });
    };
    let same = match command.answer {
        Answer::Approve => closed.state == "approved",
        Answer::Deny => closed.state == "denied",
    };
    if same && closed.by.contains(&actor.user) && command.arguments.is_none() {
        return Ok(vec![]);
    }
    Err(decided(id, closed.state))
}

fn decided(id: ApprovalId, state: &'static str) -> DomainError {
    DomainError::WrongState {
        what: "approval",
        id: id.to_string(),
        state: state.to_owned(),
        action: "be answered",
    }
}

/// Nobody answered in time. No event: somebody did, or the run has ended.
pub fn expire_approval(run: &Run, id: ApprovalId) -> Vec<RunEvent> {
    match run.approvals.get(&id) {
        Some(pending) => {
            let expired = ApprovalExpired { approval_id: id };
            with_end(
                run,
                &pending.asked.point,
                expired.into(),
                "approval_expired",
            )
        }
        None => vec![],
    }
}

/// Further roles may answer. No event: it is answered, or they may already.
pub fn escalate_approval(run: &Run, id: ApprovalId) -> Vec<RunEvent> {
    match run.approvals.get(&id) {
        Some(pending) if !pending.escalated && !pending.asked.escalate_to.is_empty() => vec![
            ApprovalEscalated {
                approval_id: id,
                roles: pending.asked.escalate_to.clone(),
            }
            .into(),
        ],
        _ => vec![],
    }
}

/// A start or a model call that may not go ahead ends the run; a tool that may not is an answer to
/// the model.
fn with_end(run: &Run, point: &PolicyPoint, event: RunEvent, code: &str) -> Vec<RunEvent> {
    let message = match &event {
        RunEvent::ApprovalDenied(denied) => denied.words(),
        _ => "nobody answered in time".to_owned(),
    };
    let mut events = vec![event];
    if !matches!(point, PolicyPoint::ToolCall { .. }) && run.status != Status::Unborn {
        let message = format!("{}: {message}", point.name());
        let code = code.to_owned();
        events.push(RunFailed { code, message }.into());
    }
    events
}
