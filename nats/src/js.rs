//! Raw requests to JetStream. The client's own functions were left for what they do not say: which
//! refusal it was (10164 arrives as "other"), and fields that this version of the client does not
//! know. One place turns every kind of silence into [`ApiError::Away`].

use std::time::Duration;

use async_nats::{HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::backoff::Backoff;
use crate::connect::Bus;

/// Expected last sequence of the subject does not hold.
pub const WRONG_LAST_SEQUENCE: u16 = 10071;
/// The same against a write that is still in flight in a cluster.
pub const WRONG_LAST_SEQUENCE_IN_FLIGHT: u16 = 10164;
/// A message of this id is being stored, in a cluster: sent again once that is decided, it is
/// answered as the duplicate that it is.
pub const MESSAGE_ID_IN_FLIGHT: u16 = 10158;
/// Too few nodes of the cluster are seen to hold a stream: one has just started, or is away.
pub const NO_SUITABLE_PEERS: u16 = 10005;
/// There is no such stream.
pub const STREAM_NOT_FOUND: u16 = 10059;
/// There is no such consumer.
pub const CONSUMER_NOT_FOUND: u16 = 10014;
/// There is no such message.
pub const NO_MESSAGE_FOUND: u16 = 10037;

/// A request that JetStream did not grant.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// It said no.
    #[error("refused: {description} ({err_code})")]
    Refused {
        /// HTTP-like status.
        status: u16,
        /// JetStream's own code.
        err_code: u16,
        /// Its words.
        description: String,
    },
    /// No answer, or nobody to answer: a restart, a fail-over, a cut. It may have been done.
    #[error("no answer: {0}")]
    Away(String),
    /// More than the server takes in one message.
    #[error("larger than the server takes in one message: {0}")]
    TooLarge(String),
    /// The answer is not one.
    #[error("answer cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether asking again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused {
                status, err_code, ..
            } => *status >= 500 || [MESSAGE_ID_IN_FLIGHT, NO_SUITABLE_PEERS].contains(err_code),
            Self::TooLarge(_) | Self::Malformed(_) => false,
        }
    }

    /// JetStream's own code, where it said no.
    pub fn err_code(&self) -> Option<u16> {
        match self {
            Self::Refused { err_code, .. } => Some(*err_code),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
    #[serde(default)]
    err_code: u16,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

/// One request and its first answer, whatever it is. A lost connection ends the wait at once, as
/// the answer would have come through it.
pub(crate) async fn request(
    bus: &Bus,
    subject: String,
    headers: Option<HeaderMap>,
    body: Bytes,
) -> Result<Message, ApiError> {
    let mut link = bus.link();
    let Ok(Ok(now)) = timeout(bus.request_timeout(), link.wait_for(|link| link.up))
        .await
        .map(|up| up.map(|link| *link))
    else {
        return Err(ApiError::Away("not connected".to_owned()));
    };
    let mut request = Request::new()
        .payload(body)
        .timeout(Some(bus.request_timeout()));
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    let answer = tokio::select! {
        answer = bus.client().send_request(subject, request) => answer,
        _ = link.wait_for(|link| *link != now) => {
            return Err(ApiError::Away("the connection was lost".to_owned()));
        }
    };
    bus.heard(answer.as_ref().is_ok_and(is_decided)).await;
    answer.map_err(unanswered)
}

/// Whether a node that can do something has answered: one without a leader says 503, in the status
/// or in words.
fn is_decided(answer: &Message) -> bool {
    const UNAVAILABLE: &[u8] = br#""code":503"#;
    let status = answer.status.map(|status| status.as_u16());
    // A stored message has headers; an answer of the API is short where it is an error.
    let words = match answer.headers {
        None => answer.payload.get(..200).unwrap_or(&answer.payload),
        Some(_) => &[],
    };
    status != Some(503) && !words.windows(UNAVAILABLE.len()).any(|it| it == UNAVAILABLE)
}

fn unanswered(error: async_nats::RequestError) -> ApiError {
    match error.kind() {
        RequestErrorKind::MaxPayloadExceeded => ApiError::TooLarge(error.to_string()),
        RequestErrorKind::InvalidSubject => ApiError::Malformed(error.to_string()),
        _ => ApiError::Away(error.to_string()),
    }
}

/// A JSON request to the JetStream API and its JSON answer.
pub(crate) async fn api<T: DeserializeOwned>(
    bus: &Bus,
    verb: &str,
    body: &serde_json::Value,
) -> Result<T, ApiError> {
    let body = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    let answer = request(bus, format!("$JS.API.{verb}"), None, body).await?;
    parse(&answer.payload)
}

/// Reads an answer that is either an error or a `T`.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    let malformed = |error: serde_json::Error| ApiError::Malformed(error.to_string());
    let answer: Answer = serde_json::from_slice(payload).map_err(malformed)?;
    match answer.error {
        Some(refusal) => Err(ApiError::Refused {
            status: refusal.code,
            err_code: refusal.err_code,
            description: refusal.description,
        }),
        None => serde_json::from_slice(payload).map_err(malformed),
    }
}

/// What the server says to a stored message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// Publishes to a stream until it is acknowledged or refused, or the configured time is over; the
/// error says which, and how long it took. The message may be stored more than once unless it has
/// an id or an expectation.
pub(crate) async fn publish(
    bus: &Bus,
    subject: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Ack, (ApiError, Duration)> {
    let started = Instant::now();
    let mut tries = 0;
    loop {
        match publish_once(bus, subject, headers.clone(), body.clone()).await {
            Ok(ack) => return Ok(ack),
            Err(error) if error.is_transient() && started.elapsed() < bus.retry_for() => {
                warn!(%error, subject, tries, "message not acknowledged, publishing it again");
                sleep(Backoff::REQUEST.delay(tries)).await;
            }
            Err(error) => return Err((error, started.elapsed())),
        }
        tries += 1;
    }
}

async fn publish_once(
    bus: &Bus,
    subject: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Ack, ApiError> {
    let answer = request(bus, subject.to_owned(), Some(headers), body).await?;
    if answer.status.is_some() {
        return Err(ApiError::Away("no stream takes the message".to_owned()));
    }
    parse(&answer.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_stored_elsewhere_is_asked_for_again() {
        let refused = |status, err_code| ApiError::Refused {
            status,
            err_code,
            description: String::new(),
        };
        assert!(refused(400, MESSAGE_ID_IN_FLIGHT).is_transient());
        assert!(refused(400, NO_SUITABLE_PEERS).is_transient());
        assert!(refused(503, 0).is_transient());
        assert!(!refused(400, WRONG_LAST_SEQUENCE).is_transient());
    }
}
