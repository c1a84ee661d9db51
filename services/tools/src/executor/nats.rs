//! Tools that any NATS client serves: a request on the tool's subject, answered by one of those that
//! listen there. `docs/protocol.md` is the contract.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use nexus_bus::{Bus, trace};
use nexus_events::subject;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{Call, Executor, Outcome};

/// How long a call waits for somebody to serve the tool.
const WAIT_FOR_WORKER: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Characters of a worker's error that the model is told.
const MOST_MESSAGE_CHARS: usize = 4_000;
/// Characters of its code.
const MOST_CODE_CHARS: usize = 64;

/// Workers on the bus.
pub(super) struct NatsWorkers {
    bus: Bus,
}

/// What a worker answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Done { output: Value },
    Failed { error: WorkerError },
}

#[derive(Deserialize)]
struct WorkerError {
    #[serde(default)]
    code: Option<String>,
    message: String,
}

/// How a request ended.
enum Asked {
    Answered(Bytes),
    /// Nobody listens: it certainly had no effect.
    NobodyThere,
    /// It may have been heard.
    Lost(String),
}

impl NatsWorkers {
    pub(super) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn ask(&self, call: &Call<'_>, payload: Bytes, time: Duration) -> Asked {
        let tenant = call.tenant;
        let request = Request::new()
            .headers(headers(
                call,
                time,
                self.bus.now().plus_millis(millis(time)),
            ))
            .payload(payload)
            // Within what workers of the tenant may publish to.
            .inbox(format!(
                "{}{}",
                subject::reply_prefix(tenant),
                Uuid::now_v7()
            ))
            // The time is ours to keep.
            .timeout(None);
        let subject = subject::tool(tenant, &call.definition.name);
        match timeout(time, self.bus.client().send_request(subject, request)).await {
            Ok(Ok(answer)) => Asked::Answered(answer.payload),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Asked::NobodyThere,
            Ok(Err(error)) => Asked::Lost(error.to_string()),
            Err(_) => Asked::Lost(format!("no answer within {} ms", millis(time))),
        }
    }
}

impl Executor for NatsWorkers {
    async fn call(&self, call: &Call<'_>) -> Outcome {
        let payload = Bytes::from(call.arguments.to_string());
        let began = Instant::now();
        loop {
            let left = call.time.saturating_sub(began.elapsed());
            match self.ask(call, payload.clone(), left).await {
                Asked::Answered(answer) => return read(&answer, call),
                // Asked too late the bus could not say in time that nobody is there, and a call that
                // had no effect would be in doubt.
                Asked::NobodyThere
                    if began.elapsed() + 2 * ASK_AGAIN < WAIT_FOR_WORKER.min(call.time) =>
                {
                    sleep(ASK_AGAIN).await;
                }
                Asked::NobodyThere => {
                    let name = &call.definition.name;
                    let message = format!("nobody serves the tool {name} now");
                    return Outcome::failed("no_worker", message);
                }
                Asked::Lost(reason) if !call.idempotent => {
                    return Outcome::Unknown(format!("the tool's worker was asked, and {reason}"));
                }
                Asked::Lost(_) if began.elapsed() + ASK_AGAIN < call.time => {
                    sleep(ASK_AGAIN).await;
                }
                Asked::Lost(reason) => return Outcome::failed("timeout", reason),
            }
        }
    }

    async fn cancelled(&self, call: &Call<'_>) {
        let subject = subject::tool_cancel(call.tenant, &call.definition.name);
        let headers = headers(call, Duration::ZERO, self.bus.now());
        // A hint: whoever does not hear it works in vain, and no harm is done.
        let client = self.bus.client();
        let _ = client
            .publish_with_headers(subject, headers, Bytes::new())
            .await;
    }
}

fn headers(call: &Call<'_>, time: Duration, deadline: nexus_events::Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse::<HeaderValue>() {
            headers.insert(name, value);
        }
    };
    set("nexus-run", &call.run_id.to_string());
    set("nexus-turn", &call.turn.to_string());
    set("nexus-call", call.call_id);
    set("nexus-attempt", &call.attempt.to_string());
    set("nexus-tool", &call.definition.name);
    set("nexus-tool-version", &call.definition.version);
    set("nexus-time-ms", &millis(time).to_string());
    set("nexus-deadline", &deadline.to_string());
    set("idempotency-key", call.idempotency_key);
    set("content-type", "application/json");
    if let Some(traceparent) = trace::outgoing(call.traceparent) {
        set("traceparent", &traceparent);
    }
    headers
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An answer that cannot be read is one all the same: the tool was executed.
fn read(answer: &[u8], call: &Call<'_>) -> Outcome {
    let most = call.definition.limits.max_output_bytes;
    if answer.len() as u64 > most {
        let message = format!("the tool gave {} bytes, of at most {most}", answer.len());
        return Outcome::failed("output_too_large", message);
    }
    let cut = |text: String, most: usize| text.chars().take(most).collect::<String>();
    match serde_json::from_slice(answer) {
        Ok(Answer::Done { output }) => Outcome::Done(output),
        Ok(Answer::Failed { error }) => Outcome::Failed {
            code: cut(
                error.code.unwrap_or_else(|| "tool_failed".to_owned()),
                MOST_CODE_CHARS,
            ),
            message: cut(error.message, MOST_MESSAGE_CHARS),
        },
        Err(_) => Outcome::failed(
            "bad_answer",
            "the tool's worker answered neither {\"output\": …} nor {\"error\": {\"message\": …}}",
        ),
    }
}
