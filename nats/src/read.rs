//! Reading without a consumer: direct gets, one at a time or a page at a time. A consumer per read
//! costs half a millisecond and a name on the server; a direct get from a known sequence costs a
//! tenth of one. Any node that holds the stream may answer a direct get, and one that follows may
//! be behind, so a decisive read has a form that asks the leader.

use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use nexus_events::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::connect::Bus;
use crate::js::{self, ApiError};

/// Most messages that are asked for at once.
pub const PAGE: usize = 256;
/// Most bytes that the server sends for one page; one message may exceed it.
const PAGE_BYTES: u64 = 16 * 1024 * 1024;

/// A message as the stream holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its subject.
    pub subject: String,
    /// Its sequence in the stream.
    pub seq: u64,
    /// When the stream took it.
    pub time: Timestamp,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Stored {
    /// The message id that it was published with.
    pub fn message_id(&self) -> Option<&str> {
        self.headers
            .get(async_nats::header::NATS_MESSAGE_ID)
            .map(|id| id.as_str())
    }

    /// Sequence of the commit on the same subject that it was written after; 0 for the first.
    pub fn follows(&self) -> Option<u64> {
        let after = self.headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE)?;
        after.as_str().parse().ok()
    }
}

/// A page of messages.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order.
    pub messages: Vec<Stored>,
    /// How many more the subject held after them when the page was made.
    pub pending: u64,
}

/// A read that was given up.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bus did not answer for as long as is tried.
    #[error("the bus did not answer a read for {waited:?}: {reason}")]
    Unavailable {
        /// How long it was tried.
        waited: Duration,
        /// The last reason.
        reason: String,
    },
    /// The server says no.
    #[error("read of {stream} failed")]
    Refused {
        /// The stream.
        stream: String,
        /// What it says.
        #[source]
        source: ApiError,
    },
}

/// Up to `limit` messages of `subject` (wildcards work) from sequence `from_seq` on, in order.
///
/// # Errors
/// [`ReadError`]; a bus that is away is waited for as configured.
pub async fn read_from(
    bus: &Bus,
    stream: &str,
    subject: &str,
    from_seq: u64,
    limit: usize,
) -> Result<Page, ReadError> {
    let limit = limit.clamp(1, PAGE);
    retried(bus, stream, || page(bus, stream, subject, from_seq, limit)).await
}

/// The first message of `subject` from sequence `from_seq` on.
///
/// # Errors
/// [`ReadError`].
pub async fn next(
    bus: &Bus,
    stream: &str,
    subject: &str,
    from_seq: u64,
) -> Result<Option<Stored>, ReadError> {
    let query = json!({ "seq": from_seq.max(1), "next_by_subj": subject });
    retried(bus, stream, || single(bus, stream, &query)).await
}

/// The last message of `subject`.
///
/// # Errors
/// [`ReadError`].
pub async fn last(bus: &Bus, stream: &str, subject: &str) -> Result<Option<Stored>, ReadError> {
    let query = json!({ "last_by_subj": subject });
    retried(bus, stream, || single(bus, stream, &query)).await
}

/// The message with this sequence.
///
/// # Errors
/// [`ReadError`].
pub async fn at(bus: &Bus, stream: &str, seq: u64) -> Result<Option<Stored>, ReadError> {
    let query = json!({ "seq": seq });
    retried(bus, stream, || single(bus, stream, &query)).await
}

/// As [`next`], answered by the leader: what it says is decisive. Without replicas there is only
/// one node, and the cheaper way serves.
///
/// # Errors
/// [`ReadError`].
pub async fn next_decisive(
    bus: &Bus,
    stream: &str,
    subject: &str,
    from_seq: u64,
) -> Result<Option<Stored>, ReadError> {
    if bus.replicas() <= 1 {
        return next(bus, stream, subject, from_seq).await;
    }
    retried(bus, stream, || {
        leader(bus, stream, subject, from_seq.max(1))
    })
    .await
}

/// The last message of `subject`, as the leader has it. A stream that does not exist is an answer
/// and not waited for.
///
/// # Errors
/// [`ReadError`].
pub(crate) async fn last_decisive(
    bus: &Bus,
    stream: &str,
    subject: &str,
) -> Result<Option<Stored>, ReadError> {
    retried(bus, stream, || async {
        let handle = (bus.jetstream().get_stream_no_info(stream).await)
            .map_err(|error| ApiError::Away(error.to_string()))?;
        match handle.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(from_leader(message))),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(refusal) => Err(ApiError::Refused {
                    status: u16::try_from(refusal.code()).unwrap_or(u16::MAX),
                    err_code: u16::try_from(refusal.error_code().0).unwrap_or(0),
                    description: refusal.to_string(),
                }),
                _ => Err(ApiError::Away(error.to_string())),
            },
        }
    })
    .await
}

