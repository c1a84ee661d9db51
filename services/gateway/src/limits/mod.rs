//! How often who may ask. What all gateways of an installation share is one small document a limit on
//! the bus ([`shared`]), of which each takes leases ([`permits`]): the limit holds over all of them,
//! and most requests cost no round trip. A document for every request was the alternative, at a tenth
//! of a millisecond and more for each.
//!
//! When the bus is away a limited request is refused with 503: nobody can say whether it may pass.
//! Tokens and runs in flight are the ledger's to limit, before they are spent.

mod config;
mod guesses;
pub(crate) mod headers;
mod permits;
mod shared;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use nexus_bus::quota::{self, QuotaError};
use nexus_bus::{Bus, ReadError};
use nexus_events::{Tenant, subject};
use rand::Rng;
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::ApiError;
use crate::http::problem::internal;
use crate::identity::Caller;
pub use config::{LimitsConfig, Rates};
use guesses::Guesses;
pub(crate) use guesses::Shown;
use headers::Standing;
use permits::{Permits, Taken};
use shared::Shared;

/// Limits whose leases are remembered. What is forgotten was not used, and is lost to the limit for
/// a minute.
const MOST_ENTRIES: usize = 16_384;
/// Whom a conflict makes wait for a moment does not meet the same one again.
const CONFLICT_PAUSE_MS: u64 = 4;
/// Leases that one request takes at most.
const MOST_LEASES: usize = 3;
/// How often unused leases are given back.
const RETURN_EVERY: Duration = Duration::from_secs(1);
const RETURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a request may pass.
pub(crate) struct Admission {
    pub(crate) standings: Vec<Standing>,
    pub(crate) refused: Option<ApiError>,
}

/// See the module.
pub(crate) struct Limits {
    config: LimitsConfig,
    entries: Mutex<LruCache<String, Arc<Entry>>>,
    guesses: Mutex<Guesses>,
}

/// One limit: what is held of it here. `waiting` requests want some of it now.
struct Entry {
    subject: String,
    waiting: AtomicU32,
    permits: tokio::sync::Mutex<Permits>,
}

/// One limit that a request counts in.
struct Limit {
    name: &'static str,
    most: u32,
    entry: Arc<Entry>,
}

impl Limits {
    /// Begins to give back leases that are not used, until `stop`.
    pub(crate) fn start(config: &LimitsConfig, bus: &Bus, stop: CancellationToken) -> Arc<Self> {
        let limits = Arc::new(Self {
            config: config.clone(),
            entries: Mutex::new(LruCache::new(MOST_ENTRIES)),
            guesses: Mutex::new(Guesses::new(config.failed_credentials_per_minute)),
        });
        let (returning, bus) = (Arc::clone(&limits), bus.clone());
        tokio::spawn(async move {
            let work = returning.give_back(&bus);
            stop.run_until_cancelled(work).await;
        });
        limits
    }

    /// Takes one request of every limit that the caller counts in, or of none.
    pub(crate) async fn admit(&self, app: &App, caller: &Caller) -> Result<Admission, ApiError> {
        let limits = self.of(caller);
        let mut standings = Vec::with_capacity(limits.len());
        for (index, limit) in limits.iter().enumerate() {
            let (granted, standing) = app.in_time(limit.take(app.bus())).await?;
            standings.push(standing);
            if granted {
                continue;
            }
            for earlier in limits.iter().take(index) {
                let now_ms = app.bus().now().as_millis();
                earlier.entry.permits.lock().await.put_back(now_ms);
            }
            return Ok(Admission {
                refused: Some(too_many(&standing)),
                standings,
            });
        }
        Ok(Admission {
            standings,
            refused: None,
        })
    }

    /// Refuses a credential of an address that showed too many bad ones, before it is looked up.
    pub(crate) fn refuse_guess(
        &self,
        from: Option<IpAddr>,
        shown: &Shown,
        now_ms: i64,
    ) -> Result<(), ApiError> {
        let Some(from) = from else { return Ok(()) };
        match lock(&self.guesses).refuses(from, shown, now_ms) {
            None => Ok(()),
            Some(after_s) => {
                let detail = "too many credentials of this address were not good";
                let refused = ApiError::new(429, "too_many_attempts", detail);
                Err(refused.retry_after(Duration::from_secs(after_s)))
            }
        }
    }

    /// A credential was looked up, and was good or not.
    pub(crate) fn looked_up(&self, from: Option<IpAddr>, shown: Shown, good: bool, now_ms: i64) {
        let mut guesses = lock(&self.guesses);
        match (good, from) {
            (true, _) => guesses.good(shown, now_ms),
            (false, Some(from)) => guesses.failed(from, now_ms),
            (false, None) => {}
        }
    }

