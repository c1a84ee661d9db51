//! Durable consumers, as data. One a role, shared by all its processes: the server hands each
//! command to one of them. How often a command may be tried is the driver's to decide, not the
//! server's, since the server would drop it without a word.

use std::time::Duration;

use serde_json::{Value, json};

use crate::connect::Bus;
use crate::js::{self, ApiError};

/// Unsettled messages of a role over all its processes; those that wait for another try count.
const MOST_UNSETTLED: u32 = 100_000;

/// A durable pull consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// The stream that it reads.
    pub stream: &'static str,
    /// Its name.
    pub name: String,
    /// What it takes.
    pub filter_subjects: Vec<String>,
    /// How long a message may be silent before it is delivered again.
    pub ack_wait: Duration,
}

/// Name of the consumer of a role.
pub fn name_of(role: &str) -> String {
    format!("role-{role}")
}

/// Creates the consumer, or brings it to what the specification says.
///
/// # Errors
/// [`ApiError`], once; the caller decides whether to wait.
pub async fn ensure_consumer(bus: &Bus, spec: &ConsumerSpec) -> Result<(), ApiError> {
    let body = json!({
        "stream_name": spec.stream,
        "config": {
            "durable_name": spec.name,
            "name": spec.name,
            "filter_subjects": spec.filter_subjects,
            "ack_policy": "explicit",
            "ack_wait": u64::try_from(spec.ack_wait.as_nanos()).unwrap_or(u64::MAX),
            "deliver_policy": "all",
            "replay_policy": "instant",
            "max_deliver": -1,
            "max_ack_pending": MOST_UNSETTLED,
        },
    });
    let verb = format!("CONSUMER.CREATE.{}.{}", spec.stream, spec.name);
    js::api::<Value>(bus, &verb, &body).await.map(drop)
}
