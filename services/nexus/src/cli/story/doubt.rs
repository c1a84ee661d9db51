//! Remarks about tool calls that are in doubt: why, how to answer, and what was said.

use nexus_events::run::{ToolInDoubt, ToolResolved};

use super::Line;
use super::words::{SNIPPET, note};
use crate::cli::format::one_line;
use crate::cli::style::Tone;

/// What is in doubt, and how to end it.
pub(super) fn left(doubt: &ToolInDoubt) -> Vec<Line> {
    let why = one_line(&doubt.message, SNIPPET);
    let call = one_line(&doubt.call_id, SNIPPET);
    vec![
        Line::Note(
            Tone::Warn,
            format!("tool     {} is in doubt: {why}", doubt.tool),
        ),
        note(format!(
            "         look what became of it, then: nexus tools resolve RUN {call} done|failed|retry"
        )),
    ]
}

pub(super) fn resolved(resolved: &ToolResolved, tool: &str) -> Line {
    let (what, by) = (resolved.resolution.as_str(), &resolved.by);
    let why = match &resolved.reason {
        Some(reason) => format!(": {}", one_line(reason, SNIPPET)),
        None => String::new(),
    };
    note(format!(
        "tool     {tool} is resolved as {what} by {by}{why}"
    ))
}
