//! From a message to a command. Any NATS client may publish one, so nothing is taken for granted:
//! headers may be missing (a plain JSON body is enough), wrong (then the command is laid aside with
//! the reason), or the whole may be a CloudEvent in structured mode.

use async_nats::HeaderMap;
use nexus_events::command::CommandError;
use nexus_events::envelope::{
    ACTOR, CE_CAUSATION, CE_CORRELATION, CE_ID, CE_TYPE, CONTENT_TYPE, REPLY_CONFIRMED, REPLY_TO,
    TRACEPARENT,
};
use nexus_events::subject::{self, CommandSubject};
use nexus_events::{Actor, Command, CommandEnvelope, CommandId, Problem, Tenant, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::trace::TraceParent;

/// A command, delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose, which, by whom.
    pub envelope: CommandEnvelope,
    /// What.
    pub command: Command,
    /// How many times it has been delivered, this one included.
    pub delivered: u64,
    /// Its sequence in the command stream.
    pub stream_seq: u64,
    /// When the stream took it.
    pub published_at: Timestamp,
    /// Cancelled when the process is about to stop: whatever takes long should come to an end, or
    /// return [`Failure::Retry`](crate::Failure::Retry).
    pub stopping: CancellationToken,
}

/// A message that is no command.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// The subject is none of a command.
    #[error("{0:?} is not the subject of a command")]
    Subject(String),
    /// A header does not hold what it must.
    #[error("header {name}: {reason}")]
    Header {
        /// Which.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The body claims to be a CloudEvent and is none.
    #[error("the body is not a CloudEvent in structured mode: {0}")]
    Structured(#[source] serde_json::Error),
    /// The body is not the command's.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Undecodable {
    /// As callers see it.
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(400, "invalid_command", self.to_string());
        match self {
            Self::Header { name, .. } => problem.at(*name),
            _ => problem,
        }
    }
}

/// What a message is, apart from its body.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its subject.
    pub subject: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its sequence in the command stream.
    pub stream_seq: u64,
    /// When the stream took it.
    pub published_at: Timestamp,
}

/// Reads a command.
///
/// # Errors
/// [`Undecodable`], with words for the sender.
pub fn decode(origin: Origin<'_>, body: &[u8]) -> Result<(CommandEnvelope, Command), Undecodable> {
    let at = subject::parse_command(origin.subject)
        .ok_or_else(|| Undecodable::Subject(origin.subject.chars().take(256).collect()))?;
    let attributes = Attributes::from_headers(origin.headers);
    let content_type = origin
        .headers
        .get(CONTENT_TYPE)
        .map_or("", |value| value.as_str());
    if content_type.starts_with("application/cloudevents") {
        let event: Structured<'_> =
            serde_json::from_slice(body).map_err(Undecodable::Structured)?;
        let data = event.data.map_or("null", RawValue::get);
        return build(origin, at, attributes.or(event.attributes), data.as_bytes());
    }
    build(origin, at, attributes, body)
}

fn build(
    origin: Origin<'_>,
    at: CommandSubject,
    attributes: Attributes,
    body: &[u8],
) -> Result<(CommandEnvelope, Command), Undecodable> {
    let command = Command::decode(&at.role, &at.verb, attributes.type_name.as_deref(), body)?;
    let correlation = (attributes.correlationid.as_deref())
        .map(|text| {
            text.parse()
                .map_err(|error| invalid(CE_CORRELATION, &error))
        })
        .transpose()?;
    let actor: Option<Actor> = (attributes.actor.as_deref())
        .map(|text| serde_json::from_str(text).map_err(|error| invalid(ACTOR, &error)))
        .transpose()?;
    let envelope = CommandEnvelope {
        id: command_id(origin, &attributes)?,
        correlation,
        causation: attributes
            .causationid
            .map(|id| id.chars().take(256).collect()),
        // The specification: what cannot be read is dropped, and the trace starts anew.
        traceparent: attributes
            .traceparent
            .filter(|text| text.parse::<TraceParent>().is_ok()),
        actor: actor.unwrap_or_default(),
        reply_to: reply_to(origin.headers, &at.tenant),
        reply_confirmed: origin.headers.get(REPLY_CONFIRMED).is_some(),
        tenant: at.tenant,
    };
    Ok((envelope, command))
}

/// The id that the sender gave, or one that this message always has.
fn command_id(origin: Origin<'_>, attributes: &Attributes) -> Result<CommandId, Undecodable> {
    if let Some(id) = &attributes.id {
        return id.parse().map_err(|error| invalid(CE_ID, &error));
    }
    let message_id = origin
        .headers
        .get("Nats-Msg-Id")
        .and_then(|id| id.as_str().parse().ok());
    Ok(message_id.unwrap_or_else(|| {
        let (seq, taken) = (origin.stream_seq, origin.published_at.as_millis());
        CommandId::derive(&format!("{}#{seq}@{taken}", origin.subject), "command")
    }))
}

/// Where the outcome goes. An answer is published with the platform's own rights, so only inboxes
/// and the tenant's own `reply` subjects are allowed: anything else could be used to write where
/// the sender may not. A forbidden one is ignored.
pub fn reply_to(headers: &HeaderMap, tenant: &Tenant) -> Option<String> {
    let subject = headers.get(REPLY_TO)?.as_str();
    let allowed =
        subject.starts_with("_INBOX") || subject.starts_with(&subject::reply_prefix(tenant));
    let literal = subject.len() <= 256
        && subject.split('.').all(|token| !token.is_empty())
        && subject
            .bytes()
            .all(|c| c.is_ascii_graphic() && c != b'*' && c != b'>');
    (allowed && literal).then(|| subject.to_owned())
}

