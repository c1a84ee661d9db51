//! Publishing commands and answers. A command is a CloudEvent in binary mode; its message id is
//! the command's id with the tenant before it, since the stream's duplicate window knows no
//! tenants and one tenant's choice of ids must not swallow another's commands.

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::future::join_all;
use nexus_events::{Actor, Command, CommandId, Due, RunId, Tenant, envelope, subject};
use serde::Serialize;

use crate::connect::Bus;
use crate::js::{self, ApiError};
use crate::seal::{SEAL, Sealed};
use crate::trace;

/// How long a caller that confirms what it hears may take for that: it does nothing else before.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// What goes with a command.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandMeta {
    /// Its id; the same command published again is the same command.
    pub id: CommandId,
    /// The run that it belongs to.
    pub correlation: Option<RunId>,
    /// Its direct parent: the id of a commit or a command.
    pub causation: Option<String>,
    /// W3C trace context that came in; see [`trace::outgoing`] for what goes out.
    pub traceparent: Option<String>,
    /// Who acts.
    pub actor: Option<Actor>,
    /// Subject that gets the outcome.
    pub reply_to: Option<String>,
    /// Whoever waits there confirms what it hears ([`envelope::REPLY_CONFIRMED`]).
    pub reply_confirmed: bool,
    /// Who publishes, such as `nexus/run`.
    pub source: &'static str,
}

impl CommandMeta {
    /// A command of its own, without parent.
    pub fn new(id: CommandId, source: &'static str) -> Self {
        Self {
            id,
            correlation: None,
            causation: None,
            traceparent: None,
            actor: None,
            reply_to: None,
            reply_confirmed: false,
            source,
        }
    }
}

/// Where a command is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Sequence in the command stream.
    pub seq: u64,
    /// It was there already.
    pub duplicate: bool,
}

/// A command that the bus did not take.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Its body is not JSON.
    #[error("command {command} cannot be encoded")]
    Encode {
        /// Type of the command.
        command: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Larger than the server takes.
    #[error("{subject}: {bytes} bytes are more than the bus takes in one message: {reason}")]
    TooLarge {
        /// Where it was to go.
        subject: String,
        /// The body's length.
        bytes: usize,
        /// The server's limit.
        reason: String,
    },
    /// The server says no for good.
    #[error("{subject} was refused")]
    Refused {
        /// Where it was to go.
        subject: String,
        /// What it says.
        #[source]
        source: ApiError,
    },
    /// The bus did not answer for as long as is tried. It may have taken the message.
    #[error("the bus did not take {subject} for {waited:?}: {reason}")]
    Unavailable {
        /// Where it was to go.
        subject: String,
        /// How long it was tried.
        waited: Duration,
        /// The last reason.
        reason: String,
    },
}

impl PublishError {
    pub(crate) fn from_api(subject: &str, bytes: usize, given_up: (ApiError, Duration)) -> Self {
        let (error, waited) = given_up;
        let subject = subject.to_owned();
        match error {
            ApiError::TooLarge(reason) => Self::TooLarge {
                subject,
                bytes,
                reason,
            },
            error if error.is_transient() => Self::Unavailable {
                subject,
                waited,
                reason: error.to_string(),
            },
            source => Self::Refused { subject, source },
        }
    }
}

/// Publishes a command and waits until the stream has it. Retried through restarts and fail-overs.
///
/// # Errors
/// [`PublishError`].
pub async fn publish_command(
    bus: &Bus,
    tenant: &Tenant,
    command: &Command,
    meta: &CommandMeta,
) -> Result<Published, PublishError> {
    let subject = subject::command(tenant, command.role(), command.verb());
    let encode = |source| PublishError::Encode {
        command: command.type_name(),
        source,
    };
    let body = command.encode().map_err(encode)?;
    let bytes = body.len();
    let headers = headers(bus, tenant, (command, &body), meta);
    match js::publish(bus, &subject, headers, body.into()).await {
        Ok(ack) => Ok(Published {
            seq: ack.seq,
            duplicate: ack.duplicate,
        }),
        Err(given_up) => Err(PublishError::from_api(&subject, bytes, given_up)),
    }
}

/// Publishes several at once and waits for all; their order in the queue is theirs here unless one
/// has to be repeated.
///
/// # Errors
/// The first [`PublishError`]; others may have been taken, and publishing all again is harmless.
pub async fn publish_commands(
    bus: &Bus,
    tenant: &Tenant,
    commands: &[(Command, CommandMeta)],
) -> Result<Vec<Published>, PublishError> {
    let publish = |(command, meta)| publish_command(bus, tenant, command, meta);
    let all = commands.iter().map(|pair| publish((&pair.0, &pair.1)));
    join_all(all).await.into_iter().collect()
}

