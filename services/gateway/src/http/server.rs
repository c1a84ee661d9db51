//! Connections. hyper is driven by hand, since `axum::serve` bounds neither the number of
//! connections, nor the size of a request's head, nor how long a client may take to send one.
//! HTTP/1.1 and HTTP/2 on one address; the client begins with whichever it speaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Service;
use tracing::{debug, warn};

use super::connections::{Connections, Place};
use super::stall::Patient;
use super::tls::Tls;
use crate::config::GatewayConfig;
use crate::source::Peer;

/// How long the head of the next request may take to come. It counts from the end of the last answer,
/// so it is longer than the 90 s for which many clients keep a connection that is idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
const MOST_HEADERS: usize = 100;
/// Requests at the same time on one HTTP/2 connection.
const MOST_STREAMS: u32 = 256;
/// What waits to be sent on one of them.
const STREAM_BUFFER_BYTES: usize = 256 * 1024;
/// How often an HTTP/2 connection must answer, and how fast.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What accepting waits after it failed: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are told at the same time that there are too many; the others are closed.
const MOST_TOLD: usize = 64;
/// How long one that is told may take to hear it.
const TOLD_TIMEOUT: Duration = Duration::from_millis(500);
const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\ncontent-length: 107\r\nretry-after: 1\r\n\
    connection: close\r\n\r\n";
const TOO_MANY_BODY: &str = r#"{"code":"overloaded","title":"overloaded","status":503,"detail":"too many connections are open; try again"}"#;

/// What every connection is served with.
struct Server {
    http: Builder<TokioExecutor>,
    router: Router,
    tls: Option<Arc<Tls>>,
    stall: Duration,
    head_timeout: Duration,
    stopping: CancellationToken,
}

/// What a connection holds while it is open: its place among those that may be, and its mark that the
/// end waits for it. A request that becomes a WebSocket takes a share of it along.
#[derive(Clone)]
pub(crate) struct Held(
    #[expect(dead_code, reason = "held, not read")] Arc<(Place, TaskTrackerToken)>,
);

/// Serves until `stopping`, then lets requests end for as long as the configuration says.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: &GatewayConfig,
    tls: Option<Arc<Tls>>,
    stopping: CancellationToken,
) {
    let open = Connections::new(config);
    let told = Arc::new(Semaphore::new(MOST_TOLD));
    let connections = TaskTracker::new();
    if let Some(tls) = tls.clone() {
        let stopping = stopping.clone();
        tokio::spawn(async move { stopping.run_until_cancelled(tls.renew()).await });
    }
    let server = Arc::new(Server {
        http: builder(config),
        router,
        tls,
        // Longer than a stream waits for its reader, so that the reason is on its way before the cut.
        stall: Duration::from_millis(config.stall_timeout_ms + config.stall_timeout_ms / 2),
        head_timeout: Duration::from_millis(config.head_timeout_ms),
        stopping: stopping.clone(),
    });
    while let Some((stream, peer)) = accept(&listener, &stopping).await {
        let Some(place) = open.enter(peer.ip()) else {
            // Whoever speaks TLS would not understand it.
            if server.tls.is_none()
                && let Ok(permit) = Arc::clone(&told).try_acquire_owned()
            {
                tokio::spawn(async move {
                    let _ = timeout(TOLD_TIMEOUT, turn_away(stream)).await;
                    drop(permit);
                });
            }
            continue;
        };
        let server = Arc::clone(&server);
        let held = Held(Arc::new((place, connections.token())));
        tokio::spawn(async move { server.connection(stream, peer, held).await });
    }
    drop(listener);
    connections.close();
    let drain = Duration::from_millis(config.drain_timeout_ms);
    if timeout(drain, connections.wait()).await.is_err() {
        warn!(
            open = connections.len(),
            "requests were still going when the gateway stopped"
        );
    }
}

fn builder(config: &GatewayConfig) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(config.head_limit_bytes)
        .max_headers(MOST_HEADERS);
    let head_limit = u32::try_from(config.head_limit_bytes).unwrap_or(u32::MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(head_limit)
        .max_send_buf_size(STREAM_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, held: Held) {
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, held).await;
        };
        // Boxed: a connection without it needs no room for what is said in it.
        Box::pin(self.encrypted(tls, stream, peer, held)).await;
    }

    async fn encrypted(&self, tls: &Tls, stream: TcpStream, peer: SocketAddr, held: Held) {
        match timeout(self.head_timeout, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, peer, held).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
    }

    async fn requests<S>(&self, stream: S, peer: SocketAddr, held: Held)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(held.clone());
            self.router.clone().call(request)
        });
        let stream = TokioIo::new(Patient::new(stream, self.stall));
        let mut connection = Box::pin(self.http.serve_connection_with_upgrades(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = says_nothing(&begun, self.head_timeout) => {
                debug!("a connection sent no request");
                return;
            }
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke");
        }
    }
}

/// Ends when no request has begun in time.
async fn says_nothing(begun: &AtomicBool, most: Duration) {
    sleep(most).await;
    if begun.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Says that there are too many. What the other side sends is taken: else its system would drop the
/// answer with the connection.
async fn turn_away(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(TOO_MANY.as_bytes()).await?;
    stream.write_all(TOO_MANY_BODY.as_bytes()).await?;
    stream.shutdown().await?;
    let mut taken = [0; 1024];
    while stream.read(&mut taken).await? > 0 {}
    Ok(())
}

/// The next connection; none when it is time to stop.
async fn accept(
    listener: &TcpListener,
    stopping: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    let next = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Events are small and wanted at once. A socket that refuses is slower only.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stopping.run_until_cancelled(next).await
}
