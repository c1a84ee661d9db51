//! What an operator asks of the endpoints, in the registry of the process.

use std::sync::LazyLock;
use std::time::Duration;

use nexus_bus::metrics::{SECONDS, register};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

static METRICS: LazyLock<RouteMetrics> = LazyLock::new(|| register(RouteMetrics::register));

/// One endpoint, `provider/model`: as many as are configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEndpoint {
    endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    endpoint: String,
    /// `answered`, `failed`, `limited` or `unknown`.
    outcome: &'static str,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    attempts: Family<Attempts, Counter>,
    breakers: Family<ByEndpoint, Gauge>,
    in_flight: Family<ByEndpoint, Gauge>,
    first_token: Family<ByEndpoint, Histogram, fn() -> Histogram>,
}

/// The process's.
pub(crate) fn metrics() -> &'static RouteMetrics {
    &METRICS
}

impl RouteMetrics {
    fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            attempts: Family::default(),
            breakers: Family::default(),
            in_flight: Family::default(),
            first_token: Family::new_with_constructor(histogram),
        };
        registry.register(
            "llm_attempts",
            "Attempts of model calls, by endpoint and outcome",
            metrics.attempts.clone(),
        );
        registry.register(
            "llm_endpoint_open",
            "1 while this process leaves the endpoint alone because it failed too often",
            metrics.breakers.clone(),
        );
        registry.register(
            "llm_endpoint_in_flight",
            "Attempts under way in this process, by endpoint",
            metrics.in_flight.clone(),
        );
        registry.register_with_unit(
            "llm_time_to_first_token",
            "From an attempt's begin to its first token, by endpoint",
            Unit::Seconds,
            metrics.first_token.clone(),
        );
        metrics
    }

    pub(crate) fn ended(&self, endpoint: &str, outcome: &'static str) {
        let endpoint = endpoint.to_owned();
        self.attempts
            .get_or_create(&Attempts { endpoint, outcome })
            .inc();
    }

    pub(crate) fn state(&self, endpoint: &str, open: bool, in_flight: u32) {
        let label = ByEndpoint {
            endpoint: endpoint.to_owned(),
        };
        self.breakers.get_or_create(&label).set(i64::from(open));
        let in_flight = i64::from(in_flight);
        self.in_flight.get_or_create(&label).set(in_flight);
    }

    pub(crate) fn first_token(&self, endpoint: &str, took: Duration) {
        let endpoint = endpoint.to_owned();
        self.first_token
            .get_or_create(&ByEndpoint { endpoint })
            .observe(took.as_secs_f64());
    }
}
