//! One small document a limit, which several processes change by compare-and-set. The stream's own
//! counters (`Nats-Incr`) were the alternative: they add whatever they are given, so a limit could be
//! seen to be passed and not kept from being passed.

use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use crate::connect::Bus;
use crate::js::{self, ApiError, WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_FLIGHT};
use crate::read::{self, ReadError, Stored};
use crate::topology::QUOTAS;

/// A document that was not written.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// Another process was faster, or an earlier attempt of ours arrived: read it again.
    #[error("{subject} has changed since sequence {expected}")]
    Conflict {
        /// The document.
        subject: String,
        /// What was expected.
        expected: u64,
    },
    /// The bus could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bus did not take it.
    #[error("the bus did not take {subject} for {waited:?}")]
    Write {
        /// The document.
        subject: String,
        /// How long it was tried.
        waited: Duration,
        /// The last reason.
        #[source]
        source: ApiError,
    },
}

/// The document, as the leader of the stream has it; none where nobody wrote it for two minutes.
///
/// # Errors
/// [`QuotaError::Read`].
pub async fn load(bus: &Bus, subject: &str) -> Result<Option<Stored>, QuotaError> {
    match bus.replicas() <= 1 {
        true => Ok(read::last(bus, QUOTAS, subject).await?),
        false => Ok(read::last_decisive(bus, QUOTAS, subject).await?),
    }
}

/// Writes the document if its last version has sequence `expected` (0: there is none), and gives its
/// sequence.
///
/// # Errors
/// [`QuotaError`].
pub async fn save(bus: &Bus, subject: &str, expected: u64, body: Bytes) -> Result<u64, QuotaError> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from(expected);
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, value);
    let subject_name = || subject.to_owned();
    match js::publish(bus, subject, headers, body).await {
        Ok(ack) => Ok(ack.seq),
        Err((error, _))
            if matches!(
                error.err_code(),
                Some(WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_IN_FLIGHT)
            ) =>
        {
            Err(QuotaError::Conflict {
                subject: subject_name(),
                expected,
            })
        }
        Err((source, waited)) => Err(QuotaError::Write {
            subject: subject_name(),
            waited,
            source,
        }),
    }
}
