//! Loading and executing aggregates. A decision costs one append and, where the aggregate is
//! cached, no read: the expected sequence tells whether the cache was right. What a stale cache
//! could get wrong without the stream noticing, a refusal or a decision that changes nothing, is
//! checked against the stream before it counts.

mod cache;
mod error;
mod hint;
mod loaded;
mod slots;
mod snapshot;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use nexus_events::envelope::{COMMIT_CONTENT_TYPE, CONTENT_TYPE};
use nexus_events::{Aggregate, AggregateId, Commit, DomainError, Tenant, subject};
use tokio::sync::OwnedMutexGuard;

use self::cache::Cache;
pub use self::error::{ExecuteError, StoreError};
pub use self::hint::{Cause, ReadHint};
use self::loaded::Break;
pub use self::loaded::Loaded;
use crate::append::{AppendError, Appended, append};
use crate::backoff::Backoff;
use crate::connect::Bus;
use crate::read;
use crate::topology;

/// Decisions that may meet another writer before the command is put off.
const MOST_TRIES: u32 = 100;

/// Exclusive use of a loaded aggregate within this process. Hold it no longer than a decision takes
/// and never execute on the same aggregate meanwhile: that waits for this to be dropped.
#[derive(Debug)]
pub struct Guard<A: Aggregate>(OwnedMutexGuard<Loaded<A>>);

impl<A: Aggregate> Deref for Guard<A> {
    type Target = Loaded<A>;

    fn deref(&self) -> &Loaded<A> {
        &self.0
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Done<A: Aggregate> {
    /// The aggregate after it.
    pub guard: Guard<A>,
    /// Sequence of this command's commit; of the aggregate's last one if nothing was decided.
    pub seq: u64,
    /// False: its commit was there already, from an earlier delivery.
    pub fresh: bool,
    /// What was appended by this call; empty if nothing was decided or it is not fresh.
    pub events: Vec<A::Event>,
}

impl<A: Aggregate> Done<A> {
    fn found(guard: Guard<A>, seq: u64) -> Self {
        Self {
            guard,
            seq,
            fresh: false,
            events: Vec::new(),
        }
    }

    fn fresh(guard: Guard<A>, seq: u64, events: Vec<A::Event>) -> Self {
        Self {
            guard,
            seq,
            fresh: true,
            events,
        }
    }
}

/// What became of a commit.
enum Written<E> {
    Appended(u64, Vec<E>),
    Found(u64),
    Conflict,
}

/// Loads and executes aggregates. A clone shares the cache, so all roles of a process share one.
#[derive(Clone)]
pub struct Store {
    bus: Bus,
    cache: Arc<Cache>,
}

impl Store {
    /// A store that keeps up to `capacity` aggregates of each kind in memory.
    pub fn new(bus: Bus, capacity: usize) -> Self {
        Self {
            bus,
            cache: Arc::new(Cache::new(capacity)),
        }
    }

    /// The bus that it stands on.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Loads an aggregate: from the cache where that holds what the hint asks for, else read or
    /// caught up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load<A: Aggregate>(
        &self,
        tenant: &Tenant,
        id: &AggregateId,
        hint: ReadHint,
    ) -> Result<Guard<A>, StoreError> {
        let mut guard = self.lock::<A>(tenant, id).await;
        self.bring(&mut guard, hint).await?;
        Ok(guard)
    }

    /// The cached state without a read where it was whole within `max_staleness`, else caught up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn peek<A: Aggregate>(
        &self,
        tenant: &Tenant,
        id: &AggregateId,
        max_staleness: Duration,
    ) -> Result<Guard<A>, StoreError> {
        let mut guard = self.lock::<A>(tenant, id).await;
        if !guard.is_sound() || !guard.verified_within(max_staleness) {
            self.catch_up(&mut guard, 0).await?;
        }
        Ok(guard)
    }

