//! Brings the server's streams to what [`topology`](crate::topology) says. A difference that would
//! lose something (subjects, retention, age) is refused with words, never applied: an older program
//! that starts against a newer installation must not cut it down.

use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;

use crate::backoff::Backoff;
use crate::connect::Bus;
use crate::js::{self, ApiError};
use crate::topology::{StreamSpec, TopologyConfig, streams};

/// Streams that could not be brought to what they must be.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The stream is there, and what differs cannot be changed without losing something.
    #[error(
        "stream {stream} exists with {field} = {found}, and {wanted} is wanted: {why}. \
         Change the configuration, or the stream by hand, if this is meant"
    )]
    Lossy {
        /// Name of the stream.
        stream: &'static str,
        /// What differs.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
        /// What would be lost.
        why: &'static str,
    },
    /// The server says no.
    #[error("stream {stream} could not be {action}")]
    Refused {
        /// Name of the stream.
        stream: &'static str,
        /// What was tried.
        action: &'static str,
        /// What the server says.
        #[source]
        source: ApiError,
    },
}

#[derive(Deserialize)]
struct Info {
    config: Map<String, Value>,
}

/// Creates what is missing and updates what differs without harm. Idempotent; several processes may
/// do it at once. Retried for [`Bus::retry_for`] while the server cannot answer.
///
/// # Errors
/// [`TopologyError`].
pub async fn ensure(bus: &Bus, config: &TopologyConfig) -> Result<(), TopologyError> {
    for spec in streams(config) {
        ensure_stream(bus, &spec).await?;
    }
    Ok(())
}

async fn ensure_stream(bus: &Bus, spec: &StreamSpec) -> Result<(), TopologyError> {
    let stream = spec.name;
    let found: Map<String, Value> =
        match call::<Info>(bus, &format!("STREAM.INFO.{stream}"), &Value::Null).await {
            Ok(info) => info.config,
            Err(error) if error.err_code() == Some(js::STREAM_NOT_FOUND) => {
                call::<Info>(bus, &format!("STREAM.CREATE.{stream}"), &to_json(spec))
                    .await
                    .map_err(refused(stream, "created"))?;
                info!(stream, "stream created");
                return Ok(());
            }
            Err(error) => return Err(refused(stream, "read")(error)),
        };
    if let Some(update) = plan(spec, &found)? {
        call::<Info>(
            bus,
            &format!("STREAM.UPDATE.{stream}"),
            &Value::Object(update),
        )
        .await
        .map_err(refused(stream, "updated"))?;
        info!(stream, "stream updated");
    }
    Ok(())
}

fn refused(stream: &'static str, action: &'static str) -> impl FnOnce(ApiError) -> TopologyError {
    move |source| TopologyError::Refused {
        stream,
        action,
        source,
    }
}

async fn call<T: serde::de::DeserializeOwned>(
    bus: &Bus,
    verb: &str,
    body: &Value,
) -> Result<T, ApiError> {
    let started = tokio::time::Instant::now();
    for attempt in 0.. {
        match js::api(bus, verb, body).await {
            Err(error) if error.is_transient() && started.elapsed() < bus.retry_for() => {
                info!(%error, verb, "waiting for JetStream");
                tokio::time::sleep(Backoff::REQUEST.delay(attempt)).await;
            }
            outcome => return outcome,
        }
    }
    Err(ApiError::Away("gave up".to_owned()))
}

fn to_json(spec: &StreamSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// The configuration to send, or nothing where all is as it should be. Fields that are not ours
/// (an operator's placement, limits, metadata) stay as they are.
fn plan(
    spec: &StreamSpec,
    found: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, TopologyError> {
    refuse_loss(spec, found)?;
    let Value::Object(wanted) = to_json(spec) else {
        return Ok(None);
    };
    let mut update = found.clone();
    for (field, value) in wanted {
        update.insert(field, value);
    }
    Ok((update != *found).then_some(update))
}

fn refuse_loss(spec: &StreamSpec, found: &Map<String, Value>) -> Result<(), TopologyError> {
    let text = |field: &str| found.get(field).and_then(Value::as_str).unwrap_or_default();
    let lossy = |field, found: String, wanted: String, why| {
        Err(TopologyError::Lossy {
            stream: spec.name,
            field,
            found,
            wanted,
            why,
        })
    };
    if text("retention") != spec.retention {
        let why = "messages would be dropped, or kept, by other rules";
        return lossy(
            "retention",
            text("retention").into(),
            spec.retention.into(),
            why,
        );
    }
    if text("storage") != spec.storage {
        return lossy(
            "storage",
            text("storage").into(),
            spec.storage.into(),
            "it cannot be moved",
        );
    }
    let subjects: Vec<&str> = (found.get("subjects").and_then(Value::as_array))
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if let Some(extra) = subjects
        .iter()
        .find(|found| !spec.subjects.iter().any(|s| s == **found))
    {
        let wanted = spec.subjects.join(", ");
        let why = "messages on this subject would no longer be stored";
        return lossy("subjects", (*extra).to_owned(), wanted, why);
    }
    let number = |field: &str| found.get(field).and_then(Value::as_u64).unwrap_or(0);
    if is_longer(number("max_age"), spec.max_age) {
        let (found, wanted) = (number("max_age").to_string(), spec.max_age.to_string());
        return lossy("max_age", found, wanted, "older messages would be deleted");
    }
    if number("num_replicas") > spec.num_replicas as u64 {
        let (found, wanted) = (
            number("num_replicas").to_string(),
            spec.num_replicas.to_string(),
        );
        return lossy("num_replicas", found, wanted, "fewer nodes would hold it");
    }
    Ok(())
}

/// Whether messages are kept longer with `found` than with `wanted`; 0 is for ever.
fn is_longer(found: u64, wanted: u64) -> bool {
    wanted != 0 && (found == 0 || found > wanted)
}