async fn retried<T, F: Future<Output = Result<T, ApiError>>>(
    bus: &Bus,
    stream: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ReadError> {
    let started = Instant::now();
    let mut tries = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if !error.is_transient() => {
                return Err(ReadError::Refused {
                    stream: stream.to_owned(),
                    source: error,
                });
            }
            Err(error) if started.elapsed() >= bus.retry_for() => {
                let waited = started.elapsed();
                return Err(ReadError::Unavailable {
                    waited,
                    reason: error.to_string(),
                });
            }
            Err(_) => tokio::time::sleep(Backoff::REQUEST.delay(tries)).await,
        }
        tries += 1;
    }
}

async fn single(
    bus: &Bus,
    stream: &str,
    query: &serde_json::Value,
) -> Result<Option<Stored>, ApiError> {
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let answer = js::request(bus, subject, None, query.to_string().into()).await?;
    match status(&answer)? {
        Answer::Message => stored(answer).map(|(stored, _)| Some(stored)),
        Answer::End | Answer::Nothing => Ok(None),
    }
}

async fn page(
    bus: &Bus,
    stream: &str,
    subject: &str,
    from_seq: u64,
    limit: usize,
) -> Result<Page, ApiError> {
    let away = |error: &dyn std::fmt::Display| ApiError::Away(error.to_string());
    let inbox = bus.client().new_inbox();
    let mut answers = bus
        .client()
        .subscribe(inbox.clone())
        .await
        .map_err(|e| away(&e))?;
    let query = json!({
        "seq": from_seq.max(1), "next_by_subj": subject, "batch": limit, "max_bytes": PAGE_BYTES,
    });
    bus.client()
        .publish_with_reply(
            format!("$JS.API.DIRECT.GET.{stream}"),
            inbox,
            query.to_string().into(),
        )
        .await
        .map_err(|e| away(&e))?;
    let mut page = Page::default();
    loop {
        let answer = tokio::time::timeout(bus.request_timeout(), answers.next()).await;
        let answer = answer
            .map_err(|e| away(&e))?
            .ok_or_else(|| away(&"subscription closed"))?;
        match status(&answer)? {
            Answer::Nothing => return Ok(page),
            Answer::End => {
                page.pending = header_number(&answer, "Nats-Num-Pending").unwrap_or(0);
                return Ok(page);
            }
            Answer::Message => {
                let (stored, pending) = stored(answer)?;
                page.messages.push(stored);
                // The last message says that it is; the end marker need not be waited for.
                if pending == Some(0) {
                    return Ok(page);
                }
            }
        }
    }
}

enum Answer {
    Message,
    End,
    Nothing,
}

fn status(answer: &Message) -> Result<Answer, ApiError> {
    let words = || answer.description.clone().unwrap_or_default();
    match answer.status.map(|status| status.as_u16()) {
        None => Ok(Answer::Message),
        Some(204) => Ok(Answer::End),
        Some(404) => Ok(Answer::Nothing),
        Some(503) => Err(ApiError::Away("no node answers for the stream".to_owned())),
        Some(status) => Err(ApiError::Refused {
            status,
            err_code: 0,
            description: words(),
        }),
    }
}

fn stored(answer: Message) -> Result<(Stored, Option<u64>), ApiError> {
    let pending = header_number(&answer, "Nats-Num-Pending");
    let missing = |what: &str| ApiError::Malformed(format!("{what} is missing"));
    let seq = header_number(&answer, "Nats-Sequence").ok_or_else(|| missing("Nats-Sequence"))?;
    let headers = answer.headers.unwrap_or_default();
    let time = headers
        .get("Nats-Time-Stamp")
        .and_then(|time| Timestamp::parse_rfc3339(time.as_str()))
        .ok_or_else(|| missing("Nats-Time-Stamp"))?;
    let subject = headers
        .get("Nats-Subject")
        .map(|subject| subject.as_str().to_owned())
        .ok_or_else(|| missing("Nats-Subject"))?;
    Ok((
        Stored {
            subject,
            seq,
            time,
            headers,
            body: answer.payload,
        },
        pending,
    ))
}

fn header_number(answer: &Message, name: &str) -> Option<u64> {
    answer.headers.as_ref()?.get(name)?.as_str().parse().ok()
}

async fn leader(
    bus: &Bus,
    stream: &str,
    subject: &str,
    from_seq: u64,
) -> Result<Option<Stored>, ApiError> {
    let away = |error: String| ApiError::Away(error);
    let handle = (bus.jetstream().get_stream_no_info(stream).await)
        .map_err(|error| away(error.to_string()))?;
    match handle
        .get_first_raw_message_by_subject(subject, from_seq)
        .await
    {
        Ok(message) => Ok(Some(from_leader(message))),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            _ => Err(away(error.to_string())),
        },
    }
}

fn from_leader(message: StreamMessage) -> Stored {
    let millis = message.time.unix_timestamp_nanos().div_euclid(1_000_000);
    Stored {
        subject: message.subject.to_string(),
        seq: message.sequence,
        time: Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)),
        headers: message.headers,
        body: message.payload,
    }
}

/// The status of a JetStream answer that carries no message.
pub(crate) fn status_code(message: &Message) -> Option<u16> {
    message.status.map(|status: StatusCode| status.as_u16())
}
