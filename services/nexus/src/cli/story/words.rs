//! The words of a story: a remark for each kind of fact.

use nexus_events::Body;
use nexus_events::run::{
    LlmCompleted, PolicyDecided, PolicyPoint, ReservationGranted, ReservationRefused,
};

use super::Line;
use crate::cli::format::{count, duration, one_line, usd};
use crate::cli::style::Tone;

/// Characters of arguments and results in a remark.
pub(super) const SNIPPET: usize = 160;

pub(super) fn note(text: String) -> Line {
    Line::Note(Tone::Dim, text)
}

pub(super) fn with_reason(what: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"))
}

pub(super) fn snippet(body: &Body) -> String {
    match body {
        Body::Inline(text) => one_line(text, SNIPPET),
        Body::Stored { bytes, .. } => format!("{} bytes", count(*bytes)),
    }
}

pub(super) fn about(answer: &LlmCompleted) -> String {
    let usage = &answer.usage;
    let about = if usage.estimated { "about " } else { "" };
    let first = answer.time_to_first_token_ms;
    let first = first.map(|ms| format!(", first token after {}", duration(ms)));
    let again = if answer.attempts > 1 {
        format!(", {} attempts", answer.attempts)
    } else {
        String::new()
    };
    format!(
        "model    {}: {about}{} tokens in, {} out, {}, {}{}{again}",
        answer.model,
        count(usage.input_tokens),
        count(usage.output_tokens),
        usd(answer.cost_usd_micros),
        duration(answer.duration_ms),
        first.unwrap_or_default(),
    )
}

pub(super) fn refusal(refused: &ReservationRefused) -> Line {
    let id = refused.scope.id();
    let scope = format!("{} {id}", refused.scope.kind());
    let text = format!(
        "budget   refuses turn {}: {} has {} of {} {} left ({}), {} are needed",
        refused.turn,
        scope.trim_end(),
        count(
            refused
                .limit
                .saturating_sub(refused.spent)
                .saturating_sub(refused.reserved)
        ),
        count(refused.limit),
        refused.unit.as_str(),
        refused.window.as_str(),
        count(refused.needed),
    );
    Line::Note(Tone::Bad, text)
}

pub(super) fn held(granted: &ReservationGranted) -> Line {
    note(format!(
        "budget   holds {} tokens, {}, {} for turn {}",
        count(granted.amounts.tokens),
        usd(granted.amounts.cost_usd_micros),
        duration(granted.amounts.time_ms),
        granted.turn
    ))
}

pub(super) fn policy(decided: &PolicyDecided, tool_name: impl Fn(&str) -> String) -> Line {
    let point = match &decided.point {
        PolicyPoint::ToolCall { call_id, .. } => {
            format!("{} {}", decided.point.name(), tool_name(call_id))
        }
        point => point.name().to_owned(),
    };
    let because = match &decided.error {
        Some(error) => format!(" ({error})"),
        None if decided.reasons.is_empty() => String::new(),
        None => format!(" ({})", decided.reasons.join("; ")),
    };
    let because = one_line(&because, SNIPPET);
    if decided.allowed {
        return note(
            format!("policy   allows {point} {because}")
                .trim_end()
                .to_owned(),
        );
    }
    let rules = decided.rules.join(", ");
    let text = format!("policy   denies {point} {because} {rules}");
    Line::Note(Tone::Bad, text.trim_end().to_owned())
}
