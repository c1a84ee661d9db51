//! One turn's model call: attempts until one answers, within the time that is reserved. Tokens of
//! attempts that failed are charged with those of the one that did not.

use std::time::Duration;

use nexus_events::model::Usage;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::LiveStream;
use crate::provider::{CallLimits, ChatRequest, Completion, Failure, Provider};

/// Attempts of one call.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// How a call ended, with everything that it used.
pub(crate) struct Called {
    /// The answer, or the last failure.
    pub(crate) result: Result<Completion, Failure>,
    /// Tokens of all attempts.
    pub(crate) usage: Usage,
    /// How many there were.
    pub(crate) attempts: u32,
}

/// Calls the model.
pub(crate) async fn call(
    provider: &dyn Provider,
    request: &ChatRequest,
    deadline: Instant,
    stop: &CancellationToken,
    live: &LiveStream,
) -> Called {
    let limits = CallLimits {
        cancel: stop.clone(),
        deadline: Some(deadline),
    };
    let mut usage = Usage::default();
    for attempt in 1.. {
        let mut sink = |delta: crate::provider::Delta<'_>| live.delta(delta);
        let failure = match provider.complete(request, &limits, &mut sink).await {
            Ok(completion) => {
                usage = sum(usage, completion.usage);
                return Called {
                    result: Ok(completion),
                    usage,
                    attempts: attempt,
                };
            }
            Err(error) => {
                usage = sum(usage, error.partial.usage);
                error.failure
            }
        };
        let pause = pause_before_next(&failure, attempt);
        let stopped = match pause {
            Some(pause) if Instant::now() + pause < deadline => {
                tracing::warn!(provider = provider.name(), attempt, %failure, ?pause, "the model call failed and is tried again");
                live.restart(failure.code());
                tokio::select! {
                    () = tokio::time::sleep(pause) => None,
                    () = stop.cancelled() => Some(Failure::Cancelled),
                }
            }
            _ => Some(failure),
        };
        if let Some(failure) = stopped {
            return Called {
                result: Err(failure),
                usage,
                attempts: attempt,
            };
        }
    }
    Called {
        result: Err(Failure::DeadlineExceeded),
        usage,
        attempts: ATTEMPTS,
    }
}

fn pause_before_next(failure: &Failure, attempt: u32) -> Option<Duration> {
    if attempt >= ATTEMPTS {
        return None;
    }
    let back_off = FIRST_PAUSE * 4u32.saturating_pow(attempt - 1);
    let pause = match failure {
        Failure::Transient {
            retry_after: Some(asked),
            ..
        } => (*asked).max(back_off),
        Failure::Transient { .. } | Failure::Truncated { .. } | Failure::Malformed { .. } => {
            back_off
        }
        Failure::Permanent { .. } | Failure::Cancelled | Failure::DeadlineExceeded => return None,
    };
    Some(pause.min(LONGEST_PAUSE))
}

fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        cached_input_tokens: a.cached_input_tokens.saturating_add(b.cached_input_tokens),
        cache_write_tokens: a.cache_write_tokens.saturating_add(b.cache_write_tokens),
        estimated: a.estimated || b.estimated,
    }
}