    /// Decides on the aggregate's state and appends what was decided, as one commit. `decide` runs
    /// again when another writer was faster, or when a refusal came from a state that may be old.
    ///
    /// # Errors
    /// [`ExecuteError`]; nothing was appended, except perhaps with [`AppendError::Unavailable`]:
    /// the same command executed again finds out.
    pub async fn execute<A, F>(
        &self,
        tenant: &Tenant,
        id: &AggregateId,
        hint: ReadHint,
        cause: &Cause,
        mut decide: F,
    ) -> Result<Done<A>, ExecuteError>
    where
        A: Aggregate,
        F: FnMut(&A) -> Result<Vec<A::Event>, DomainError>,
    {
        let mut guard = self.lock::<A>(tenant, id).await;
        let presumed = hint.absent && guard.is_sound() && !guard.known;
        let read = !presumed && self.bring(&mut guard, hint).await?;
        let mut latest = read && self.bus.replicas() <= 1;
        for tries in 0..MOST_TRIES {
            if let Some(seq) = guard.commit_of(&cause.command_id) {
                return Ok(Done::found(guard, seq));
            }
            let decided = decide(&guard.state);
            let nothing = decided.as_ref().map_or(true, Vec::is_empty);
            if nothing && !latest {
                latest = true;
                if self.verify(&mut guard).await? {
                    continue;
                }
            }
            let events = decided.map_err(ExecuteError::Rejected)?;
            if nothing {
                let seq = guard.seq;
                return Ok(Done::fresh(guard, seq, events));
            }
            match self.commit(tenant, id, &mut guard, cause, events).await? {
                Written::Appended(seq, events) => return Ok(Done::fresh(guard, seq, events)),
                Written::Found(seq) => return Ok(Done::found(guard, seq)),
                Written::Conflict => {
                    if tries > 0 {
                        tokio::time::sleep(Backoff::CONFLICT.delay(tries - 1)).await;
                    }
                    self.verify(&mut guard).await?;
                    latest = true;
                }
            }
        }
        let subject = guard.subject.to_string();
        Err(ExecuteError::Contended {
            subject,
            tries: MOST_TRIES,
        })
    }

    /// Appends what was decided, and folds it.
    async fn commit<A: Aggregate>(
        &self,
        tenant: &Tenant,
        id: &AggregateId,
        guard: &mut Guard<A>,
        cause: &Cause,
        events: Vec<A::Event>,
    ) -> Result<Written<A::Event>, ExecuteError> {
        let commit = commit_of::<A>(cause, events);
        match self.append(tenant, id, guard, &commit, cause.source).await {
            // What is stored may have been decided by an earlier delivery: read it.
            Ok(Appended { seq, found: true }) => {
                self.verify(guard).await?;
                Ok(Written::Found(
                    guard.commit_of(&cause.command_id).unwrap_or(seq),
                ))
            }
            Ok(Appended { seq, found: false }) => {
                guard.0.fold(&commit, seq);
                guard.0.known = true;
                guard.0.verified = Some(Instant::now());
                self.keep(guard);
                Ok(Written::Appended(seq, commit.events))
            }
            Err(ExecuteError::Append(AppendError::Conflict { .. })) => Ok(Written::Conflict),
            Err(error) => Err(error),
        }
    }

    async fn lock<A: Aggregate>(&self, tenant: &Tenant, id: &AggregateId) -> Guard<A> {
        let subject = subject::events(tenant, A::KIND, id);
        Guard(self.cache.slot::<A>(&subject).lock_owned().await)
    }

