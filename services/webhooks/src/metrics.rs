//! What an operator asks of deliveries, in the registry of the process. Labels are bounded: tenants
//! and webhooks are looked at through the API.

use std::sync::LazyLock;
use std::time::Duration;

use nexus_bus::metrics::{SECONDS, register};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

static METRICS: LazyLock<Metrics> = LazyLock::new(|| register(Metrics::register));

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    /// `delivered`, `failed` or `given_up`.
    outcome: &'static str,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Metrics {
    attempts: Family<Attempts, Counter>,
    took: Histogram,
    /// Webhooks that this process delivers for.
    pub(crate) serving: Gauge,
    /// Webhooks that were disabled because their receivers failed or are gone.
    pub(crate) disabled: Counter,
}

/// The process's.
pub(crate) fn metrics() -> &'static Metrics {
    &METRICS
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            attempts: Family::default(),
            took: Histogram::new(SECONDS),
            serving: Gauge::default(),
            disabled: Counter::default(),
        };
        for outcome in ["delivered", "failed", "given_up"] {
            drop(metrics.attempts.get_or_create(&Attempts { outcome }));
        }
        let help = "Tries to deliver a message to a receiver, by outcome";
        registry.register("webhook_attempts", help, metrics.attempts.clone());
        let help = "Time until a receiver answered or was given up";
        registry.register_with_unit("webhook_attempt", help, Unit::Seconds, metrics.took.clone());
        let help = "Webhooks that this process delivers for";
        registry.register("webhooks_serving", help, metrics.serving.clone());
        let help = "Webhooks that were disabled because their receivers failed or are gone";
        registry.register("webhooks_disabled", help, metrics.disabled.clone());
        metrics
    }

    pub(crate) fn tried(&self, outcome: &'static str, took: Duration) {
        self.attempts.get_or_create(&Attempts { outcome }).inc();
        self.took.observe(took.as_secs_f64());
    }
}