    fn of(&self, caller: &Caller) -> Vec<Limit> {
        let (tenant, rates) = (&caller.tenant, self.config.of(&caller.tenant));
        let mut limits = vec![];
        let mut limit = |name: &'static str, id: &str, most: Option<u32>| {
            let Some(most) = most else { return };
            let entry = self.entry(tenant, name, id);
            limits.push(Limit { name, most, entry });
        };
        if let Some(key) = &caller.key {
            let most = key.requests_per_minute.or(rates.key);
            limit("key", &key.id.to_string(), most);
        }
        limit("user", &caller.actor.user, rates.user);
        limit("tenant", "", rates.tenant);
        limits
    }

    fn entry(&self, tenant: &Tenant, kind: &str, id: &str) -> Arc<Entry> {
        // A user's name may be anything, and a subject may not.
        let digest: String = Sha256::digest(id.as_bytes())
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let subject = subject::quota(tenant, kind, &digest);
        let mut entries = lock(&self.entries);
        if let Some(known) = entries.get(&subject) {
            return Arc::clone(known);
        }
        let entry = Arc::new(Entry {
            subject: subject.clone(),
            waiting: AtomicU32::new(0),
            permits: tokio::sync::Mutex::default(),
        });
        entries.insert(subject, Arc::clone(&entry));
        entry
    }

    async fn give_back(&self, bus: &Bus) {
        let mut ticks = interval(RETURN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let entries: Vec<_> = lock(&self.entries)
                .iter()
                .map(|(_, e)| Arc::clone(e))
                .collect();
            for entry in entries {
                // Whoever holds it is about to give back by himself.
                let Ok(mut permits) = entry.permits.try_lock() else {
                    continue;
                };
                if !permits.has_unused(bus.now().as_millis()) {
                    continue;
                }
                let back = entry.give_back(bus, &mut permits);
                // It counts for a minute more where this fails.
                if !matches!(timeout(RETURN_TIMEOUT, back).await, Ok(Ok(()))) {
                    permits.returned();
                }
            }
        }
    }
}

impl Limit {
    /// Takes one request; says whether there was one, and how the limit stands.
    async fn take(&self, bus: &Bus) -> Result<(bool, Standing), ApiError> {
        let entry = &self.entry;
        let waiting = Waiting::begin(&entry.waiting);
        let mut permits = entry.permits.lock().await;
        let mut now_ms = bus.now().as_millis();
        let mut taken = permits.take(now_ms);
        // A lease that took longer to be written than it lasts is none.
        for _ in 0..MOST_LEASES {
            if taken != Taken::Ask {
                break;
            }
            entry.lease(bus, &mut permits, self.most).await?;
            now_ms = bus.now().as_millis();
            taken = permits.take(now_ms);
        }
        if taken == Taken::Ask {
            return Err(unknown_standing());
        }
        drop(waiting);
        let standing = Standing {
            name: self.name,
            limit: self.most,
            remaining: permits.remaining(),
            reset_s: permits.reset_s(now_ms),
        };
        Ok((taken == Taken::Granted, standing))
    }
}

impl Entry {
    async fn lease(&self, bus: &Bus, permits: &mut Permits, limit: u32) -> Result<(), QuotaError> {
        loop {
            let (seq, mut shared) = self.load(bus).await?;
            let before = shared.clone();
            let now_ms = bus.now().as_millis();
            let waiting = self.waiting.load(Ordering::Relaxed);
            let granted = permits.lease(&mut shared, now_ms, limit, waiting);
            if shared == before || self.save(bus, seq, &shared).await? {
                permits.leased(&shared, now_ms, limit, granted);
                return Ok(());
            }
        }
    }

    async fn give_back(&self, bus: &Bus, permits: &mut Permits) -> Result<(), QuotaError> {
        loop {
            let (seq, mut shared) = self.load(bus).await?;
            permits.return_to(&mut shared);
            if self.save(bus, seq, &shared).await? {
                permits.returned();
                return Ok(());
            }
        }
    }

    async fn load(&self, bus: &Bus) -> Result<(u64, Shared), QuotaError> {
        let stored = quota::load(bus, &self.subject).await?;
        // What cannot be read counts for nothing: a limit that shuts everybody out is no limit.
        Ok(stored.map_or_else(Default::default, |stored| {
            let shared = serde_json::from_slice(&stored.body).unwrap_or_default();
            (stored.seq, shared)
        }))
    }

    /// Whether it was written; else another was faster.
    async fn save(&self, bus: &Bus, seq: u64, shared: &Shared) -> Result<bool, QuotaError> {
        // Numbers always encode.
        let body = serde_json::to_vec(shared).unwrap_or_default();
        match quota::save(bus, &self.subject, seq, body.into()).await {
            Ok(_) => Ok(true),
            Err(QuotaError::Conflict { .. }) => {
                let pause_ms = rand::rng().random_range(0..CONFLICT_PAUSE_MS);
                sleep(Duration::from_millis(pause_ms)).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Counts a request that waits, as long as it does.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn too_many(standing: &Standing) -> ApiError {
    let Standing { name, limit, .. } = standing;
    let whose = match *name {
        "key" => "with this key",
        "user" => "of this user",
        _ => "of this tenant",
    };
    let detail = format!("{limit} requests a minute {whose} are allowed");
    let after = Duration::from_secs(standing.reset_s);
    ApiError::new(429, "rate_limited", detail).retry_after(after)
}

impl From<QuotaError> for ApiError {
    fn from(error: QuotaError) -> Self {
        match error {
            QuotaError::Read(ReadError::Unavailable { .. }) => unknown_standing(),
            QuotaError::Write { ref source, .. } if source.is_transient() => unknown_standing(),
            other => internal(&other),
        }
    }
}

fn unknown_standing() -> ApiError {
    ApiError::bus_away("the bus did not say how many requests were made")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
