//! What an operator asks of the projection.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Metrics of the projectors of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProjectorMetrics {
    pub(crate) events: Counter,
    pub(crate) batches: Counter,
    pub(crate) failures: Counter,
    pub(crate) applied_seq: Gauge,
    pub(crate) lag_commits: Gauge,
    pub(crate) lag_seconds: Gauge<f64, AtomicU64>,
    pub(crate) parked: Gauge,
    pub(crate) live: Gauge,
    pub(crate) write_seconds: Histogram,
}

impl Default for ProjectorMetrics {
    fn default() -> Self {
        Self {
            events: Counter::default(),
            batches: Counter::default(),
            failures: Counter::default(),
            applied_seq: Gauge::default(),
            lag_commits: Gauge::default(),
            lag_seconds: Gauge::default(),
            parked: Gauge::default(),
            live: Gauge::default(),
            write_seconds: Histogram::new([
                0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
            ]),
        }
    }
}

impl ProjectorMetrics {
    /// Makes and registers them. The registry's prefix is expected to be `nexus`.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "projection_events",
            "Events that were applied to the read models",
            new.events.clone(),
        );
        registry.register(
            "projection_batches",
            "Transactions that applied them",
            new.batches.clone(),
        );
        registry.register(
            "projection_failures",
            "Transactions that failed and were or will be tried again",
            new.failures.clone(),
        );
        registry.register(
            "projection_applied_seq",
            "Sequence of the log that the read models have applied",
            new.applied_seq.clone(),
        );
        registry.register(
            "projection_lag_commits",
            "Commits of the log that are not applied yet",
            new.lag_commits.clone(),
        );
        registry.register_with_unit(
            "projection_lag",
            "Time from the decision of the last applied commit to its being readable",
            Unit::Seconds,
            new.lag_seconds.clone(),
        );
        registry.register(
            "projection_parked",
            "1 while the projection has stopped before a commit that it cannot apply",
            new.parked.clone(),
        );
        registry.register(
            "projection_live",
            "1 while this process is the one that applies the log",
            new.live.clone(),
        );
        registry.register_with_unit(
            "projection_write",
            "Time that a transaction took",
            Unit::Seconds,
            new.write_seconds.clone(),
        );
        new
    }
}