    async fn append<A: Aggregate>(
        &self,
        tenant: &Tenant,
        id: &AggregateId,
        guard: &Guard<A>,
        commit: &Commit<A::Event>,
        source: &str,
    ) -> Result<Appended, ExecuteError> {
        let subject = &*guard.subject;
        let body = commit
            .encode(source, subject)
            .map_err(|source| ExecuteError::Encode {
                subject: subject.to_owned(),
                source,
            })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, COMMIT_CONTENT_TYPE);
        // The duplicate window spans tenants and aggregates, and a command's id is its sender's.
        let message_id = format!("{tenant}/{id}/{}", commit.id);
        append(
            &self.bus,
            subject,
            &message_id,
            guard.seq,
            body.into(),
            headers,
        )
        .await
        .map_err(ExecuteError::Append)
    }

    /// Makes the state hold what the hint asks for; says whether the stream was read.
    async fn bring<A: Aggregate>(
        &self,
        guard: &mut Guard<A>,
        hint: ReadHint,
    ) -> Result<bool, StoreError> {
        if guard.is_sound() && guard.known && guard.seq >= hint.at_least {
            return Ok(false);
        }
        self.catch_up(guard, hint.first_seq).await?;
        if guard.seq < hint.at_least && self.bus.replicas() > 1 {
            // The node that answered may be behind; the leader is not.
            self.verify(guard).await?;
        }
        if guard.seq < hint.at_least {
            return Err(StoreError::Behind {
                subject: guard.subject.to_string(),
                at_least: hint.at_least,
                found: guard.seq,
            });
        }
        Ok(true)
    }

    /// Reads what follows the state; where there is none that can be gone on from, that of a
    /// snapshot if there is one.
    async fn catch_up<A: Aggregate>(
        &self,
        guard: &mut Guard<A>,
        first_seq: u64,
    ) -> Result<(), StoreError> {
        if !guard.is_sound() || !guard.known {
            guard.0.reset();
            self.resume(guard).await?;
        }
        self.read_on(guard, first_seq).await
    }

    /// Reads what follows the state, a page at a time; from `first_seq` where there is none yet.
    async fn read_on<A: Aggregate>(
        &self,
        guard: &mut Guard<A>,
        first_seq: u64,
    ) -> Result<(), StoreError> {
        let subject = Arc::clone(&guard.subject);
        let mut from = if guard.seq > 0 {
            guard.seq + 1
        } else {
            first_seq.max(1)
        };
        loop {
            let page =
                read::read_from(&self.bus, topology::EVENTS, &subject, from, read::PAGE).await?;
            for stored in &page.messages {
                match guard.0.apply(stored) {
                    // The hint was wrong: begin at the beginning.
                    Err(Break::NotTheFirst) if from > 1 && from == first_seq => {
                        guard.0.reset();
                        return Box::pin(self.read_on(guard, 1)).await;
                    }
                    applied => applied.map_err(|broken| broken.at(stored, guard.seq))?,
                }
            }
            match page.messages.last() {
                Some(last) if page.pending > 0 => from = last.seq + 1,
                _ => break,
            }
        }
        // A hint that points behind the end finds nothing, which says nothing.
        if guard.seq == 0 && first_seq > 1 {
            return Box::pin(self.read_on(guard, 1)).await;
        }
        guard.0.known = true;
        guard.0.verified = Some(Instant::now());
        Ok(())
    }

    /// Catches up with what the leader has; says whether there was anything.
    async fn verify<A: Aggregate>(&self, guard: &mut Guard<A>) -> Result<bool, StoreError> {
        let before = guard.seq;
        if !guard.known || self.bus.replicas() <= 1 {
            self.catch_up(guard, 0).await?;
        }
        if self.bus.replicas() > 1 {
            let subject = Arc::clone(&guard.subject);
            while let Some(stored) =
                read::next_decisive(&self.bus, topology::EVENTS, &subject, guard.seq + 1).await?
            {
                guard
                    .0
                    .apply(&stored)
                    .map_err(|broken| broken.at(&stored, guard.seq))?;
            }
            guard.0.verified = Some(Instant::now());
        }
        Ok(guard.seq != before)
    }
}

fn commit_of<A: Aggregate>(cause: &Cause, events: Vec<A::Event>) -> Commit<A::Event> {
    Commit {
        id: Commit::<A::Event>::derive_id(&cause.command_id, A::KIND),
        causation: cause.command_id.clone(),
        correlation: cause.correlation,
        time: cause.now,
        traceparent: cause.traceparent.clone(),
        actor: cause.actor.clone(),
        events,
    }
}
