//! The HTTP gateway: commands in, event streams and queries out. It holds no truth: what it accepts
//! is on the bus before it says so, what it shows comes from the log or the read models, and any
//! number of gateways may stand beside each other.
//!
//! [`routes`] lists every route in one place; the OpenAPI document is made from that list.

mod anthropic;
mod app;
mod commands;
mod config;
mod denials;
mod error;
mod http;
mod identity;
mod known;
mod limits;
mod mcp;
mod metrics;
mod openai;
mod openapi;
mod replies;
mod responses;
mod routes;
mod runs;
mod source;
mod stream;
mod tenants;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_bus::{Bus, Store};
use nexus_events::catalog::Catalog;
use nexus_projections::Projections;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use app::{App, Parts};
pub use config::{GatewayConfig, Secret};
use denials::Denials;
pub use error::GatewayError;
use http::body::UNIT as BODY_UNIT;
pub use http::cors::CorsConfig;
use http::tls::Tls;
pub use http::tls::TlsConfig;
use identity::Identity;
pub use identity::IssuerConfig;
use known::KnownRuns;
use limits::Limits;
pub use limits::{LimitsConfig, Rates};
use replies::Replies;
use source::Proxies;
use tenants::Tenants;

/// The OpenAPI document, as `/openapi.json` serves it.
pub fn openapi() -> serde_json::Value {
    openapi::document(&routes::all())
}

/// Listens where the configuration says and serves until `shutdown`.
///
/// # Errors
/// [`GatewayError`]: nothing was served.
pub async fn serve(
    config: GatewayConfig,
    bus: Bus,
    store: Store,
    projections: Projections,
    catalog: Arc<Catalog>,
    shutdown: CancellationToken,
) -> Result<(), GatewayError> {
    let gateway = Gateway::bind(config).await?;
    gateway
        .serve(bus, store, projections, catalog, shutdown)
        .await
}

/// A gateway that has its address and does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    config: GatewayConfig,
    listener: TcpListener,
    address: SocketAddr,
}

impl Gateway {
    /// Takes the address that the configuration names; port 0 takes any.
    ///
    /// # Errors
    /// [`GatewayError`]: the configuration is not usable, or the address is taken.
    pub async fn bind(config: GatewayConfig) -> Result<Self, GatewayError> {
        config.check(config.listen)?;
        let listen = config.listen;
        let failed = |source| GatewayError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        Self::on(config, listener)
    }

    /// Takes a listener that is bound already.
    ///
    /// # Errors
    /// [`GatewayError`]: the configuration is not usable, or forbids this address.
    pub fn on(config: GatewayConfig, listener: TcpListener) -> Result<Self, GatewayError> {
        let listen = config.listen;
        let address = listener
            .local_addr()
            .map_err(|source| GatewayError::Listen { listen, source })?;
        config.check(address)?;
        Ok(Self {
            config,
            listener,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then event streams end and requests may finish.
    ///
    /// # Errors
    /// [`GatewayError`]: nothing was served.
    pub async fn serve(
        self,
        bus: Bus,
        store: Store,
        projections: Projections,
        catalog: Arc<Catalog>,
        shutdown: CancellationToken,
    ) -> Result<(), GatewayError> {
        let Self {
            config,
            listener,
            address,
        } = self;
        let tenant = config.check(address)?;
        let identity = Identity::new(&config, tenant.clone(), address).map_err(|reason| {
            let field = "issuers";
            GatewayError::Config { field, reason }
        })?;
        let tls = match &config.tls {
            Some(files) => Some(Tls::load(files).await?),
            None => None,
        };
        // Outcomes are still taken while requests end; it stops with this function.
        let listening = CancellationToken::new();
        let _stop_listening = listening.clone().drop_guard();
        let replies = Replies::listen(&bus, config.max_waiting_commands, listening.clone()).await?;
        let stopping = announced(shutdown.clone(), config.drain_notice_ms);
        let (denials, recorder) = Denials::start(&config, store.clone(), listening.clone());
        let app = App::new(Parts {
            proxies: Proxies::parse(&config.trusted_proxies).unwrap_or_default(),
            denials,
            tenants: Tenants::with(tenant),
            identity,
            replies,
            known: KnownRuns::new(),
            limits: Limits::start(&config.limits, &bus, listening.clone()),
            metrics: metrics::metrics(),
            subjects: stream::heard::Subjects::new(),
            listeners: Arc::new(Semaphore::new(config.max_listeners)),
            connects: watch::connects(&bus, listening.clone()),
            bodies: Arc::new(Semaphore::new(config.body_memory_bytes / BODY_UNIT)),
            stopping: stopping.clone(),
            // Early enough to be told so.
            leaving: announced(stopping.clone(), config.drain_timeout_ms / 4 * 3),
            draining: shutdown.clone(),
            started_s: now_s(),
            config: config.clone(),
            bus,
            store,
            projections,
            catalog,
        });
        let router = routes::router(app);
        info!(%address, "the gateway listens");
        http::server::serve(listener, router, &config, tls, stopping).await;
        listening.cancel();
        let _ = recorder.await;
        Ok(())
    }
}

/// Stops some time after `shutdown`: meanwhile `/readyz` says so and whoever sends requests here can
/// look elsewhere.
fn announced(shutdown: CancellationToken, notice_ms: u64) -> CancellationToken {
    let stopping = CancellationToken::new();
    let stop = stopping.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(Duration::from_millis(notice_ms)).await;
        stop.cancel();
    });
    stopping
}

fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}