fn invalid(name: &'static str, reason: &dyn std::fmt::Display) -> Undecodable {
    Undecodable::Header {
        name,
        reason: reason.to_string(),
    }
}

/// Attributes of a CloudEvent, from headers or from the body.
#[derive(Debug, Default, Deserialize)]
struct Attributes {
    id: Option<String>,
    #[serde(rename = "type")]
    type_name: Option<String>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
    #[serde(skip)]
    actor: Option<String>,
}

#[derive(Deserialize)]
struct Structured<'a> {
    #[serde(flatten)]
    attributes: Attributes,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Attributes {
    fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &'static str| headers.get(name).map(|value| value.as_str().to_owned());
        Self {
            id: text(CE_ID),
            type_name: text(CE_TYPE),
            correlationid: text(CE_CORRELATION),
            causationid: text(CE_CAUSATION),
            traceparent: text(TRACEPARENT),
            actor: text(ACTOR),
        }
    }

    /// These, and the other's where these are silent.
    fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            type_name: self.type_name.or(other.type_name),
            correlationid: self.correlationid.or(other.correlationid),
            causationid: self.causationid.or(other.causationid),
            traceparent: self.traceparent.or(other.traceparent),
            actor: self.actor,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::command::ControlRun;

    use super::*;

    const SUBJECT: &str = "nexus.acme.cmd.run.cancel";
    const RUN: &str = "0193e8a0-0000-7000-8000-000000000001";

    type Headers<'a> = &'a [(&'static str, &'a str)];

    fn headers(pairs: Headers<'_>) -> HeaderMap {
        let mut map = HeaderMap::new();
        pairs
            .iter()
            .for_each(|(name, value)| map.insert(*name, *value));
        map
    }

    fn read(
        pairs: &[(&'static str, &str)],
        body: &str,
    ) -> Result<(CommandEnvelope, Command), Undecodable> {
        let headers = headers(pairs);
        let published_at = Timestamp::from_millis(5);
        let origin = Origin {
            subject: SUBJECT,
            headers: &headers,
            stream_seq: 7,
            published_at,
        };
        decode(origin, body.as_bytes())
    }

    fn body() -> String {
        format!(r#"{{"run_id":"{RUN}"}}"#)
    }

    #[test]
    fn a_plain_body_is_enough_and_always_gives_the_same_id() {
        let (envelope, command) = read(&[], &body()).unwrap();
        assert_eq!(envelope.id, read(&[], &body()).unwrap().0.id);
        assert_eq!((command.role(), command.verb()), ("run", "cancel"));
    }

    #[test]
    fn headers_say_the_rest() {
        let given = [
            (CE_ID, "order-1"),
            (CE_TYPE, "nexus.run.cancel.v1"),
            (CE_CORRELATION, RUN),
            (
                ACTOR,
                r#"{"user":"ann","source":{"address":"10.0.0.1","later":1}}"#,
            ),
            (REPLY_TO, "_INBOX.x.1"),
            (TRACEPARENT, "nonsense"),
        ];
        let (envelope, _) = read(&given, &body()).unwrap();
        assert_eq!(envelope.id.as_str(), "order-1");
        assert_eq!(envelope.correlation.unwrap().to_string(), RUN);
        assert_eq!(envelope.actor.user, "ann");
        let source = envelope.actor.source.unwrap();
        assert_eq!(source.address, "10.0.0.1".parse().ok());
        assert_eq!(envelope.reply_to.as_deref(), Some("_INBOX.x.1"));
        assert_eq!(envelope.traceparent, None);
    }

    #[test]
    fn structured_mode_is_read_too() {
        let event = format!(
            r#"{{"specversion":"1.0","id":"s-1","source":"me","type":"nexus.run.cancel.v1",
                "correlationid":"{RUN}","data":{}}}"#,
            body()
        );
        let content = [(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")];
        let (envelope, command) = read(&content, &event).unwrap();
        assert_eq!(envelope.id.as_str(), "s-1");
        assert!(envelope.correlation.is_some());
        let Command::CancelRun(cancel) = command else {
            unreachable!("the subject says cancel")
        };
        let ControlRun { run_id, .. } = cancel.0;
        assert_eq!(run_id.to_string(), RUN);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases: [(Headers<'_>, &str, &str); 5] = [
            (&[(CE_ID, "a b")], "{}", "cannot be read"),
            (&[(CE_ID, "a b")], &body(), "header ce-id"),
            (&[(CE_TYPE, "nexus.run.cancel.v9")], &body(), "ce-type"),
            (&[(ACTOR, "ann")], &body(), "header nexus-actor"),
            (
                &[(CONTENT_TYPE, "application/cloudevents+json")],
                "[",
                "structured",
            ),
        ];
        for (headers, body, words) in cases {
            let error = read(headers, body).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn an_answer_goes_to_inboxes_and_the_tenants_own_subjects_only() {
        let tenant: Tenant = "acme".parse().unwrap();
        let ask = |subject: &str| reply_to(&headers(&[(REPLY_TO, subject)]), &tenant);
        for good in ["_INBOX.abc.1", "_INBOX_ann.1", "nexus.acme.reply.1"] {
            assert!(ask(good).is_some(), "{good}");
        }
        for bad in [
            "$JS.API.STREAM.DELETE.NEXUS_EVT",
            "nexus.other.reply.1",
            "nexus.acme.cmd.run.start",
            "_INBOX.>",
            "_INBOX..a",
            "_INBOX.a b",
        ] {
            assert!(ask(bad).is_none(), "{bad}");
        }
    }
}
