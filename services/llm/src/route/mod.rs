//! Which endpoint a model call takes: several providers may serve one name, and each of them can be
//! slow, full or gone. What is known of them is this process's own.
//!
//! A router only moves among the endpoints of one model. Policy judged that model, and the ledger
//! reserved for its dearest endpoint; another model is another question, which the run asks
//! (`events/src/run/failover.rs`).

mod breaker;
pub mod config;
mod health;
mod metrics;
mod room;
mod strategy;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_events::run::SkippedEndpoint;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::provider::{Failure, ProviderError, Quota, Resolved};
pub use config::{BreakerConfig, EndpointConfig, RouteConfig, RouteError, RoutingConfig, Strategy};
use health::Health;
pub(crate) use health::{Closed, Verdict};
pub(crate) use metrics::metrics;
pub(crate) use room::Room;
use strategy::{View, order};

/// Shares calls out among endpoints, and remembers how they went.
#[derive(Debug)]
pub struct Router {
    config: RoutingConfig,
    endpoints: Mutex<HashMap<String, Health>>,
    /// A call ended: what was closed may be open.
    changed: Notify,
}

/// What a choice is made by.
pub(crate) struct Wish<'a> {
    /// The name that the run has for the model.
    pub(crate) model: &'a str,
    /// Who serves it.
    pub(crate) endpoints: &'a [Resolved],
    /// As good as drawn by lot.
    pub(crate) number: u64,
    /// Providers that come last: they have failed for this turn.
    pub(crate) last: &'a [String],
    /// Providers that do not come at all.
    pub(crate) never: &'a [String],
    /// Bound on the tokens that the call uses.
    pub(crate) tokens: u64,
}

/// What was chosen.
pub(crate) struct Choice {
    /// The place of the endpoint, and the permission to call it; none where all are closed.
    pub(crate) taken: Option<(usize, Lease)>,
    /// Those that would have come before it, or all.
    pub(crate) closed: Vec<(usize, Closed)>,
}

impl Router {
    /// A router that knows nothing of any endpoint yet.
    pub fn new(config: RoutingConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            endpoints: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// How a model's calls are shared out.
    pub(crate) fn route(&self, model: &str) -> RouteConfig {
        self.config.routes.get(model).cloned().unwrap_or_default()
    }

    /// Takes the first endpoint that is open.
    pub(crate) fn choose(self: &Arc<Self>, wish: &Wish<'_>, now: Instant) -> Choice {
        let route = self.config.routes.get(wish.model);
        let strategy = route.map_or(Strategy::default(), |route| route.strategy);
        let mut known = self.lock();
        let views: Vec<View> = (wish.endpoints.iter())
            .map(|endpoint| view(self.health(&mut known, wish.model, endpoint), endpoint))
            .collect();
        let provider = |at: &usize| wish.endpoints.get(*at).map(|e| &e.model.provider);
        let is_in = |at: &usize, names: &[String]| provider(at).is_some_and(|p| names.contains(p));
        let mut places = order(strategy, &views, wish.number);
        places.retain(|at| !is_in(at, wish.never));
        places.sort_by_key(|at| is_in(at, wish.last));
        let mut closed = vec![];
        for at in places {
            let Some(endpoint) = wish.endpoints.get(at) else {
                continue;
            };
            let health = self.health(&mut known, wish.model, endpoint);
            match health.check(now, wish.tokens) {
                Err(why) => closed.push((at, why)),
                Ok(()) => {
                    let probe = health.begin(now, wish.tokens);
                    let key = key(endpoint);
                    metrics().state(&key, health.is_open(), health.in_flight());
                    let lease = Lease {
                        router: self.clone(),
                        key,
                        probe,
                        ended: false,
                    };
                    let taken = Some((at, lease));
                    return Choice { taken, closed };
                }
            }
        }
        let taken = None;
        Choice { taken, closed }
    }

    /// Ready when a call has ended after this was called.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Health>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The route whose settings an endpoint has is that of the bare name: what is known of it is the
    /// same however it was called.
    fn health<'a>(
        &self,
        known: &'a mut HashMap<String, Health>,
        model: &str,
        endpoint: &Resolved,
    ) -> &'a mut Health {
        known.entry(key(endpoint)).or_insert_with(|| {
            let named = |name: &str| {
                let route = self.config.routes.get(name)?;
                route.endpoints.get(&endpoint.model.provider).cloned()
            };
            let limits = named(&endpoint.model.name).or_else(|| named(model));
            Health::new(limits.unwrap_or_default(), self.config.breaker.clone())
        })
    }
}

