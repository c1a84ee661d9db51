//! How commands and commits travel. A command is a CloudEvent in binary mode (headers and a plain
//! JSON body, so that any NATS client can publish one); what one decision produces is one message,
//! a CloudEvents JSON batch, and therefore atomic.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::aggregate::{DecodeError, Event, Position};
use crate::ids::{CommandId, KeyId, RunId, Tenant};
use crate::source::Source;
use crate::time::Timestamp;

/// Media type of a commit (CloudEvents JSON batch, CloudEvents 1.0).
pub const COMMIT_CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// Header of the binary-mode CloudEvent: id, equal to `Nats-Msg-Id`.
pub const CE_ID: &str = "ce-id";
/// Versioned type.
pub const CE_TYPE: &str = "ce-type";
/// Specification version, `1.0`.
pub const CE_SPECVERSION: &str = "ce-specversion";
/// Who published it.
pub const CE_SOURCE: &str = "ce-source";
/// When.
pub const CE_TIME: &str = "ce-time";
/// The run that it belongs to.
pub const CE_CORRELATION: &str = "ce-correlationid";
/// The direct parent.
pub const CE_CAUSATION: &str = "ce-causationid";
/// Content type of the body.
pub const CONTENT_TYPE: &str = "Content-Type";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Who acts, as JSON of [`Actor`]. Set by the gateway from the credential.
pub const ACTOR: &str = "nexus-actor";
/// Subject that gets the outcome of a command: `{"run_id","seq"}` or a problem. A header, as
/// JetStream takes the message's own reply subject for its acknowledgement and does not store it.
pub const REPLY_TO: &str = "nexus-reply-to";
/// Header: whoever waits on [`REPLY_TO`] confirms what it hears there, where it is asked to.
pub const REPLY_CONFIRMED: &str = "nexus-reply-confirmed";
/// What confirms it: an answer to the outcome's own reply subject.
pub const HEARD: &[u8] = b"heard";

/// Who acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Actor {
    /// The user, as the credential names it; `local` on a loopback without credentials.
    pub user: String,
    /// Roles of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Groups that the directory has the user in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The API key that was shown; what is spent counts in its limits too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// From where, as far as that is known. Commits carry it; what is recorded of a user does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<Source>>,
}

impl Actor {
    /// The same without where they are: who somebody is outlasts where they were.
    #[must_use]
    pub fn without_source(self) -> Self {
        Self {
            source: None,
            ..self
        }
    }
}

/// A command as it came off the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandEnvelope {
    /// Its id.
    pub id: CommandId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The run that it belongs to, where it has one yet.
    pub correlation: Option<RunId>,
    /// The direct parent: a commit's or another command's id.
    pub causation: Option<String>,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
    /// Who acts.
    pub actor: Actor,
    /// Where the outcome goes.
    pub reply_to: Option<String>,
    /// Whoever waits there says whether it was heard in time.
    pub reply_confirmed: bool,
}

/// What one decision produced: one message on the aggregate's subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit<E> {
    /// The commit's id, derived from the command's; equal to `Nats-Msg-Id`.
    pub id: String,
    /// The command that was decided.
    pub causation: CommandId,
    /// The run that it belongs to; none for a ledger's batch and other decisions of no run.
    pub correlation: Option<RunId>,
    /// When it was decided.
    pub time: Timestamp,
    /// W3C trace context of the decider.
    pub traceparent: Option<String>,
    /// Who acted.
    pub actor: Option<Actor>,
    /// What happened, in order; at least one.
    pub events: Vec<E>,
}

impl<E: Event> Commit<E> {
    /// The id of the commit that `command` makes on an aggregate of this kind. A command can make
    /// one commit on each of several aggregates, so the kind takes part.
    pub fn derive_id(command: &CommandId, kind: crate::aggregate::AggregateKind) -> String {
        format!("{command}/{}", kind.as_str())
    }

    /// The message body.
    ///
    /// # Errors
    /// An event whose data is not JSON (a map with keys that are not strings, say).
    pub fn encode(&self, source: &str, subject: &str) -> Result<Vec<u8>, serde_json::Error> {
        let batch: Vec<Outgoing<'_, E>> = (self.events.iter().enumerate())
            .map(|(index, event)| Outgoing {
                specversion: "1.0",
                id: format!("{}/{index}", self.id),
                source,
                subject,
                time: self.time,
                correlationid: self.correlation,
                causationid: &self.causation,
                traceparent: self.traceparent.as_deref(),
                actor: self.actor.as_ref(),
                event,
            })
            .collect();
        serde_json::to_vec(&batch)
    }

    /// Reads a message body.
    ///
    /// # Errors
    /// [`DecodeError`]: not a batch, empty, or of a type that is not known.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let batch: Vec<Incoming<'_>> = serde_json::from_slice(body).map_err(DecodeError::Commit)?;
        let first = batch.first().ok_or(DecodeError::Empty)?;
        let id = first
            .id
            .rsplit_once('/')
            .map_or(first.id.as_ref(), |(commit, _)| commit);
        Ok(Self {
            id: id.to_owned(),
            causation: first.causationid.clone(),
            correlation: first.correlationid.map(RunId::new),
            time: first.time,
            traceparent: first.traceparent.clone(),
            actor: first.actor.clone(),
            events: batch
                .iter()
                .map(|event| E::decode(&event.type_name, event.data))
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize)]
struct Outgoing<'a, E> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    subject: &'a str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<RunId>,
    causationid: &'a CommandId,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(flatten)]
    event: &'a E,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    time: Timestamp,
    correlationid: Option<Uuid>,
    causationid: CommandId,
    traceparent: Option<String>,
    actor: Option<Actor>,
    #[serde(rename = "type", borrow)]
    type_name: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// One recorded event with its place in the log: the cursor of every reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    /// Where and when.
    pub at: Position,
    /// What.
    pub event: E,
}

impl<E: Clone> Commit<E> {
    /// The events with their positions, once the stream has given the commit its sequence.
    pub fn recorded(&self, seq: u64) -> impl Iterator<Item = Recorded<E>> + '_ {
        self.events
            .iter()
            .zip(0..)
            .map(move |(event, index)| Recorded {
                at: Position {
                    seq,
                    index,
                    time: self.time,
                },
                event: event.clone(),
            })
    }
}
