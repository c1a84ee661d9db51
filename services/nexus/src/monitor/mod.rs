//! What an operator asks of one process, whichever roles it has: whether it lives, whether it can
//! work, and its figures. A role that listens to the bus alone cannot be asked otherwise, neither by
//! an orchestrator nor by Prometheus.
//!
//! It is not the gateway's own `/readyz`, which tells callers whether that gateway should be sent
//! requests. It has no credentials: it says nothing of any tenant's content, and it listens where the
//! configuration says and nowhere else.

mod process;

use std::net::SocketAddr;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nexus_bus::{Bus, metrics, read, topology};
use nexus_events::subject;
use nexus_projections::Projections;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::roles::Role;

/// How long a check may take.
const CHECK: Duration = Duration::from_secs(2);

/// Where the process is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MonitorConfig {
    /// Address, such as `0.0.0.0:9464`; none listens unless this says where.
    pub(crate) listen: Option<SocketAddr>,
}

/// What is known so far: a process that waits for its servers is asked already.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    bus: OnceLock<Bus>,
    database: OnceLock<Projections>,
    roles: OnceLock<Vec<&'static str>>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    version: &'static str,
    roles: Vec<&'static str>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Listens where the configuration says, until `stop`; not at all where it says nothing.
///
/// # Errors
/// [`Failure::Monitor`]: the address cannot be had.
pub(crate) async fn start(
    config: &MonitorConfig,
    stop: CancellationToken,
) -> Result<Arc<Watched>, Failure> {
    let watched = Arc::new(Watched::default());
    // A start may be tried again, on another port.
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| metrics::register(process::register));
    let Some(address) = config.listen else {
        return Ok(watched);
    };
    let failed = |source| Failure::Monitor { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "monitor listens");
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures))
        .with_state(Arc::clone(&watched));
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, "the monitor ended");
        }
    });
    Ok(watched)
}

impl Watched {
    /// The bus, as soon as one knows its address.
    pub(crate) fn bus(&self, bus: &Bus) {
        // Set once, for a process has one.
        let _ = self.bus.set(bus.clone());
    }

    /// Who works here, and the database of those who have one. From now on the process is ready
    /// when its servers are.
    pub(crate) fn roles(&self, roles: &[Role], database: Option<&Projections>) {
        if let Some(database) = database {
            let _ = self.database.set(database.clone());
        }
        let names = roles.iter().map(|role| role.name()).collect();
        let _ = self.roles.set(names);
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checks = vec![Check::new("roles", self.started())];
        checks.push(Check::new("bus", self.check_bus().await));
        if let Some(database) = self.database.get() {
            let applied = timeout(CHECK, database.applied_seq()).await;
            let found = match applied {
                Ok(Ok(seq)) => Ok(format!("sequence {seq} is applied")),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(too_slow("the database")),
            };
            checks.push(Check::new("database", found));
        }
        checks
    }

    fn started(&self) -> Result<String, String> {
        match self.roles.get() {
            Some(_) => Ok("they work".to_owned()),
            None => Err("the process is starting".to_owned()),
        }
    }

    async fn check_bus(&self) -> Result<String, String> {
        let Some(bus) = self.bus.get().filter(|bus| bus.is_connected()) else {
            return Err("there is no connection to the bus".to_owned());
        };
        let last = read::last(bus, topology::EVENTS, subject::ALL_EVENTS);
        match timeout(CHECK, last).await {
            Ok(Ok(last)) => {
                let seq = last.map_or(0, |last| last.seq);
                Ok(format!("the event log is at sequence {seq}"))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(too_slow("the event log")),
        }
    }
}

impl Check {
    fn new(name: &'static str, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        let (Ok(detail) | Err(detail)) = found;
        Self { name, ok, detail }
    }
}

fn too_slow(what: &str) -> String {
    format!("{what} did not answer within {} s", CHECK.as_secs())
}

async fn readyz(State(watched): State<Arc<Watched>>) -> (StatusCode, Json<Readiness>) {
    let checks = watched.checks().await;
    let ready = checks.iter().all(|check| check.ok);
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let readiness = Readiness {
        ready,
        version: env!("CARGO_PKG_VERSION"),
        roles: watched.roles.get().cloned().unwrap_or_default(),
        checks,
    };
    (status, Json(readiness))
}

async fn figures() -> Response {
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, media)], metrics::encoded()).into_response()
}
