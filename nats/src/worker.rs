//! The driver of a role: commands in, handler, outcome settled. A handler says how it ended and the
//! driver does the rest, so that acknowledgement, backoff, dead letters, heartbeats and shutdown
//! are the same for all. Commands wait for the bus or a database inside the process, kept alive by
//! heartbeats, instead of going back and forth: an outage thus uses up no attempts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures_util::FutureExt;
use nexus_events::{DomainError, subject};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info};

use crate::append::AppendError;
use crate::backoff::Backoff;
pub use crate::batch::run_batch_role;
use crate::connect::Bus;
use crate::consumer::{ConsumerSpec, name_of};
use crate::inbound::Delivery;
use crate::publish::PublishError;
use crate::pull::Puller;
use crate::read::ReadError;
use crate::settle::{Desk, Settled, Taken};
use crate::store::{ExecuteError, StoreError};
use crate::{topology, trace};

/// Handles one command at a time; many at once.
pub trait Handler: Send + Sync + 'static {
    /// Handles a command. It may be delivered again after any outcome, an `Ok` included.
    fn handle(&self, delivery: Delivery) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Handles all commands that are there at once; one batch at a time.
pub trait BatchHandler: Send + Sync + 'static {
    /// Handles the commands and gives one outcome for each, in their order.
    fn handle_batch(
        &self,
        deliveries: Vec<Delivery>,
    ) -> impl Future<Output = Vec<Result<(), Failure>>> + Send;
}

/// How a command was not handled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The decision is no. The caller is told, and the command is done.
    #[error("rejected: {0}")]
    Reject(DomainError),
    /// Not this time. Tried again later, at most [`RoleSpec::max_attempts`] times in all.
    #[error("to be tried again: {reason}")]
    Retry {
        /// When; by backoff where absent.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// Never. Laid aside as a dead letter.
    #[error("cannot be handled: {reason}")]
    Dead {
        /// Why.
        reason: String,
    },
    /// The bus, a database or another part of the platform is away. Waited for, with backoff and
    /// without end; never counted as an attempt.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl Failure {
    /// Tried again by backoff.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            after: None,
            reason: reason.into(),
        }
    }

    /// Laid aside.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::Dead {
            reason: reason.into(),
        }
    }
}

impl From<DomainError> for Failure {
    fn from(error: DomainError) -> Self {
        Self::Reject(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable { .. } => Self::Unavailable(chain(&error)),
            ReadError::Refused { .. } => Self::dead(chain(&error)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Read(error) => error.into(),
            StoreError::Behind { .. } => Self::retry(chain(&error)),
            StoreError::Corrupt { .. } | StoreError::Contradiction { .. } => {
                Self::dead(chain(&error))
            }
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Read(error) => error.into(),
            AppendError::Conflict { .. } => Self::retry(chain(&error)),
            AppendError::Unavailable { .. } => Self::Unavailable(chain(&error)),
            AppendError::TooLarge { .. } | AppendError::Refused { .. } => Self::dead(chain(&error)),
        }
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Rejected(error) => Self::Reject(error),
            ExecuteError::Store(error) => error.into(),
            ExecuteError::Append(error) => error.into(),
            ExecuteError::Encode { .. } => Self::dead(chain(&error)),
            ExecuteError::Contended { .. } => Self::retry(chain(&error)),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unavailable { .. } => Self::Unavailable(chain(&error)),
            _ => Self::dead(chain(&error)),
        }
    }
}

/// An error with all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A role, as its driver needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSpec {
    /// Its name: of its consumer, in metrics and in the subject of its dead letters.
    pub name: &'static str,
    /// First tokens of the commands that it handles; no two roles share one.
    pub command_roles: &'static [&'static str],
    /// Commands handled at the same time, or in a batch.
    pub concurrency: usize,
    /// Commands fetched beyond these. For short work as many as are handled; for long work none, so
    /// that no command waits here while another process is idle.
    pub prefetch: usize,
    /// Tries of a command before it is laid aside.
    pub max_attempts: u32,
    /// Silence after which a command is given to another process, as when this one was killed;
    /// heartbeats come at a third of it.
    pub ack_wait: Duration,
    /// How long a stopping process waits for what it has begun.
    pub grace: Duration,
    /// One process is given commands and the others stand by: for roles whose processes would only
    /// meet on the same aggregate. Another takes over at once when the active one stops, and after
    /// three seconds when it dies; what the dead one had in work comes again after `ack_wait`. Both
    /// may be at work while one takes over, so conflicts happen then, and correctness rests on
    /// expected sequences as ever.
    pub single_active: bool,
}

