//! Refused requests as facts on the log, so that the audit can answer who tried what. A request that
//! is refused before anybody knows who sent it never writes into a tenant's log, whatever it claims:
//! it is in the log of the installation.
//!
//! The answer does not wait for the log: what waits to be recorded is bounded, what finds no room is
//! counted, and a gateway that is killed loses what it had not recorded yet.

mod limit;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use nexus_bus::store::{Cause, ReadHint};
use nexus_bus::{AppendError, ExecuteError, ReadError, Store, StoreError};
use nexus_events::access::{Access, AccessDenied, AccessEvent};
use nexus_events::{Actor, AggregateId, CommandId, Tenant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use crate::config::GatewayConfig;
use crate::source::Attempt;
use limit::{Key, Limiter};

/// Refused requests that may wait for the log.
const QUEUE: usize = 1_024;
/// How often windows that are over are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a gateway that stops gives to what waits.
const LAST_WORDS: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// Why a request was refused. In the extensions of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) detail: String,
}

/// Records refused requests.
pub(crate) struct Denials {
    store: Store,
    limiter: Arc<Mutex<Limiter>>,
    queue: mpsc::Sender<Fact>,
}

/// What is to be recorded.
struct Fact {
    tenant: Tenant,
    actor: Option<Actor>,
    event: AccessEvent,
    id: CommandId,
}

impl Fact {
    fn new(tenant: Tenant, actor: Option<Actor>, event: AccessEvent) -> Self {
        let id = CommandId::random(Uuid::now_v7());
        Self {
            tenant,
            actor,
            event,
            id,
        }
    }
}

impl Denials {
    /// Begins to record, until `stop`; the task ends when what waited then is recorded, or could not
    /// be in time.
    pub(crate) fn start(
        config: &GatewayConfig,
        store: Store,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (each, total) = (config.denials_per_minute, config.denials_per_minute_total);
        let limiter = Arc::new(Mutex::new(Limiter::new(each, total)));
        let (queue, facts) = mpsc::channel(QUEUE);
        let recorder = Recorder {
            store: store.clone(),
            limiter: Arc::clone(&limiter),
            log: AggregateId::from(Uuid::now_v7()),
            stop,
        };
        let task = tokio::spawn(recorder.run(facts));
        let denials = Self {
            store,
            limiter,
            queue,
        };
        (denials, task)
    }

    /// Records an answer that refuses for who asks or for what they may do; others are none of it.
    pub(crate) fn note(&self, attempt: &Attempt, route: &str, method: &str, response: &Response) {
        let status = response.status();
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return;
        }
        let (tenant, actor) = match attempt.caller() {
            Some(caller) => (caller.tenant.clone(), Some(caller.actor.clone())),
            None => (Tenant::installation(), None),
        };
        let claimed = attempt.claimed_tenant();
        let refusal = response.extensions().get::<Refusal>();
        let words = |text: fn(&Refusal) -> &str| refusal.map_or("", text).to_owned();
        let denied = AccessDenied {
            route: route.to_owned(),
            method: method.to_owned(),
            status: status.as_u16(),
            code: words(|refusal| &refusal.code),
            reason: words(|refusal| &refusal.detail),
            claimed_tenant: claimed
                .filter(|claimed| *claimed != tenant)
                .map(|claimed| claimed.to_string()),
            source: attempt.source().clone(),
        };
        let key = Key::new(tenant.clone(), denied.source.address);
        // From where is in the event.
        let actor = actor.map(Actor::without_source);
        self.record(&key, Fact::new(tenant, actor, denied.bounded().into()));
    }

    fn record(&self, key: &Key, fact: Fact) {
        let now = self.store.bus().now();
        let mut limiter = lock(&self.limiter);
        if limiter.admit(key, now) && self.queue.try_send(fact).is_err() {
            limiter.count(key, now);
        }
    }
}

fn lock(limiter: &Mutex<Limiter>) -> MutexGuard<'_, Limiter> {
    limiter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to the log that this gateway alone writes to.
struct Recorder {
    store: Store,
    limiter: Arc<Mutex<Limiter>>,
    log: AggregateId,
    stop: CancellationToken,
}

impl Recorder {
    async fn run(self, mut facts: mpsc::Receiver<Fact>) {
        // Outlives what is broken off: the same fact appended again is the same.
        let mut waiting = VecDeque::new();
        let work = self.work(&mut facts, &mut waiting);
        self.stop.run_until_cancelled(work).await;
        let last_words = async {
            while let Ok(fact) = facts.try_recv() {
                waiting.push_back(fact);
            }
            waiting.extend(self.counted(true));
            for fact in &waiting {
                self.append(fact).await;
            }
        };
        if timeout(LAST_WORDS, last_words).await.is_err() {
            warn!("refused requests could not be recorded before the gateway stopped");
        }
    }

    async fn work(&self, facts: &mut mpsc::Receiver<Fact>, waiting: &mut VecDeque<Fact>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(fact) = waiting.front() {
                self.append(fact).await;
                waiting.pop_front();
            }
            tokio::select! {
                fact = facts.recv() => match fact {
                    Some(fact) => waiting.push_back(fact),
                    None => return,
                },
                _ = look.tick() => waiting.extend(self.counted(false)),
            }
        }
    }

    fn counted(&self, all: bool) -> Vec<Fact> {
        let now = self.store.bus().now();
        let counted = lock(&self.limiter).counted(now, all);
        let fact =
            |(tenant, counted): (Tenant, _)| Fact::new(tenant, None, AccessEvent::from(counted));
        counted.into_iter().map(fact).collect()
    }

    /// Appends one. A bus that is away is waited for: the queue fills meanwhile, then is counted.
    async fn append(&self, fact: &Fact) {
        let cause = Cause {
            command_id: fact.id.clone(),
            correlation: None,
            traceparent: None,
            actor: fact.actor.clone(),
            now: self.store.bus().now(),
            source: "nexus/gateway",
        };
        let decide = |_: &Access| Ok(vec![fact.event.clone()]);
        loop {
            let hint = ReadHint::ABSENT;
            let done = self
                .store
                .execute::<Access, _>(&fact.tenant, &self.log, hint, &cause, decide)
                .await;
            let Err(failed) = done.map(drop) else { return };
            if !is_away(&failed) {
                error!(error = %failed, "a refused request could not be recorded");
                return;
            }
            warn!(error = %failed, "refused requests wait to be recorded");
            sleep(RETRY).await;
        }
    }
}

fn is_away(error: &ExecuteError) -> bool {
    matches!(
        error,
        ExecuteError::Append(
            AppendError::Unavailable { .. } | AppendError::Read(ReadError::Unavailable { .. })
        ) | ExecuteError::Store(StoreError::Read(ReadError::Unavailable { .. }))
    )
}
