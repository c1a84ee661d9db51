//! How a call that ended becomes the event that records it.

use std::time::Duration;

use nexus_events::Body;
use nexus_events::run::{
    Again, LlmAborted, LlmCompleted, LlmFailed, ModelOutcome, ReservationGranted, Routing,
};

use crate::attempts::{Called, Ended, Then};
use crate::provider::{Failure, Resolved};

/// Longest sentence about a route, in characters.
const MOST_CHARS: usize = 600;

/// What a call was about.
pub(crate) struct About<'a> {
    pub(crate) grant: &'a ReservationGranted,
    /// The name that the run has for the model.
    pub(crate) model: &'a str,
    pub(crate) endpoints: &'a [Resolved],
    /// The model that the run may be moved to.
    pub(crate) next_model: Option<String>,
    pub(crate) took: Duration,
    /// How often the command came.
    pub(crate) delivered: u64,
}

/// The outcome of a call. `text` is the answer's text, inline or stored.
pub(crate) fn of(about: About<'_>, called: Called, text: Option<Body>) -> ModelOutcome {
    let (turn, model) = (about.grant.turn, about.model);
    let (usage, cost_usd_micros) = (called.usage, called.cost_usd_micros);
    let duration_ms = millis(about.took);
    // An earlier delivery may have called, and died before it could say so.
    let before = u32::try_from(about.delivered.saturating_sub(1)).unwrap_or(u32::MAX);
    let attempts = called.attempts.saturating_add(before);
    let failed = |code: &str, message: String, again| {
        ModelOutcome::Failed(LlmFailed {
            turn,
            code: code.chars().take(64).collect(),
            message,
            usage,
            cost_usd_micros,
            duration_ms,
            attempts,
            findings: vec![],
            again,
            routing: Some(Box::new(called.routing.clone())),
        })
    };
    let again = match (called.then, about.next_model) {
        (Then::Again, _) => Some(Again::SameModel),
        (Then::Next, next) => next.map(Again::NextModel),
        (Then::End, _) => None,
    };
    match called.result {
        Ok((completion, place)) => {
            let endpoint = about.endpoints.get(place).map(|endpoint| &endpoint.model);
            ModelOutcome::Completed(LlmCompleted {
                turn,
                provider: endpoint.map_or_else(String::new, |e| e.provider.clone()),
                model: completion
                    .response_model
                    .or_else(|| endpoint.map(|endpoint| endpoint.wire_name.clone()))
                    .unwrap_or_default(),
                text: text.unwrap_or_default(),
                tool_calls: completion.tool_calls,
                finish: completion.finish,
                usage,
                cost_usd_micros,
                duration_ms,
                time_to_first_token_ms: completion.time_to_first_token.map(millis),
                attempts,
                response_id: completion.response_id,
                route: sentence(model, about.endpoints.len(), &called.routing),
                routing: Some(Box::new(called.routing)),
                findings: vec![],
                cached: None,
            })
        }
        Err(Ended::Failed(Failure::Cancelled)) => ModelOutcome::Aborted(LlmAborted {
            turn,
            usage,
            cost_usd_micros,
            duration_ms,
        }),
        Err(Ended::Failed(Failure::DeadlineExceeded)) if about.grant.time_limited => {
            let left_ms = about.grant.amounts.time_ms;
            let message = format!(
                "model {model} was not done within the {left_ms} ms that were left of the budget; \
                 raise time_ms of the budget, or use a faster model"
            );
            failed("time_exhausted", message, None)
        }
        Err(Ended::Failed(failure)) => failed(failure.code(), failure.to_string(), again),
        Err(Ended::Closed(message)) => failed("no_endpoint_open", message, again),
    }
}

/// The route in words.
fn sentence(model: &str, endpoints: usize, routing: &Routing) -> String {
    let endpoint = routing.endpoint.as_deref().unwrap_or_default();
    let mut words = match endpoints {
        0 | 1 => format!("{model} is served by {endpoint} alone"),
        _ => format!(
            "{endpoint}, by {} among {endpoints} endpoints of {model}",
            routing.strategy
        ),
    };
    for attempt in &routing.attempts {
        if attempt.outcome != "answered" {
            words.push_str(&format!("; {}: {}", attempt.endpoint, attempt.outcome));
        }
    }
    for skipped in &routing.skipped {
        words.push_str(&format!("; not {}: {}", skipped.endpoint, skipped.reason));
    }
    words.chars().take(MOST_CHARS).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
