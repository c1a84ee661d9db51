//! NATS: whether it answers, its version, its streams, its clock, and what was laid aside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_bus::topology::{EVENTS, StreamSpec, TopologyConfig, streams};
use nexus_bus::{Bus, dlq};
use nexus_events::Timestamp;
use serde_json::Value;

use super::finding::Finding;
use super::verdict;
use crate::cli::endpoint::{Connection, Servers};
use crate::cli::servers;

const CHECK: &str = "NATS";
const PATIENCE: Duration = Duration::from_secs(5);
/// What an installation chooses, or what only people read.
const FREE: [&str; 3] = ["max_age", "num_replicas", "description"];

/// Looks at it; gives the sequence at which the log ends as well.
pub(crate) async fn check(
    servers: &Servers,
    connection: &Connection,
) -> (Vec<Finding>, Option<u64>) {
    let bus = match servers::bus(servers, connection).await {
        Ok(bus) => bus,
        Err(error) => {
            let advice = "start the platform, or pass --nats-url";
            return (vec![Finding::fail(CHECK, error.to_string(), advice)], None);
        }
    };
    let info = bus.client().server_info();
    let mut findings = vec![
        Finding::ok(CHECK, format!("reachable, server {}", info.server_name)),
        verdict::nats_version(&info.version),
    ];
    let mut log_seq = None;
    for spec in streams(&TopologyConfig::default()) {
        let before = now_ms();
        let found = stream_info(&bus, spec.name).await;
        if spec.name == EVENTS
            && let Ok(Some(info)) = &found
        {
            log_seq = info.pointer("/state/last_seq").and_then(Value::as_u64);
            findings.extend(skew(info, before, now_ms()).map(verdict::skew));
        }
        findings.extend(stream(&spec, found));
    }
    findings.push(
        match tokio::time::timeout(PATIENCE, dlq::counts(&bus, None)).await {
            Ok(Ok(counts)) => verdict::dead_letters(counts.values().sum()),
            _ => Finding::skipped("dead letters", "they cannot be counted"),
        },
    );
    (findings, log_seq)
}

/// What the server says of a stream; nothing where there is none.
async fn stream_info(bus: &Bus, name: &str) -> Result<Option<Value>, String> {
    let request = bus
        .client()
        .request(format!("$JS.API.STREAM.INFO.{name}"), "".into());
    let answer = tokio::time::timeout(PATIENCE, request).await;
    let answer = answer
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let info: Value = serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())?;
    match info.pointer("/error/code").and_then(Value::as_u64) {
        None => Ok(Some(info)),
        Some(404) => Ok(None),
        Some(_) => Err(info
            .pointer("/error/description")
            .map(Value::to_string)
            .unwrap_or_default()),
    }
}

fn stream(spec: &StreamSpec, found: Result<Option<Value>, String>) -> Option<Finding> {
    let advice =
        "start any role of this version: it makes what is missing and says what it will not";
    match found {
        Err(why) => {
            let found = format!("{} cannot be looked at: {why}", spec.name);
            Some(Finding::fail(
                "streams",
                found,
                "is JetStream switched on, and may we ask?",
            ))
        }
        Ok(None) => Some(Finding::fail(
            "streams",
            format!("{} is missing", spec.name),
            advice,
        )),
        Ok(Some(info)) => {
            let differs = differences(spec, info.get("config").unwrap_or(&Value::Null));
            let found = format!("{} differs in {}", spec.name, differs.join(", "));
            match differs.is_empty() {
                true if spec.name == EVENTS => {
                    let count = info.pointer("/state/messages").map(Value::to_string);
                    let found = format!("as expected, {} commits", count.unwrap_or_default());
                    Some(Finding::ok("streams", found))
                }
                true => None,
                false => Some(Finding::warn("streams", found, advice)),
            }
        }
    }
}

/// Names of fields that are not what this program would make.
fn differences(spec: &StreamSpec, config: &Value) -> Vec<String> {
    let Ok(Value::Object(wanted)) = serde_json::to_value(spec) else {
        return vec![];
    };
    let differs = |(name, value): &(String, Value)| {
        !FREE.contains(&name.as_str()) && config.get(name) != Some(value)
    };
    wanted
        .into_iter()
        .filter(differs)
        .map(|(name, _)| name)
        .collect()
}

/// How far our clock is from the server's, allowing for the time that asking took.
fn skew(info: &Value, before_ms: i64, after_ms: i64) -> Option<u64> {
    let theirs = Timestamp::parse_rfc3339(info.get("ts")?.as_str()?)?.as_millis();
    if theirs < before_ms {
        return Some(before_ms.abs_diff(theirs));
    }
    Some(if theirs > after_ms {
        theirs.abs_diff(after_ms)
    } else {
        0
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::json;

    use super::super::finding::Verdict;
    use super::*;

    fn spec() -> StreamSpec {
        streams(&TopologyConfig::default())
            .into_iter()
            .find(|spec| spec.name == EVENTS)
            .unwrap()
    }

    fn verdict_of(config: Value) -> Verdict {
        stream(&spec(), Ok(Some(json!({ "config": config }))))
            .unwrap()
            .verdict
    }

    #[test]
    fn a_stream_is_compared_by_what_matters() {
        let mut config = serde_json::to_value(spec()).unwrap();
        config["num_replicas"] = json!(3);
        config["max_bytes"] = json!(-1);
        assert_eq!(verdict_of(config.clone()), Verdict::Ok);
        config["deny_purge"] = json!(false);
        assert_eq!(verdict_of(config), Verdict::Warn);
        assert_eq!(stream(&spec(), Ok(None)).unwrap().verdict, Verdict::Fail);
        assert_eq!(
            stream(&spec(), Err("no".to_owned())).unwrap().verdict,
            Verdict::Fail
        );
    }

    #[test]
    fn the_time_that_asking_took_is_no_skew() {
        let info = json!({ "ts": "2026-11-22T13:16:17.328Z" });
        let at = 1_795_353_377_328;
        assert_eq!(skew(&info, at - 50, at + 50), Some(0));
        assert_eq!(skew(&info, at + 100, at + 200), Some(100));
        assert_eq!(skew(&info, at - 300, at - 200), Some(200));
        assert_eq!(skew(&json!({}), 0, 0), None);
    }
}
