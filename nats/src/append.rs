//! Appending to an aggregate, with every ambiguous answer resolved. The server checks the expected
//! sequence before the message id, so a write whose acknowledgement was lost is refused when it is
//! repeated: the one message that can follow the expected sequence is read back, and it is either
//! ours or another writer's. Writing again is therefore always safe, and no outbox is needed.

use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use crate::connect::Bus;
use crate::js::{self, ApiError, WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_FLIGHT};
use crate::publish::set_header;
use crate::read::{self, ReadError};
use crate::{metrics, topology};

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence.
    pub seq: u64,
    /// It was there already, or its acknowledgement was lost: what is stored has this id, and may
    /// have been decided by an earlier delivery.
    pub found: bool,
}

/// A message that was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was faster: read and decide again.
    #[error("{subject} has moved on from sequence {expected}")]
    Conflict {
        /// The aggregate.
        subject: String,
        /// What was expected.
        expected: u64,
    },
    /// Larger than the server takes.
    #[error("{bytes} bytes for {subject} are more than the bus takes in one message: {reason}")]
    TooLarge {
        /// The aggregate.
        subject: String,
        /// The body's length.
        bytes: usize,
        /// The server's limit.
        reason: String,
    },
    /// The server says no for good.
    #[error("append to {subject} failed")]
    Refused {
        /// The aggregate.
        subject: String,
        /// What it says.
        #[source]
        source: ApiError,
    },
    /// The bus did not answer for as long as is tried. The message may still arrive: whoever
    /// repeats the command finds it by its id.
    #[error("the bus did not take a message for {subject} for {waited:?}: {reason}")]
    Unavailable {
        /// The aggregate.
        subject: String,
        /// How long it was tried.
        waited: Duration,
        /// The last reason.
        reason: String,
    },
    /// The bus could not be read, to see whose message is there.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Appends to the aggregate on `subject`, whose last message must have sequence `expected_last_seq`
/// (0: it has none). `message_id` names this message among all of the stream for ever.
///
/// # Errors
/// [`AppendError`].
pub async fn append(
    bus: &Bus,
    subject: &str,
    message_id: &str,
    expected_last_seq: u64,
    body: Bytes,
    mut headers: HeaderMap,
) -> Result<Appended, AppendError> {
    set_header(&mut headers, "Nats-Msg-Id", message_id.to_owned());
    headers.insert(
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
        HeaderValue::from(expected_last_seq),
    );
    let bytes = body.len();
    match js::publish(bus, subject, headers, body).await {
        Ok(ack) => {
            metrics::bus().appends.inc();
            Ok(Appended {
                seq: ack.seq,
                found: ack.duplicate,
            })
        }
        Err((error, _)) if is_conflict(&error) => {
            resolve(bus, subject, message_id, expected_last_seq).await
        }
        Err((error, waited)) => Err(refused(subject, bytes, waited, error)),
    }
}

fn is_conflict(error: &ApiError) -> bool {
    matches!(
        error.err_code(),
        Some(WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_IN_FLIGHT)
    )
}

/// Whose message follows the expected sequence?
async fn resolve(
    bus: &Bus,
    subject: &str,
    message_id: &str,
    expected: u64,
) -> Result<Appended, AppendError> {
    let there = read::next_decisive(bus, topology::EVENTS, subject, expected + 1).await?;
    match there {
        Some(stored) if stored.message_id() == Some(message_id) => Ok(Appended {
            seq: stored.seq,
            found: true,
        }),
        _ => {
            metrics::bus().conflicts.inc();
            Err(AppendError::Conflict {
                subject: subject.to_owned(),
                expected,
            })
        }
    }
}

fn refused(subject: &str, bytes: usize, waited: Duration, error: ApiError) -> AppendError {
    let subject = subject.to_owned();
    match error {
        ApiError::TooLarge(reason) => AppendError::TooLarge {
            subject,
            bytes,
            reason,
        },
        error if error.is_transient() => AppendError::Unavailable {
            subject,
            waited,
            reason: error.to_string(),
        },
        source => AppendError::Refused { subject, source },
    }
}
