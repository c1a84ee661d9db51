//! What all requests share. Cheap to clone; nothing in it is truth: a gateway that dies loses open
//! connections only.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::objects::Objects;
use nexus_bus::{Bus, Store};
use nexus_events::catalog::Catalog;
use nexus_projections::Projections;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::GatewayConfig;
use crate::denials::Denials;
use crate::http::ApiError;
use crate::identity::Identity;
use crate::known::KnownRuns;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::replies::Replies;
use crate::source::Proxies;
use crate::stream::heard::Subjects;
use crate::tenants::Tenants;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// Its parts.
pub(crate) struct Parts {
    pub(crate) config: GatewayConfig,
    pub(crate) identity: Identity,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) projections: Projections,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) replies: Arc<Replies>,
    pub(crate) known: KnownRuns,
    pub(crate) tenants: Tenants,
    pub(crate) proxies: Proxies,
    pub(crate) denials: Denials,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: &'static Metrics,
    /// What event streams listen to.
    pub(crate) subjects: Subjects,
    pub(crate) listeners: Arc<Semaphore>,
    /// Counts connections to the bus: whoever listens may have missed something when it changes.
    pub(crate) connects: watch::Receiver<u64>,
    /// What bodies that are being read may hold, in [`crate::http::body::UNIT`].
    pub(crate) bodies: Arc<Semaphore>,
    /// It is to stop soon: `/readyz` says so, and all else goes on.
    pub(crate) draining: CancellationToken,
    pub(crate) stopping: CancellationToken,
    /// Answers that are under way can wait no longer.
    pub(crate) leaving: CancellationToken,
    /// When the process began, in seconds since the epoch.
    pub(crate) started_s: i64,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn config(&self) -> &GatewayConfig {
        &self.0.config
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.0.bus
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn projections(&self) -> &Projections {
        &self.0.projections
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    pub(crate) fn replies(&self) -> &Arc<Replies> {
        &self.0.replies
    }

    pub(crate) fn known(&self) -> &KnownRuns {
        &self.0.known
    }

    pub(crate) fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.0.proxies
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.0.denials
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn metrics(&self) -> &'static Metrics {
        self.0.metrics
    }

    pub(crate) fn subjects(&self) -> &Subjects {
        &self.0.subjects
    }

    pub(crate) fn listeners(&self) -> &Arc<Semaphore> {
        &self.0.listeners
    }

    pub(crate) fn connects(&self) -> watch::Receiver<u64> {
        self.0.connects.clone()
    }

    pub(crate) fn bodies(&self) -> &Arc<Semaphore> {
        &self.0.bodies
    }

    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    pub(crate) fn leaving(&self) -> &CancellationToken {
        &self.0.leaving
    }

    pub(crate) fn started_s(&self) -> i64 {
        self.0.started_s
    }

    /// Texts that are too large for an event, up to what is given whole.
    pub(crate) fn objects(&self) -> Objects {
        Objects::new(self.0.bus.clone(), self.0.config.resolve_limit_bytes)
    }

    /// What the bus is asked, given up in time to say so: the bus itself is retried for longer than
    /// a caller waits.
    pub(crate) async fn in_time<T, E: Into<ApiError>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        let most = Duration::from_millis(self.0.config.request_timeout_ms / 2);
        match tokio::time::timeout(most, asked).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(ApiError::bus_away(format!(
                "the bus did not answer for {} ms; it is safe to ask again, for a command with the \
                 same Idempotency-Key or id",
                most.as_millis()
            ))),
        }
    }

    pub(crate) fn min_seq_timeout(&self) -> Duration {
        Duration::from_millis(self.0.config.min_seq_timeout_ms)
    }
}
