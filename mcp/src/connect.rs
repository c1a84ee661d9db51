//! A connection to a server: over a program's standard input and output, or over HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt, NotificationContext,
    RunningService,
};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport};
use rmcp::{ClientHandler, RoleClient};

use crate::child::{self, Child, Pipes};
use crate::config::{McpServerConfig, Protocol, Reach};
use crate::frames::{Meter, Metered};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a program that has just been told to end is waited for, each time it is asked.
const GRACE: Duration = Duration::from_secs(2);
/// How long a connection that was lost is asked why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Who we say we are. What a server asks of us is declined: runs have no roots to list, and neither
/// models nor people of theirs answer a server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    server: String,
}

impl ClientHandler for Client {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        tracing::warn!(
            server = %self.server,
            "an MCP server says that its tools have changed; what was imported stays as it is until \
             it is imported again"
        );
    }

    fn get_info(&self) -> ClientConfig {
        let nexus = Implementation::new("nexus", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), nexus)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) service: RunningService<RoleClient, Client>,
    pub(crate) meter: Arc<Meter>,
    child: Option<Child>,
}

impl Connection {
    /// Makes one. A program that does not come to speak is killed.
    pub(crate) async fn open(config: &McpServerConfig, reach: &Reach) -> Result<Self, String> {
        let meter = Arc::new(Meter::default());
        let most = config.max_message();
        match reach {
            Reach::Program {
                command,
                args,
                env,
                dir,
            } => {
                let mut command = child::command(command, args, env.iter());
                if let Some(dir) = dir {
                    command.current_dir(dir);
                }
                let started = Child::spawn(command);
                let (child, Pipes { stdin, stdout }) =
                    started.map_err(|error| format!("it cannot be started: {error}"))?;
                let stdout = Metered::new(stdout, Arc::clone(&meter), most);
                let transport = AsyncRwTransport::<RoleClient, _, _>::new(stdout, stdin)
                    .with_max_line_length(usize::MAX);
                match serve(config, transport).await {
                    Ok(service) => Ok(Self {
                        service,
                        meter,
                        child: Some(child),
                    }),
                    Err(error) => Err(failed(config, &error, &meter, Some(&child)).await),
                }
            }
            Reach::Http { .. } => {
                let transport = http(reach, most)?;
                match serve(config, transport).await {
                    Ok(service) => Ok(Self {
                        service,
                        meter,
                        child: None,
                    }),
                    Err(error) => Err(failed(config, &error, &meter, None).await),
                }
            }
        }
    }

    /// Whether nothing can be called over it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.service.is_closed() || self.service.is_transport_closed()
    }

    /// Why it was lost.
    pub(crate) async fn last_words(&self, config: &McpServerConfig) -> String {
        match lost(config, &self.meter, self.child.as_ref()).await {
            Some(reason) => reason,
            None => "the connection was closed".to_owned(),
        }
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        // Closes its standard input, or the session.
        let _ = self.service.close_with_timeout(GRACE).await;
        if let Some(child) = &self.child {
            child.stop(GRACE).await;
        }
    }
}

async fn serve<T, E, A>(
    config: &McpServerConfig,
    transport: T,
) -> Result<RunningService<RoleClient, Client>, ClientInitializeError>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let client = Client {
        server: config.name.clone(),
    };
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match config.protocol {
        Protocol::Auto => ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
        Protocol::Handshake => ClientLifecycleMode::Initialize,
        Protocol::Stateless => ClientLifecycleMode::Discover { preferred_versions },
    };
    Box::pin(client.serve_with_lifecycle(transport, lifecycle)).await
}

fn http(
    reach: &Reach,
    most: u64,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    let Reach::Http {
        url,
        headers,
        bearer,
    } = reach
    else {
        return Err("it has no address".to_owned());
    };
    // Its address is the operator's word; where a redirect leads is not. And a call is sent once.
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        // As rmcp's own client: a connection whose last answer was not read to its end stalls.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no HTTP client: {error}"))?;
    let mut named = HashMap::new();
    for (name, value) in headers {
        let bad = || format!("the header {name:?} cannot be sent");
        let value = HeaderValue::from_str(value.reveal()).map_err(|_| bad())?;
        named.insert(name.parse::<HeaderName>().map_err(|_| bad())?, value);
    }
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(named)
        // What waits here would count as sent; a tool's own limit is what bounds it.
        .max_concurrent_requests(1024)
        .max_sse_event_size(usize::try_from(most).unwrap_or(usize::MAX));
    if let Some(bearer) = bearer {
        config = config.auth_header(bearer.reveal());
    }
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// Why no connection came about, without a word of the server's own: it is told to whoever asked.
async fn failed(
    config: &McpServerConfig,
    error: &ClientInitializeError,
    meter: &Meter,
    child: Option<&Child>,
) -> String {
    if let Some(reason) = lost(config, meter, child).await {
        return reason;
    }
    match error {
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            "it speaks no revision of the protocol that is known here".to_owned()
        }
        error if error.is_authorization_required() => {
            "it wants other credentials than are configured".to_owned()
        }
        ClientInitializeError::JsonRpcError(error) => {
            format!("it refused the connection with error {}", error.code.0)
        }
        ClientInitializeError::TransportError { .. } => "it cannot be reached".to_owned(),
        _ => "it does not speak the protocol".to_owned(),
    }
}

/// What is known of a lost connection. The program's own last words go to our log alone.
async fn lost(config: &McpServerConfig, meter: &Meter, child: Option<&Child>) -> Option<String> {
    let ended = match child {
        Some(child) => child.ended_within(LAST_WORDS).await,
        None => None,
    };
    let reason = meter.broken().map(str::to_owned);
    let reason = reason.or_else(|| Some(format!("its program ended: {}", ended?)))?;
    let tail = child.map(Child::tail).unwrap_or_default();
    tracing::warn!(server = %config.name, reason, stderr = tail, "an MCP server was lost");
    Some(reason)
}