fn key(endpoint: &Resolved) -> String {
    format!("{}/{}", endpoint.model.provider, endpoint.model.name)
}

fn view(health: &Health, endpoint: &Resolved) -> View {
    let price = endpoint.model.price;
    View {
        weight: health.weight(),
        price: u128::from(price.input) + u128::from(price.output),
        first_token_ms: health.first_token_ms(),
        in_flight: health.in_flight(),
    }
}

/// Permission to call an endpoint once. Dropped without a word it counts as a call of which nothing
/// is known.
#[derive(Debug)]
pub(crate) struct Lease {
    router: Arc<Router>,
    key: String,
    probe: bool,
    ended: bool,
}

impl Lease {
    /// How the call went, and what the provider said of what it will still take.
    pub(crate) fn end(mut self, verdict: &Verdict, quota: Option<Quota>) {
        self.finish(verdict, quota);
    }

    fn finish(&mut self, verdict: &Verdict, quota: Option<Quota>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = Instant::now();
        let mut known = self.router.lock();
        if let Some(health) = known.get_mut(&self.key) {
            let was_open = health.is_open();
            health.end(now, self.probe, verdict);
            if let Some(quota) = quota {
                let reason = format!("its provider takes no more {} for now", quota.of);
                health.close(now + quota.closed, reason);
            }
            if was_open != health.is_open() {
                let (endpoint, open) = (&self.key, health.is_open());
                tracing::warn!(endpoint, open, "an endpoint is left alone, or called again");
            }
            metrics().state(&self.key, health.is_open(), health.in_flight());
        }
        drop(known);
        let outcome = match verdict {
            Verdict::Alive { .. } => "answered",
            Verdict::Failed { .. } => "failed",
            Verdict::Limited { .. } => "limited",
            Verdict::Unknown => "unknown",
        };
        metrics().ended(&self.key, outcome);
        if let Verdict::Alive {
            first_token: Some(took),
        } = verdict
        {
            metrics().first_token(&self.key, *took);
        }
        self.router.changed.notify_waiters();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.finish(&Verdict::Unknown, None);
    }
}

/// What a failed call says of its endpoint.
pub(crate) fn verdict(error: &ProviderError) -> Verdict {
    let failed = |passing| Verdict::Failed {
        code: error.failure.code().to_owned(),
        passing,
    };
    match &error.failure {
        Failure::Transient {
            status: Some(429),
            retry_after,
            ..
        } => Verdict::Limited {
            pause: *retry_after,
        },
        Failure::Transient { .. } | Failure::Truncated { .. } | Failure::Malformed { .. } => {
            failed(true)
        }
        failure if is_of_the_endpoint(failure) => failed(false),
        Failure::Permanent { .. } => Verdict::Alive { first_token: None },
        Failure::Cancelled | Failure::DeadlineExceeded => Verdict::Unknown,
    }
}

/// How long a provider that failed asks to be left alone.
pub(crate) fn pause_of(error: &ProviderError) -> Option<Quota> {
    match &error.failure {
        Failure::Transient {
            retry_after: Some(closed),
            ..
        } => Some(Quota {
            closed: *closed,
            of: "calls",
        }),
        _ => None,
    }
}

/// Whether another endpoint may answer where this one refused: its key, its account or its list of
/// models is the matter, not what was asked.
pub(crate) fn is_of_the_endpoint(failure: &Failure) -> bool {
    match failure {
        Failure::Transient { .. } | Failure::Truncated { .. } | Failure::Malformed { .. } => true,
        Failure::Permanent { status, code, .. } => {
            matches!(status, Some(401..=405 | 410 | 429 | 500..=599))
                || code == "model_unavailable"
                || code == "insufficient_quota"
        }
        Failure::Cancelled | Failure::DeadlineExceeded => false,
    }
}

/// The closed endpoints as an event has them.
pub(crate) fn skipped(endpoints: &[Resolved], closed: &[(usize, Closed)]) -> Vec<SkippedEndpoint> {
    (closed.iter())
        .filter_map(|(at, why)| {
            Some(SkippedEndpoint {
                endpoint: endpoints.get(*at)?.model.provider.clone(),
                reason: why.reason.clone(),
            })
        })
        .collect()
}
