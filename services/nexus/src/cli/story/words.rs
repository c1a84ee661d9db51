//! The words of a story: a remark for each kind of fact.

use nexus_events::Body;
use nexus_events::ledger::{OnExhausted, Scope, Shortage, Unit};
use nexus_events::run::{
    LlmCompleted, PolicyDecided, PolicyPoint, ReservationGranted, ReservationRefused, RunParked,
};

use super::Line;
use crate::cli::format::{count, duration, one_line, usd};
use crate::cli::style::{Tone, printable};

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
    let left = refused.limit.saturating_sub(refused.spent);
    let left = left.saturating_sub(refused.reserved);
    let unit = refused.unit;
    let text = format!(
        "budget   refuses turn {}: {} has {} of {} {} left ({}), {} are needed",
        refused.turn,
        named(&refused.scope),
        amount(unit, left),
        amount(unit, refused.limit),
        name(unit),
        refused.window.as_str(),
        amount(unit, refused.needed),
    );
    Line::Note(Tone::Bad, text)
}

/// What a call waits for, and what lets it go on.
pub(super) fn waits(parked: &RunParked) -> Line {
    let Shortage {
        scope,
        window,
        unit,
        limit,
        spent,
        reserved,
        needed,
        on_exhausted,
    } = &parked.shortage;
    let asked = match on_exhausted {
        OnExhausted::Approve => "a person is asked",
        _ => "it has its place in the line",
    };
    let shown = |value: &u64| amount(*unit, *value);
    let text = format!(
        "budget   waits for {} of {} ({}): limit {}, spent {}, held {}, {} needed; {asked}; grant \
         with: nexus budgets grant {}",
        name(*unit),
        named(scope),
        window.as_str(),
        shown(limit),
        shown(spent),
        shown(reserved),
        shown(needed),
        parked.reservation_id,
    );
    Line::Word(Tone::Warn, text)
}

fn named(scope: &Scope) -> String {
    let id = printable(&scope.id());
    format!("{} {id}", scope.kind()).trim_end().to_owned()
}

fn name(unit: Unit) -> &'static str {
    match unit {
        Unit::Tokens => "tokens",
        Unit::CostUsdMicros => "money",
        Unit::TimeMs => "time",
        Unit::ToolCalls => "tool calls",
        Unit::Runs => "runs in flight",
    }
}

fn amount(unit: Unit, value: u64) -> String {
    match unit {
        Unit::CostUsdMicros => usd(value),
        Unit::TimeMs => duration(value),
        Unit::Tokens | Unit::ToolCalls | Unit::Runs => count(value),
    }
}

/// What is held for a model call, or for a tool.
pub(super) fn held(granted: &ReservationGranted, tool: Option<String>) -> String {
    let time = duration(granted.amounts.time_ms);
    match tool {
        Some(tool) => format!("budget   holds {time} for tool {tool}"),
        None => format!(
            "budget   holds {} tokens, {}, {time} for turn {}",
            count(granted.amounts.tokens),
            usd(granted.amounts.cost_usd_micros),
            granted.turn
        ),
    }
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
    if decided.approval.is_some() {
        let text = format!("policy   asks people about {point} {because}");
        return Line::Note(Tone::Warn, text.trim_end().to_owned());
    }
    let rules = decided.rules.join(", ");
    let text = format!("policy   denies {point} {because} {rules}");
    Line::Note(Tone::Bad, text.trim_end().to_owned())
}
