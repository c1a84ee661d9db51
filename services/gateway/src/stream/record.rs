//! Commits as readers get them: the events of a CloudEvents batch, each with its place in the log.
//! Data is passed through as it was recorded, without being decoded into the core's types: a reader
//! gets events of a newer program, too, and nothing is lost or renamed on the way.

use std::borrow::Cow;

use bytes::Bytes;
use nexus_events::Timestamp;
use nexus_events::aggregate::DecodeError;
use nexus_projections::query::RunStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cursor::EventCursor;
use super::merge::Item;

/// One event of a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct EventRecord {
    /// Its place in the log: what `after` and `Last-Event-ID` take.
    pub(crate) id: String,
    /// Sequence of its commit: what `min_seq` takes.
    pub(crate) seq: u64,
    /// Its place in the commit, from zero.
    pub(crate) index: u32,
    /// When it was decided.
    pub(crate) time: Timestamp,
    /// Its versioned type, such as `nexus.run.started.v1`.
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    /// What it happened to, such as `run/<run_id>`, in a stream of more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aggregate: Option<String>,
    /// What happened.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(crate) data: Box<RawValue>,
    /// The command or commit that caused it.
    pub(crate) causation_id: String,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_id: Option<String>,
    /// Who acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<nexus_events::Actor>")]
    pub(crate) actor: Option<Box<RawValue>>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

/// An event in a stored commit.
#[derive(Deserialize)]
struct Incoming<'a> {
    time: Timestamp,
    #[serde(rename = "type", borrow)]
    type_name: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    causationid: Cow<'a, str>,
    #[serde(borrow)]
    correlationid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    actor: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<Cow<'a, str>>,
}

/// The events of the commit with sequence `seq`.
pub(crate) fn events(seq: u64, body: &[u8]) -> Result<Vec<EventRecord>, DecodeError> {
    let batch: Vec<Incoming<'_>> = serde_json::from_slice(body).map_err(DecodeError::Commit)?;
    let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
    let records = batch
        .into_iter()
        .zip(0..)
        .map(|(event, index)| EventRecord {
            id: EventCursor::of(seq, index, count).to_string(),
            seq,
            index,
            time: event.time,
            aggregate: None,
            type_name: event.type_name.into_owned(),
            data: event.data.to_owned(),
            causation_id: event.causationid.into_owned(),
            correlation_id: event.correlationid.map(Cow::into_owned),
            actor: event.actor.map(ToOwned::to_owned),
            traceparent: event.traceparent.map(Cow::into_owned),
        });
    Ok(records.collect())
}

/// How a run ended, by the type of the event that says so.
fn end_of(type_name: &str) -> Option<RunStatus> {
    match type_name {
        "nexus.run.completed.v1" => Some(RunStatus::Completed),
        "nexus.run.failed.v1" => Some(RunStatus::Failed),
        "nexus.run.cancelled.v1" => Some(RunStatus::Cancelled),
        _ => None,
    }
}

/// A commit, looked at no closer than following it needs.
pub(crate) fn item(seq: u64, body: Bytes) -> Result<Item<Bytes>, DecodeError> {
    #[derive(Deserialize)]
    struct Glance<'a> {
        #[serde(rename = "type", borrow)]
        type_name: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let batch: Vec<Glance<'_>> = serde_json::from_slice(&body).map_err(DecodeError::Commit)?;
    let terminal = batch.iter().any(|event| end_of(&event.type_name).is_some());
    let answered = batch
        .iter()
        .map(|event| answered_turn(&event.type_name, event.data));
    let answered_turn = answered.max().unwrap_or(0);
    Ok(Item {
        seq,
        terminal,
        answered_turn,
        bytes: body.len(),
        body,
    })
}

/// The turn that has its answer now.
fn answered_turn(type_name: &str, data: &RawValue) -> u32 {
    #[derive(Deserialize)]
    struct OfTurn {
        turn: u32,
    }
    let answers = matches!(
        type_name,
        "nexus.run.llm-completed.v1" | "nexus.run.llm-failed.v1" | "nexus.run.llm-aborted.v1"
    );
    if !answers {
        return 0;
    }
    serde_json::from_str(data.get()).map_or(0, |OfTurn { turn }| turn)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::aggregate::Event;
    use nexus_events::run::{RunCancelled, RunCompleted, RunEvent, RunPaused, RunResumed};
    use nexus_events::{Commit, RunId};

    use super::*;

    fn commit(events: Vec<RunEvent>) -> Vec<u8> {
        let commit = Commit {
            id: "c/run".to_owned(),
            causation: "c".parse().unwrap(),
            correlation: Some(RunId::derive(&["x"])),
            time: Timestamp::from_millis(1_795_353_377_328),
            traceparent: None,
            actor: None,
            events,
        };
        commit.encode("nexus/run", "nexus.acme.evt.run.x").unwrap()
    }

    #[test]
    fn events_have_places_of_which_the_last_stands_for_the_commit() {
        let body = commit(vec![
            RunPaused {
                reason: Some("why".into()),
            }
            .into(),
            RunResumed { reason: None }.into(),
        ]);
        let events = events(7, &body).unwrap();
        let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["7.0", "7"]);
        let json = serde_json::to_value(&events[0]).unwrap();
        assert_eq!(json["type"], "nexus.run.paused.v1");
        assert_eq!(json["data"]["reason"], "why");
        assert_eq!((&json["seq"], &json["index"]), (&7.into(), &0.into()));
        assert_eq!(json["time"], "2026-11-22T13:16:17.328Z");
    }

    #[test]
    fn the_three_ends_are_known_by_their_type() {
        let ends: Vec<RunEvent> = vec![
            RunCompleted {
                tokens: 0,
                cost_usd_micros: 0,
                duration_ms: 0,
                client_calls: vec![],
            }
            .into(),
            nexus_events::run::RunFailed {
                code: String::new(),
                message: String::new(),
            }
            .into(),
            RunCancelled { reason: None }.into(),
        ];
        for event in ends {
            assert!(end_of(event.type_name()).is_some(), "{}", event.type_name());
            assert!(item(1, commit(vec![event]).into()).unwrap().terminal);
        }
        let known: Vec<_> = RunEvent::type_names()
            .iter()
            .filter_map(|name| end_of(name))
            .collect();
        assert_eq!(known.len(), 3);
    }

    #[test]
    fn an_answer_closes_its_turn() {
        let data = RawValue::from_string(r#"{"turn":3,"usage":{}}"#.to_owned()).unwrap();
        assert_eq!(answered_turn("nexus.run.llm-aborted.v1", &data), 3);
        assert_eq!(answered_turn("nexus.run.tool-started.v1", &data), 0);
    }
}
