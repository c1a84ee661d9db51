//! Remarks about questions to people: what is asked, how to answer, and what became of it.

use nexus_events::run::{
    ApprovalDenied, ApprovalEscalated, ApprovalGranted, ApprovalRequested, ToolArgumentsChanged,
};

use super::Line;
use super::words::{SNIPPET, note};
use crate::cli::format::one_line;
use crate::cli::style::Tone;

/// What is asked, and how to answer it.
pub(super) fn asked(asked: &ApprovalRequested) -> Vec<Line> {
    let what = match (&asked.tool, &asked.arguments) {
        (Some(tool), Some(arguments)) => {
            format!("{tool} {}", one_line(&arguments.to_string(), SNIPPET))
        }
        (Some(tool), None) => tool.clone(),
        (None, _) => asked.point.name().to_owned(),
    };
    let who = match asked.count {
        1 => asked.roles.join(" or "),
        count => format!("{count} people who are {}", asked.roles.join(" or ")),
    };
    let who = one_line(&who, SNIPPET);
    let (id, until) = (asked.approval_id, asked.expires_at);
    vec![
        Line::Note(
            Tone::Warn,
            format!("approval waits for {who}, until {until}: {what}"),
        ),
        note(format!(
            "         answer with: nexus approvals approve {id} (or deny), as somebody else than {}",
            asked.requester
        )),
    ]
}

pub(super) fn granted(granted: &ApprovalGranted) -> Line {
    let more = match granted.missing {
        0 => String::new(),
        missing => format!("; {missing} more to agree"),
    };
    let who = because(&granted.approver, granted.reason.as_deref());
    note(format!("approval given by {who}{more}"))
}

pub(super) fn denied(denied: &ApprovalDenied) -> Line {
    let who = because(&denied.approver, denied.reason.as_deref());
    Line::Note(Tone::Bad, format!("approval denied by {who}"))
}

pub(super) fn expired() -> Line {
    let what = "approval expired: nobody answered in time";
    Line::Note(Tone::Bad, what.to_owned())
}

pub(super) fn escalated(escalated: &ApprovalEscalated) -> Line {
    let roles = one_line(&escalated.roles.join(" or "), SNIPPET);
    Line::Note(Tone::Warn, format!("approval may be given by {roles} too"))
}

pub(super) fn changed(changed: &ToolArgumentsChanged) -> Line {
    let arguments = one_line(&changed.arguments.to_string(), SNIPPET);
    note(format!("approval is for other arguments: {arguments}"))
}

fn because(who: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{who}: {}", one_line(reason, SNIPPET)),
        None => who.to_owned(),
    }
}
