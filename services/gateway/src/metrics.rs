//! What an operator asks of the gateway. Labels are routes, never paths: nothing grows with runs or
//! sessions.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use nexus_bus::metrics::{SECONDS, register};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

static METRICS: LazyLock<Metrics> = LazyLock::new(|| register(Metrics::register));

/// The gateway's metrics.
pub(crate) fn metrics() -> &'static Metrics {
    &METRICS
}

/// A finished request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    pub(crate) route: String,
    pub(crate) method: String,
    pub(crate) status: u16,
}

/// One label: the route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByRoute {
    pub(crate) route: String,
}

/// A tenant's budget in a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BudgetOf {
    pub(crate) tenant: String,
    pub(crate) window: &'static str,
}

/// One label: why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByReason {
    pub(crate) reason: &'static str,
}

/// See [`metrics`].
pub(crate) struct Metrics {
    pub(crate) requests: Family<Request, Counter>,
    pub(crate) durations: Family<ByRoute, Histogram, fn() -> Histogram>,
    pub(crate) utilization: Family<BudgetOf, Gauge<f64, AtomicU64>>,
    pub(crate) listeners: Gauge,
    pub(crate) streams_ended: Family<ByReason, Counter>,
    pub(crate) projection_lag: Gauge,
    pub(crate) dead_letters_kept: Gauge,
    pub(crate) tools_in_doubt: Gauge,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            utilization: Family::default(),
            listeners: Gauge::default(),
            streams_ended: Family::default(),
            projection_lag: Gauge::default(),
            dead_letters_kept: Gauge::default(),
            tools_in_doubt: Gauge::default(),
        };
        let m = &metrics;
        let help = "HTTP requests, by route, method and status";
        registry.register("agent_requests", help, m.requests.clone());
        let help = "Time to the head of the answer, by route";
        registry.register_with_unit(
            "agent_request_duration",
            help,
            Unit::Seconds,
            m.durations.clone(),
        );
        let help = "Spent and reserved against the limit of the tenant, the unit that is fullest";
        registry.register_with_unit(
            "budget_utilization",
            help,
            Unit::Other("ratio".to_owned()),
            m.utilization.clone(),
        );
        let help = "Event streams that are open";
        registry.register("gateway_event_streams", help, m.listeners.clone());
        let help = "Event streams that ended, by reason";
        registry.register("gateway_event_streams_ended", help, m.streams_ended.clone());
        let help = "Sequences that the read models are behind the event log";
        registry.register("gateway_read_model_lag", help, m.projection_lag.clone());
        let help = "Dead letters that are kept";
        registry.register("gateway_dead_letters", help, m.dead_letters_kept.clone());
        let help = "Tool calls of which nobody knows whether they happened";
        registry.register("gateway_tools_in_doubt", help, m.tools_in_doubt.clone());
        metrics
    }
}
