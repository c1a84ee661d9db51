//! How a call that ended becomes the event that records it.

use std::time::Duration;

use nexus_events::Body;
use nexus_events::run::{LlmAborted, LlmCompleted, LlmFailed, ModelOutcome, ReservationGranted};

use crate::attempts::Called;
use crate::provider::{Failure, ModelInfo};

/// The outcome of a call. `text` is the answer's text, inline or stored.
pub(crate) fn of(
    grant: &ReservationGranted,
    model: &ModelInfo,
    called: Called,
    text: Option<Body>,
    took: Duration,
    delivered: u64,
) -> ModelOutcome {
    let turn = grant.turn;
    let usage = called.usage;
    let cost_usd_micros = model.price.cost_usd_micros(&usage);
    let duration_ms = millis(took);
    // An earlier delivery may have called, and died before it could say so.
    let before = u32::try_from(delivered.saturating_sub(1)).unwrap_or(u32::MAX);
    let attempts = called.attempts.saturating_add(before);
    match called.result {
        Ok(completion) => ModelOutcome::Completed(LlmCompleted {
            turn,
            provider: model.provider.clone(),
            model: completion
                .response_model
                .unwrap_or_else(|| model.wire_name.clone()),
            text: text.unwrap_or_default(),
            tool_calls: completion.tool_calls,
            finish: completion.finish,
            usage,
            cost_usd_micros,
            duration_ms,
            time_to_first_token_ms: completion.time_to_first_token.map(millis),
            attempts,
            response_id: completion.response_id,
            route: format!("{} is served by {} alone", model.name, model.provider),
            findings: vec![],
            cached: None,
        }),
        Err(Failure::Cancelled) => ModelOutcome::Aborted(LlmAborted {
            turn,
            usage,
            cost_usd_micros,
            duration_ms,
        }),
        Err(Failure::DeadlineExceeded) if grant.time_limited => {
            let left_ms = grant.amounts.time_ms;
            ModelOutcome::Failed(LlmFailed {
                turn,
                code: "time_exhausted".to_owned(),
                message: format!(
                    "model {} was not done within the {left_ms} ms that were left of the budget; \
                     raise time_ms of the budget, or use a faster model",
                    model.name
                ),
                usage,
                cost_usd_micros,
                duration_ms,
                attempts,
                findings: vec![],
            })
        }
        Err(failure) => ModelOutcome::Failed(LlmFailed {
            turn,
            code: failure.code().chars().take(64).collect(),
            message: failure.to_string(),
            usage,
            cost_usd_micros,
            duration_ms,
            attempts,
            findings: vec![],
        }),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
