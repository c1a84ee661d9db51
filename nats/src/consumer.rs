//! Durable consumers, as data. One a role, shared by all its processes: the server hands each
//! command to one of them. How often a command may be tried is the driver's to decide, not the
//! server's, since the server would drop it without a word.

use std::time::Duration;

use serde_json::{Value, json};

use crate::connect::Bus;
use crate::js::{self, ApiError};
use crate::pin;

/// Unsettled messages of a role over all its processes; those that wait for another try count.
const MOST_UNSETTLED: u32 = 100_000;

/// What the names of the roles' consumers begin with.
const ROLE: &str = "role-";

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
    /// Whether one process at a time is given messages, and the others stand by.
    pub single_active: bool,
}

/// Name of the consumer of a role.
pub fn name_of(role: &str) -> String {
    format!("{ROLE}{role}")
}

/// The role of a consumer; another one's own name.
pub(crate) fn role_of(name: &str) -> &str {
    name.strip_prefix(ROLE).unwrap_or(name)
}

/// Creates the consumer, or brings it to what the specification says. Whether one process is active
/// is changed in place: what is delivered, and how often, stays as it is. Processes of a version
/// that does not know the group are refused from then on.
///
/// # Errors
/// [`ApiError`], once; the caller decides whether to wait.
pub async fn ensure_consumer(bus: &Bus, spec: &ConsumerSpec) -> Result<(), ApiError> {
    let mut config = json!({
        "durable_name": spec.name,
        "name": spec.name,
        "filter_subjects": spec.filter_subjects,
        "ack_policy": "explicit",
        "ack_wait": nanos(spec.ack_wait),
        "deliver_policy": "all",
        "replay_policy": "instant",
        "max_deliver": -1,
        "max_ack_pending": MOST_UNSETTLED,
    });
    if spec.single_active {
        config["priority_groups"] = json!([pin::GROUP]);
        config["priority_policy"] = "pinned_client".into();
        config["priority_timeout"] = nanos(pin::LOSES_AFTER).into();
    }
    let body = json!({ "stream_name": spec.stream, "config": config });
    let verb = format!("CONSUMER.CREATE.{}.{}", spec.stream, spec.name);
    js::api::<Value>(bus, &verb, &body).await.map(drop)
}

/// Takes the place away from the process that is active, so that another one gets it with the next
/// message. Once; an active process that did not ask for this notices and stands by.
pub(crate) async fn unpin(bus: &Bus, spec: &ConsumerSpec) -> Result<(), ApiError> {
    let verb = format!("CONSUMER.UNPIN.{}.{}", spec.stream, spec.name);
    let body = json!({ "group": pin::GROUP });
    js::api::<Value>(bus, &verb, &body).await.map(drop)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
