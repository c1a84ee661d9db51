//! Connections. hyper is driven by hand, since `axum::serve` bounds neither the number of
//! connections, nor the size of a request's head, nor how long a client may take to send one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer;
use tracing::{debug, warn};

use super::stall::Patient;
use crate::config::GatewayConfig;
use crate::source::Peer;

/// How long the head of the next request may take to come. It counts from the end of the last answer,
/// so it is longer than the 90 s for which many clients keep a connection that is idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
const MOST_HEADERS: usize = 100;
/// What accepting waits after it failed: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopping`, then lets requests end for as long as the configuration says.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: &GatewayConfig,
    stopping: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(config.max_connections));
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(config.head_limit_bytes)
        .max_headers(MOST_HEADERS);
    while let Some((stream, peer, permit)) = accept(&listener, &room, &stopping).await {
        let service = Extension(Peer(peer)).layer(router.clone());
        let service = TowerToHyperService::new(service);
        let stream = Patient::new(stream, Duration::from_millis(config.stall_timeout_ms));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let stopping = stopping.clone();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a connection broke");
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    let drain = Duration::from_millis(config.drain_timeout_ms);
    if tokio::time::timeout(drain, connections.wait())
        .await
        .is_err()
    {
        warn!(
            open = connections.len(),
            "requests were still going when the gateway stopped"
        );
    }
}

/// The next connection, once there is room for it; none when it is time to stop.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    stopping: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let next = async {
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Events are small and wanted at once. A socket that refuses is slower only.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer, permit));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stopping.run_until_cancelled(next).await.flatten()
}