/// What commands that are due have in common: their parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The run that they belong to.
    pub correlation: Option<RunId>,
    /// The commit or command that caused them.
    pub causation: Option<String>,
    /// Trace context of the handler.
    pub traceparent: Option<String>,
    /// Who publishes.
    pub source: &'static str,
}

/// Publishes what is due because of what was recorded.
///
/// # Errors
/// As [`publish_commands`].
pub async fn publish_due(
    bus: &Bus,
    tenant: &Tenant,
    due: Vec<Due>,
    parent: &Parent,
) -> Result<Vec<Published>, PublishError> {
    let commands: Vec<_> = (due.into_iter())
        .map(|due| {
            let meta = CommandMeta {
                id: due.id,
                correlation: parent.correlation,
                causation: parent.causation.clone(),
                traceparent: parent.traceparent.clone(),
                actor: due.actor,
                reply_to: None,
                reply_confirmed: false,
                source: parent.source,
            };
            (due.command, meta)
        })
        .collect();
    publish_commands(bus, tenant, &commands).await
}

/// Answers whoever waits on `reply_to`, by core NATS: if nobody does, nothing is kept. Failures are
/// not reported, as the command is handled whether its caller hears of it or not.
pub async fn reply(bus: &Bus, reply_to: &str, answer: &impl Serialize) {
    let Ok(body) = serde_json::to_vec(answer) else {
        tracing::error!(reply_to, "an answer could not be encoded");
        return;
    };
    if let Err(error) = bus.client().publish(reply_to.to_owned(), body.into()).await {
        tracing::debug!(reply_to, %error, "an answer could not be sent");
    }
}

/// As [`reply`], to somebody who confirms what he hears: gives whether he was still there to hear it.
pub async fn reply_heard(bus: &Bus, reply_to: &str, answer: &impl Serialize) -> bool {
    let Ok(body) = serde_json::to_vec(answer) else {
        tracing::error!(reply_to, "an answer could not be encoded");
        return false;
    };
    let asked = bus.client().request(reply_to.to_owned(), body.into());
    let heard = tokio::time::timeout(HEARD_WITHIN, asked).await;
    matches!(heard, Ok(Ok(message)) if *message.payload == *envelope::HEARD)
}

/// The headers of a command, sealed where this installation has a key.
pub(crate) fn headers(
    bus: &Bus,
    tenant: &Tenant,
    (command, body): (&Command, &[u8]),
    meta: &CommandMeta,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: String| set_header(&mut headers, name, value);
    let message_id = bus.seals().message_id(tenant.as_str(), meta.id.as_str());
    set("Nats-Msg-Id", message_id);
    set(envelope::CE_SPECVERSION, "1.0".to_owned());
    set(envelope::CE_ID, meta.id.to_string());
    set(envelope::CE_TYPE, command.type_name().to_owned());
    set(envelope::CE_SOURCE, meta.source.to_owned());
    set(envelope::CE_TIME, bus.now().to_string());
    set(envelope::CONTENT_TYPE, "application/json".to_owned());
    let mut optional = |name, value: Option<String>| value.into_iter().for_each(|v| set(name, v));
    optional(
        envelope::CE_CORRELATION,
        meta.correlation.map(|run| run.to_string()),
    );
    optional(envelope::CE_CAUSATION, meta.causation.clone());
    optional(
        envelope::TRACEPARENT,
        trace::outgoing(meta.traceparent.as_deref()),
    );
    optional(envelope::REPLY_TO, meta.reply_to.clone());
    let confirmed = meta.reply_confirmed.then(|| "1".to_owned());
    optional(envelope::REPLY_CONFIRMED, confirmed);
    let actor = meta
        .actor
        .as_ref()
        .and_then(|actor| serde_json::to_string(actor).ok());
    let seal = bus.seals().seal(Sealed {
        tenant,
        role: command.role(),
        verb: command.verb(),
        id: &meta.id,
        actor: actor.as_deref().unwrap_or_default(),
        body,
    });
    optional(envelope::ACTOR, actor);
    optional(SEAL, seal);
    headers
}

/// Sets a header unless its value would break out of it (the client panics on a line break).
pub(crate) fn set_header(headers: &mut HeaderMap, name: &'static str, value: String) {
    if !value.contains(['\r', '\n']) {
        headers.insert(name, value);
    }
}