impl RoleSpec {
    /// Defaults for short work.
    pub const fn new(name: &'static str, command_roles: &'static [&'static str]) -> Self {
        Self {
            name,
            command_roles,
            concurrency: 64,
            prefetch: 64,
            max_attempts: 8,
            ack_wait: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            single_active: false,
        }
    }

    pub(crate) fn consumer(&self) -> ConsumerSpec {
        ConsumerSpec {
            stream: topology::COMMANDS,
            name: name_of(self.name),
            filter_subjects: self
                .command_roles
                .iter()
                .map(|r| subject::commands_of(r))
                .collect(),
            ack_wait: self.ack_wait,
            single_active: self.single_active,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.concurrency.max(1).saturating_add(self.prefetch)
    }

    pub(crate) fn beat(&self) -> Duration {
        (self.ack_wait / 3).max(Duration::from_millis(50))
    }
}

/// Handles the role's commands until `shutdown` is cancelled; then finishes what is begun within
/// the grace time and gives the rest back. Waits for a bus that is away.
pub async fn run_role<H: Handler>(
    bus: Bus,
    spec: RoleSpec,
    handler: H,
    shutdown: CancellationToken,
) {
    let mut puller = Puller::new(bus.clone(), spec.consumer(), spec.capacity());
    let crew = Arc::new(Crew {
        handler,
        slots: Semaphore::new(spec.concurrency.max(1)),
        desk: Desk::new(bus.clone(), spec.clone()),
        shutdown: shutdown.clone(),
    });
    info!(role = spec.name, "role started");
    let mut work = JoinSet::new();
    loop {
        let room = spec.capacity().saturating_sub(work.len());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = work.join_next() => report(spec.name, ended),
            message = puller.next(room) => {
                work.spawn(Arc::clone(&crew).handle(message));
            }
        }
    }
    for message in puller.stop().await {
        crew.desk.give_back(&Taken::new(message)).await;
    }
    if timeout(spec.grace, async {
        while work.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        info!(
            role = spec.name,
            left = work.len(),
            "grace time over, commands left to redelivery"
        );
        work.shutdown().await;
    }
    puller.hand_over().await;
    // Acknowledgements on their way out; a lost one means one more delivery, no more.
    let _ = timeout(Duration::from_secs(2), bus.client().flush()).await;
    info!(role = spec.name, "role stopped");
}

fn report(role: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(role, %error, "settling a command failed; it will be delivered again");
    }
}

struct Crew<H> {
    handler: H,
    slots: Semaphore,
    desk: Desk,
    shutdown: CancellationToken,
}

impl<H: Handler> Crew<H> {
    /// From message to acknowledgement.
    async fn handle(self: Arc<Self>, message: Message) {
        let taken = Taken::new(message);
        let beat = self.desk.spec().beat();
        let mut beats = interval_at(tokio::time::Instant::now() + beat, beat);
        let mut work = std::pin::pin!(self.settle(&taken));
        loop {
            tokio::select! {
                biased;
                () = &mut work => return,
                _ = beats.tick() => self.desk.in_progress(&taken).await,
            }
        }
    }

    /// Until the command is settled: while something is unavailable, again and again.
    async fn settle(&self, taken: &Taken) {
        for round in 0.. {
            let outcome = tokio::select! {
                biased;
                slot = self.slots.acquire() => {
                    if self.shutdown.is_cancelled() {
                        return self.desk.give_back(taken).await;
                    }
                    let outcome = self.attempt(taken).await;
                    drop(slot);
                    outcome
                }
                () = self.shutdown.cancelled() => return self.desk.give_back(taken).await,
            };
            match outcome {
                Settled::Done => return,
                Settled::Wait => tokio::select! {
                    () = tokio::time::sleep(Backoff::COMMAND.delay(round)) => {}
                    () = self.shutdown.cancelled() => return self.desk.give_back(taken).await,
                },
            }
        }
    }

    async fn attempt(&self, taken: &Taken) -> Settled {
        let delivery = match self.desk.open(taken, &self.shutdown) {
            Ok(delivery) => delivery,
            Err(refusal) => return self.desk.refuse(taken, &refusal).await,
        };
        let (role, verb) = (delivery.command.role(), delivery.command.verb());
        let envelope = delivery.envelope.clone();
        let span = trace::command_span(&envelope, role, verb);
        async {
            let started = std::time::Instant::now();
            let handled = AssertUnwindSafe(self.handler.handle(delivery))
                .catch_unwind()
                .await;
            let outcome = handled.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
            self.desk.took(started.elapsed());
            self.desk
                .settle(taken, &envelope, (role, verb), outcome)
                .await
        }
        .instrument(span)
        .await
    }
}

/// A panic counts as a try: the next one may have more luck, and the last one is laid aside.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned());
    let words = words
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    error!(panic = words, "a handler panicked");
    Failure::retry(format!("the handler panicked: {words}"))
}
