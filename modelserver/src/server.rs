//! Starting and stopping the server.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::route::{Shared, router};
use crate::script::{Options, Script};
use crate::stats::{Counters, Recorded, Sent};

/// The server could not listen or stopped by an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address could not be bound.
    #[error("the model server cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Accepting connections failed.
    #[error("the model server stopped")]
    Stopped(#[source] std::io::Error),
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), std::io::Error>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("counters", &self.stats.counters())
            .finish_non_exhaustive()
    }
}

impl ModelServer {
    /// Starts a server on a free port of the loopback interface.
    pub async fn start(options: Options) -> Result<Self, ServeError> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), options).await
    }

    /// Starts a server on `address`; port 0 takes a free one.
    pub async fn start_on(address: SocketAddr, options: Options) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, mut stopping) = watch::channel(false);
        let shared = Arc::new(Shared::new(options, stopping.clone()));
        let app = router(shared.clone());
        let accepted = shared.clone();
        let listener = listener.tap_io(move |connection| {
            accepted.stats.add(&accepted.stats.connections, 1);
            // Without it a piece of a stream can wait 40 ms for the acknowledgement of the last.
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
        });
        let stopped = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let serve = axum::serve(listener, app).with_graceful_shutdown(stopped);
        let task = tokio::spawn(async move { serve.await });
        Ok(Self {
            address,
            shared,
            stop,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL as OpenAI clients want it, `http://…/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Replaces the script.
    pub fn set_script(&self, script: Script) {
        *self
            .shared
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        self.shared.stats.counters()
    }

    /// The last requests, oldest first, at most 1,024.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.stats.recorded()
    }

    /// What each of the last requests got, oldest first, at most 65,536.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.stats.sent()
    }

    /// Waits until the counters satisfy `condition`; false if `patience` ran out before.
    pub async fn wait_until(
        &self,
        patience: Duration,
        mut condition: impl FnMut(&Counters) -> bool,
    ) -> bool {
        let satisfied = async {
            loop {
                let mut changed = std::pin::pin!(self.shared.stats.changed.notified());
                // Registered before the look, so that no change falls between the two.
                changed.as_mut().enable();
                if condition(&self.counters()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, satisfied).await.is_ok()
    }

    /// Stops: answers under way are cut, connections closed, the port is free again.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::debug!(%error, "the model server's task ended");
        }
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Serves on `listen` until the future is dropped.
pub async fn serve(listen: SocketAddr, options: Options) -> Result<(), ServeError> {
    let mut server = ModelServer::start_on(listen, options).await?;
    tracing::info!(base_url = %server.base_url(), "the model server listens");
    match (&mut server.task).await {
        Ok(ended) => ended.map_err(ServeError::Stopped),
        Err(error) => Err(ServeError::Stopped(std::io::Error::other(error))),
    }
}
