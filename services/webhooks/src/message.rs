//! Messages as receivers get them: `type`, `timestamp` and `data` as the standard recommends, where
//! `data` is the event as the gateway's streams give it. It is passed through as it was recorded, so
//! that it is the same on every try, and so that events of a newer program are delivered too.

use std::borrow::Cow;

use bytes::Bytes;
use nexus_events::webhook::{TEST_TYPE, Webhook, message_id};
use nexus_events::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) type_name: String,
    pub(crate) seq: u64,
    pub(crate) index: u32,
    pub(crate) body: Bytes,
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

#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    timestamp: Timestamp,
    data: Event<'a>,
}

/// The event, as `GET /v1/events` gives it.
#[derive(Serialize)]
struct Event<'a> {
    id: String,
    seq: u64,
    index: u32,
    time: Timestamp,
    #[serde(rename = "type")]
    type_name: &'a str,
    tenant: &'a str,
    aggregate: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    data: &'a RawValue,
    causation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

/// The messages that a commit makes for a webhook, by type.
///
/// # Errors
/// It is no commit.
pub(crate) fn messages(
    tenant: &Tenant,
    hook: &Webhook,
    aggregate: &str,
    seq: u64,
    body: &[u8],
) -> Result<Vec<Message>, serde_json::Error> {
    let batch: Vec<Incoming<'_>> = serde_json::from_slice(body)?;
    let last = batch.len().saturating_sub(1);
    let mut messages = vec![];
    for (place, event) in batch.iter().enumerate() {
        if !hook.spec.wants(&event.type_name) {
            continue;
        }
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let run_id = aggregate.strip_prefix("run/");
        let outgoing = Outgoing {
            type_name: &event.type_name,
            timestamp: event.time,
            data: Event {
                // The last event of a commit stands for the commit, as on streams.
                id: match place == last {
                    true => seq.to_string(),
                    false => format!("{seq}.{index}"),
                },
                seq,
                index,
                time: event.time,
                type_name: &event.type_name,
                tenant: tenant.as_str(),
                aggregate,
                run_id: run_id.or(event.correlationid.as_deref()),
                data: event.data,
                causation_id: &event.causationid,
                correlation_id: event.correlationid.as_deref(),
                actor: event.actor,
                traceparent: event.traceparent.as_deref(),
            },
        };
        messages.push(Message {
            id: message_id(hook.id, seq, index),
            type_name: event.type_name.clone().into_owned(),
            seq,
            index,
            body: serde_json::to_vec(&outgoing)?.into(),
        });
    }
    Ok(messages)
}

/// The message of `webhook.test`.
pub(crate) fn test(tenant: &Tenant, hook: &Webhook, command: &str, now: Timestamp) -> Message {
    let body = json!({
        "type": TEST_TYPE,
        "timestamp": now,
        "data": { "tenant": tenant.as_str(), "webhook_id": hook.id, "type": TEST_TYPE, "time": now },
    });
    Message {
        id: format!("msg_{}_test_{command}", hook.id.uuid().simple()),
        type_name: TEST_TYPE.to_owned(),
        seq: 0,
        index: 0,
        body: body.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::run::{RunEvent, RunPaused, RunResumed};
    use nexus_events::webhook::{WebhookCreated, WebhookSpec, Webhooks};
    use nexus_events::{Aggregate, Commit, Position, RunId, WebhookId};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn hook(types: &[&str]) -> Webhook {
        let webhook_id = WebhookId::new(Uuid::from_u128(1));
        let created = WebhookCreated {
            webhook_id,
            spec: WebhookSpec {
                url: "https://example.com/".into(),
                description: None,
                types: types.iter().map(|&name| name.to_owned()).collect(),
                agent: None,
                session_id: None,
            },
            secret_id: Uuid::nil(),
            from_seq: None,
        };
        let mut hooks = Webhooks::default();
        hooks.evolve(&created.into(), Position::default());
        hooks.webhooks.remove(&webhook_id).unwrap()
    }

    #[test]
    fn a_commit_becomes_messages_of_the_wanted_types_with_ids_of_their_place() {
        let run = RunId::derive(&["x"]);
        let events: Vec<RunEvent> = vec![
            RunPaused {
                reason: Some("why".into()),
            }
            .into(),
            RunResumed { reason: None }.into(),
        ];
        let commit = Commit {
            id: "c/run".to_owned(),
            causation: "c".parse().unwrap(),
            correlation: Some(run),
            time: Timestamp::from_millis(1_795_353_377_328),
            traceparent: None,
            actor: None,
            events,
        };
        let body = commit.encode("nexus/run", "nexus.acme.evt.run.x").unwrap();
        let tenant: Tenant = "acme".parse().unwrap();
        let of = |hook: &Webhook| messages(&tenant, hook, "run/x", 7, &body).unwrap();
        let all = of(&hook(&[]));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].id, "msg_00000000000000000000000000000001_7_0");
        let shown: Value = serde_json::from_slice(&all[0].body).unwrap();
        assert_eq!(shown["type"], "nexus.run.paused.v1");
        assert_eq!(shown["timestamp"], "2026-11-22T13:16:17.328Z");
        let data = &shown["data"];
        assert_eq!((&data["id"], &data["seq"]), (&"7.0".into(), &7.into()));
        assert_eq!(
            (&data["tenant"], &data["run_id"]),
            (&"acme".into(), &"x".into())
        );
        assert_eq!(data["data"]["reason"], "why");
        let some = of(&hook(&["nexus.run.resumed.v1"]));
        assert_eq!((some.len(), some[0].index), (1, 1));
        assert!(messages(&tenant, &hook(&[]), "run/x", 7, b"{}").is_err());
    }
}
