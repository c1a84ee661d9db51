//! What is kept of webhooks beside the log: how far each has come, and which processes deliver. Both
//! are small documents with one version each, the first changed by compare-and-set as a quota is.
//!
//! A consumer for each webhook was the alternative. It acknowledges messages, and so cannot say that
//! one run waits until tomorrow while the others go on; and the server keeps each for ever.

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{HeaderMap, HeaderValue};
use nexus_events::webhook::progress::Progress;
use nexus_events::{Tenant, Timestamp, WebhookId, subject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::connect::Bus;
use crate::js::{self, ApiError, WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_FLIGHT};
use crate::publish::set_header;
use crate::read::{self, ReadError};
use crate::topology::WEBHOOKS;

/// A worker that says nothing for so long is forgotten by the stream.
const WORKER_TTL: &str = "60s";

/// A document that was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// Another process wrote it meanwhile, or an earlier attempt of ours arrived: read it again.
    #[error("webhook {webhook} was written by another process")]
    Conflict {
        /// Which.
        webhook: WebhookId,
    },
    /// The bus could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written as it is, or what is there is none of ours.
    #[error("how far webhook {webhook} has come cannot be read")]
    Malformed {
        /// Which.
        webhook: WebhookId,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The bus did not take it.
    #[error("the bus did not take how far webhook {webhook} has come")]
    Write {
        /// Which.
        webhook: WebhookId,
        /// The last reason.
        #[source]
        source: ApiError,
    },
}

/// How far a webhook has come, and the version that says so; none where nothing was delivered yet.
///
/// # Errors
/// [`ProgressError`].
pub async fn load(
    bus: &Bus,
    tenant: &Tenant,
    webhook: WebhookId,
) -> Result<Option<(Progress, u64)>, ProgressError> {
    let subject = subject::webhook_progress(tenant, webhook);
    let stored = match bus.replicas() <= 1 {
        true => read::last(bus, WEBHOOKS, &subject).await?,
        false => read::last_decisive(bus, WEBHOOKS, &subject).await?,
    };
    let Some(stored) = stored else {
        return Ok(None);
    };
    let progress = serde_json::from_slice(&stored.body)
        .map_err(|source| ProgressError::Malformed { webhook, source })?;
    Ok(Some((progress, stored.seq)))
}

/// Writes it if the version that is there is `expected` (0: there is none), and gives the new one.
///
/// # Errors
/// [`ProgressError`].
pub async fn save(
    bus: &Bus,
    tenant: &Tenant,
    webhook: WebhookId,
    expected: u64,
    progress: &Progress,
) -> Result<u64, ProgressError> {
    let subject = subject::webhook_progress(tenant, webhook);
    let body = serde_json::to_vec(progress)
        .map_err(|source| ProgressError::Malformed { webhook, source })?;
    let mut headers = HeaderMap::new();
    let expected = HeaderValue::from(expected);
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected);
    match js::publish(bus, &subject, headers, body.into()).await {
        Ok(ack) => Ok(ack.seq),
        Err((error, _)) => match error.err_code() {
            Some(WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_IN_FLIGHT) => {
                Err(ProgressError::Conflict { webhook })
            }
            _ => Err(ProgressError::Write {
                webhook,
                source: error,
            }),
        },
    }
}

/// Forgets it.
///
/// # Errors
/// [`ApiError`], once.
pub async fn forget(bus: &Bus, tenant: &Tenant, webhook: WebhookId) -> Result<(), ApiError> {
    let filter = subject::webhook_progress(tenant, webhook);
    let verb = format!("STREAM.PURGE.{WEBHOOKS}");
    js::api::<Value>(bus, &verb, &json!({ "filter": filter }))
        .await
        .map(drop)
}

/// What a process says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// When it said so first, by the server's clock; none as long as it does not know.
    #[serde(default)]
    pub joined: Option<Timestamp>,
    /// It stops, and delivers nothing any more.
    #[serde(default)]
    pub leaving: bool,
}

/// A process that delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Which.
    pub id: Uuid,
    /// When it last said so, by the server's clock.
    pub said_at: Timestamp,
    /// What it said.
    pub presence: Presence,
}

/// Says that a process lives, or that it leaves.
///
/// # Errors
/// [`ApiError`].
pub async fn announce(bus: &Bus, id: Uuid, presence: Presence) -> Result<(), ApiError> {
    let mut headers = HeaderMap::new();
    set_header(&mut headers, "Nats-TTL", WORKER_TTL.to_owned());
    let body = serde_json::to_vec(&presence).unwrap_or_default();
    let subject = subject::webhook_worker(id);
    let published = js::publish(bus, &subject, headers, body.into()).await;
    published.map(drop).map_err(|(error, _)| error)
}

/// The processes that deliver; those that are dead for a minute are not among them.
///
/// # Errors
/// [`ReadError`].
pub async fn workers(bus: &Bus) -> Result<Vec<Worker>, ReadError> {
    let all = subject::ALL_WEBHOOK_WORKERS;
    let page = read::read_from(bus, WEBHOOKS, all, 1, read::PAGE).await?;
    let worker = |stored: read::Stored| {
        let id = stored.subject.rsplit('.').next()?;
        Some(Worker {
            id: id.parse().ok()?,
            said_at: stored.time,
            presence: serde_json::from_slice(&stored.body).ok()?,
        })
    };
    Ok(page.messages.into_iter().filter_map(worker).collect())
}
