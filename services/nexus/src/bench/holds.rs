//! Holds and releases, as any client of the bus makes them: a command published, its outcome awaited
//! on an inbox. Nothing is awaited from the stream: the outcome says more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use nexus_bus::Bus;
use nexus_events::command::{HoldBudget, ReleaseBudget};
use nexus_events::envelope::{CE_ID, REPLY_TO};
use nexus_events::ledger::Amounts;
use nexus_events::{Command, ReservationId, Tenant, subject};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::error::BenchError;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What a hold holds, and what is spent of it.
const HELD: u64 = 1_000;
pub(super) const SPENT: u64 = 400;

/// A client with many holds in flight: each worker has a number, which is the last token of its
/// inbox.
pub(super) struct Client {
    bus: Bus,
    inbox: String,
    tenants: Arc<[Tenant]>,
    hears: JoinHandle<()>,
}

/// One of the client's workers.
pub(super) struct Worker {
    bus: Bus,
    tenants: Arc<[Tenant]>,
    reply_to: String,
    number: usize,
    turn: usize,
    answers: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// What a role answers: a sequence, or a problem.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    detail: Option<String>,
}

impl Client {
    /// A client for these tenants, with so many workers.
    ///
    /// # Errors
    /// [`BenchError::Bus`].
    pub(super) async fn start(
        bus: &Bus,
        tenants: &[Tenant],
        workers: usize,
    ) -> Result<(Self, Vec<Worker>), BenchError> {
        let inbox = bus.client().new_inbox();
        let heard = bus.client().subscribe(format!("{inbox}.*")).await;
        let mut heard = heard.map_err(|error| BenchError::Bus(error.to_string()))?;
        let (tell, hear): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let hears = tokio::spawn(async move {
            while let Some(message) = heard.next().await {
                let number = message.subject.rsplit('.').next();
                let number: Option<usize> = number.and_then(|number| number.parse().ok());
                if let Some(tell) = number.and_then(|number| tell.get(number)) {
                    // A worker that has stopped hears nothing more.
                    let _ = tell.send(message.payload.to_vec());
                }
            }
        });
        let tenants: Arc<[Tenant]> = tenants.into();
        let client = Self {
            bus: bus.clone(),
            inbox,
            tenants,
            hears,
        };
        let workers = hear.into_iter().enumerate();
        let workers = workers.map(|(number, answers)| client.worker(number, answers));
        let workers = workers.collect();
        Ok((client, workers))
    }

    fn worker(&self, number: usize, answers: mpsc::UnboundedReceiver<Vec<u8>>) -> Worker {
        Worker {
            bus: self.bus.clone(),
            tenants: Arc::clone(&self.tenants),
            reply_to: format!("{}.{number}", self.inbox),
            number,
            turn: 0,
            answers,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hears.abort();
    }
}

impl Worker {
    /// Holds, waits until the ledger says so, and releases; says how long the hold took. The workers
    /// go round the tenants, each beginning at its own.
    ///
    /// # Errors
    /// [`BenchError::Bus`]: it was refused, or nobody answered.
    pub(super) async fn hold(&mut self) -> Result<Duration, BenchError> {
        let place = (self.number + self.turn) % self.tenants.len().max(1);
        self.turn += 1;
        let Some(tenant) = self.tenants.get(place).cloned() else {
            return Ok(Duration::ZERO);
        };
        let reservation_id = ReservationId::new(Uuid::now_v7());
        let tokens = |tokens| Amounts {
            tokens,
            ..Amounts::default()
        };
        let hold = HoldBudget {
            reservation_id,
            scopes: vec![],
            amounts: tokens(HELD),
            model: None,
            hold_seconds: None,
        };
        let began = Instant::now();
        self.send(&tenant, &hold.into(), true).await?;
        self.answered().await?;
        let took = began.elapsed();
        let spent = tokens(SPENT);
        let release = ReleaseBudget {
            reservation_id,
            spent,
        };
        self.send(&tenant, &release.into(), false).await?;
        Ok(took)
    }

    async fn send(
        &self,
        tenant: &Tenant,
        command: &Command,
        answers: bool,
    ) -> Result<(), BenchError> {
        let failed = |error: &dyn std::fmt::Display| BenchError::Bus(error.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CE_ID, Uuid::now_v7().to_string());
        if answers {
            headers.insert(REPLY_TO, self.reply_to.as_str());
        }
        let body = command.encode().map_err(|error| failed(&error))?;
        let subject = subject::command(tenant, command.role(), command.verb());
        let client = self.bus.client();
        let sent = client.publish_with_headers(subject, headers, body.into());
        sent.await.map_err(|error| failed(&error))
    }

    async fn answered(&mut self) -> Result<(), BenchError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.answers.recv()).await;
        let Ok(Some(answer)) = answer else {
            let reason = format!("a hold was not answered within {ANSWER_LIMIT:?}");
            return Err(BenchError::Bus(reason));
        };
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|error| BenchError::Bus(format!("an answer cannot be read: {error}")))?;
        match answer.code {
            None => Ok(()),
            Some(code) => Err(BenchError::Bus(format!(
                "a hold was refused ({code}): {}",
                answer.detail.unwrap_or_default()
            ))),
        }
    }
}
