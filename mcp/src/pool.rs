//! Servers and the connections to them: one a tenant, for what a server keeps of one must not show up
//! with another. They are made when they are first needed, made again when they were lost, and ended
//! when nobody has used them for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, JsonObject, MetaObject, PaginatedRequestParams,
    RequestMetaObject,
};
use rmcp::service::ServiceError;
use rmcp::transport::streamable_http_client::StreamableHttpError;
use serde_json::{Map, Value};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};

use crate::answer;
use crate::config::{ConfigError, McpServerConfig, Reach};
use crate::connect::Connection;
use crate::import::Listing;

/// A connection that nobody has used for so long is ended.
const IDLE: Duration = Duration::from_secs(300);
/// After a server did not start it is left alone for so long.
const RETRY: Duration = Duration::from_secs(2);
/// Tools and pages of them that are read of one server.
const MOST_TOOLS: usize = 256;
const MOST_PAGES: usize = 32;

/// All servers of the configuration.
#[derive(Debug, Default)]
pub struct Servers {
    servers: BTreeMap<String, Arc<Server>>,
}

#[derive(Debug)]
struct Server {
    config: McpServerConfig,
    reach: Reach,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// The connection of a tenant, or its place.
#[derive(Debug)]
struct Slot {
    state: AsyncMutex<State>,
    used: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    failed: Option<(Instant, String)>,
}

/// A call.
#[derive(Clone, Debug)]
pub struct RemoteCall<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// The server, as configuration names it.
    pub server: &'a str,
    /// The tool's name there.
    pub tool: &'a str,
    /// Its arguments.
    pub arguments: &'a Map<String, Value>,
    /// What the server is told beside them.
    pub meta: Map<String, Value>,
    /// From now to the answer.
    pub time: Duration,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A result.
    Done(Value),
    /// An error.
    Failed {
        /// Stable code; `bad_arguments` where others would do.
        code: String,
        /// What is wrong, in the server's words.
        message: String,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The call was not sent: it had no effect.
    #[error("{message}")]
    NotSent {
        /// Stable code.
        code: &'static str,
        /// Why, for the model.
        message: String,
    },
    /// The call was sent, and may have taken effect.
    #[error("{0}")]
    Lost(String),
}

impl Servers {
    /// Servers as they are configured; `variable` is the environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(
        configs: Vec<McpServerConfig>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut servers = BTreeMap::new();
        for config in configs {
            let reach = config.reach(variable)?;
            let name = config.name.clone();
            let server = Server {
                config,
                reach,
                slots: Mutex::default(),
            };
            if servers.insert(name.clone(), Arc::new(server)).is_some() {
                let reason = "there are two of this name".to_owned();
                return Err(ConfigError {
                    server: name,
                    reason,
                });
            }
        }
        Ok(Self { servers })
    }

    /// The configuration of a server that the tenant may use.
    ///
    /// # Errors
    /// [`CallError::NotSent`]: there is none.
    pub fn config(&self, tenant: &str, name: &str) -> Result<&McpServerConfig, CallError> {
        self.server(tenant, name).map(|server| &server.config)
    }

    /// Calls a tool. Dropping the future tells the server that nobody waits any more.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, call: RemoteCall<'_>) -> Result<Answer, CallError> {
        let server = self.server(call.tenant, call.server)?;
        let began = Instant::now();
        let connection = server.connection(call.tenant, call.time, false).await?;
        let mut params = CallToolRequestParams::new(call.tool.to_owned())
            .with_arguments(JsonObject::from_iter(call.arguments.clone()));
        params.meta = Some(RequestMetaObject(MetaObject(call.meta)));
        let left = call.time.saturating_sub(began.elapsed());
        let asked = timeout(left, connection.service.call_tool_once(params)).await;
        let Ok(asked) = asked else {
            let millis = call.time.as_millis();
            return Err(CallError::Lost(format!("no answer within {millis} ms")));
        };
        match asked {
            Ok(CallToolResponse::Complete(result)) => {
                connection.meter.answered();
                Ok(answer::of_result(result))
            }
            Ok(CallToolResponse::InputRequired(_)) => Ok(answer::failed(
                "needs_input",
                "the server asks for more than the arguments, and runs have nobody who answers",
            )),
            Ok(_) => Err(CallError::Lost(
                "the server goes on with it in a task of its own".to_owned(),
            )),
            Err(error) => server.no_result(error, &connection).await,
        }
    }

    /// The tools of a server, as it tells of them.
    ///
    /// # Errors
    /// [`CallError::NotSent`].
    pub async fn list(&self, tenant: &str, name: &str) -> Result<Listing, CallError> {
        let server = self.server(tenant, name)?;
        let time = server.config.start_timeout().duration();
        let listing = async {
            // The program may have been replaced, and the library keeps lists for a while.
            let connection = server.connection(tenant, time, true).await?;
            let info = connection.service.peer_info();
            let server_info = info.as_deref().and_then(|info| info.server_info.as_ref());
            let mut listing = Listing {
                version: server_info.map(|info| info.version.clone()),
                ..Listing::default()
            };
            let mut cursor = None;
            for _ in 0..MOST_PAGES {
                let params = PaginatedRequestParams::default().with_cursor(cursor);
                let page = connection.service.list_tools(Some(params)).await;
                let page = match page {
                    Ok(page) => page,
                    Err(error) => {
                        let message = server.cannot_list(error, &connection).await;
                        return Err(not_sent("server_failed", message));
                    }
                };
                connection.meter.answered();
                listing.tools.extend(page.tools);
                cursor = page.next_cursor;
                listing.cut = listing.tools.len() > MOST_TOOLS || cursor.is_some();
                if cursor.is_none() || listing.tools.len() > MOST_TOOLS {
                    break;
                }
            }
            listing.tools.truncate(MOST_TOOLS);
            Ok(listing)
        };
        let late = || {
            let message = format!("the MCP server {name} did not tell its tools in time");
            Err(not_sent("server_failed", message))
        };
        timeout(time, listing).await.unwrap_or_else(|_| late())
    }

    fn server(&self, tenant: &str, name: &str) -> Result<&Arc<Server>, CallError> {
        let server = self.servers.get(name);
        // A server that is not the tenant's is one that does not exist.
        let server = server.filter(|server| server.config.serves(tenant));
        server.ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            not_sent(
                "no_such_server",
                format!("no MCP server {name:?} is configured"),
            )
        })
    }
}

impl Server {
    /// The tenant's connection, made where there is none, or anew.
    async fn connection(
        &self,
        tenant: &str,
        time: Duration,
        anew: bool,
    ) -> Result<Arc<Connection>, CallError> {
        let slot = self.slot(tenant)?;
        let name = &self.config.name;
        let unreachable = |reason: &str| {
            let message = format!("the MCP server {name} cannot be used now: {reason}");
            not_sent("server_unreachable", message)
        };
        let time = time.min(self.config.start_timeout().duration());
        let made = timeout(time, async {
            let mut state = slot.state.lock().await;
            if let Some(connection) = &state.connection
                && !anew
                && !connection.is_closed()
            {
                return Ok(Arc::clone(connection));
            }
            // Calls that are on their way keep the old one until they are done.
            if let Some(old) = state.connection.take().and_then(Arc::into_inner) {
                tokio::spawn(old.stop());
            }
            if let Some((at, reason)) = &state.failed
                && at.elapsed() < RETRY
            {
                return Err(unreachable(reason));
            }
            match Connection::open(&self.config, &self.reach).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    *state = State {
                        connection: Some(Arc::clone(&connection)),
                        failed: None,
                    };
                    Ok(connection)
                }
                Err(reason) => {
                    let error = unreachable(&reason);
                    state.failed = Some((Instant::now(), reason));
                    Err(error)
                }
            }
        });
        made.await
            .unwrap_or_else(|_| Err(unreachable("no connection came about in time")))
    }

    fn slot(&self, tenant: &str) -> Result<Arc<Slot>, CallError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(tenant) {
            slot.touch();
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= self.config.connections() {
            let idle = slots.iter().filter(|(_, slot)| slot.is_free());
            let oldest = idle.min_by_key(|(_, slot)| slot.last_use());
            let oldest = oldest.map(|(tenant, _)| tenant.clone()).ok_or_else(|| {
                let name = &self.config.name;
                let message = format!("the MCP server {name} has all its connections in use");
                not_sent("server_busy", message)
            })?;
            if let Some(slot) = slots.remove(&oldest) {
                tokio::spawn(async move { slot.end().await });
            }
        }
        let slot = Arc::new(Slot {
            state: AsyncMutex::default(),
            used: Mutex::new(Instant::now()),
        });
        slots.insert(tenant.to_owned(), Arc::clone(&slot));
        tokio::spawn(end_when_idle(Arc::downgrade(&slot)));
        Ok(slot)
    }

    /// What an error says of a call that was made.
    async fn no_result(
        &self,
        error: ServiceError,
        connection: &Connection,
    ) -> Result<Answer, CallError> {
        let name = &self.config.name;
        match error {
            ServiceError::McpError(error) => {
                connection.meter.answered();
                Ok(answer::of_error(&error))
            }
            // Something was answered, so it was heard.
            ServiceError::UnexpectedResponse => Ok(answer::failed(
                "bad_answer",
                "the server's answer is no result of a tool",
            )),
            ServiceError::TransportSend(error) => {
                let http = error
                    .error
                    .downcast_ref::<StreamableHttpError<reqwest::Error>>();
                match http.and_then(refused) {
                    Some(reason) => {
                        let message = format!("the MCP server {name} was not reached: {reason}");
                        Err(not_sent("server_unreachable", message))
                    }
                    None => Err(CallError::Lost("the connection broke".to_owned())),
                }
            }
            ServiceError::TransportClosed => {
                let reason = connection.last_words(&self.config).await;
                Err(CallError::Lost(reason))
            }
            _ => Err(CallError::Lost("the server broke it off".to_owned())),
        }
    }

    async fn cannot_list(&self, error: ServiceError, connection: &Connection) -> String {
        let name = &self.config.name;
        let reason = match error {
            ServiceError::McpError(error) => format!("error {}", error.code.0),
            ServiceError::UnexpectedResponse => "what it answers is no list of tools".to_owned(),
            ServiceError::TransportClosed => connection.last_words(&self.config).await,
            _ => "the connection broke".to_owned(),
        };
        format!("the MCP server {name} does not tell its tools: {reason}")
    }
}

impl Slot {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_use(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody uses it: no call has the connection, and none makes it.
    fn is_free(&self) -> bool {
        match self.state.try_lock() {
            Ok(state) => (state.connection.as_ref())
                .is_none_or(|connection| Arc::strong_count(connection) == 1),
            Err(_) => false,
        }
    }

    async fn end(&self) {
        let connection = self.state.lock().await.connection.take();
        // A call that has it still keeps it until it is done; then it is dropped and killed.
        if let Some(connection) = connection.and_then(Arc::into_inner) {
            connection.stop().await;
        }
    }
}

/// Ends connections that nobody uses, as long as there is the place.
async fn end_when_idle(slot: Weak<Slot>) {
    loop {
        sleep(IDLE / 4).await;
        let Some(slot) = slot.upgrade() else {
            return;
        };
        if slot.last_use().elapsed() >= IDLE && slot.is_free() {
            slot.end().await;
        }
    }
}

/// Why a request certainly did not reach a tool.
fn refused(error: &StreamableHttpError<reqwest::Error>) -> Option<String> {
    match error {
        StreamableHttpError::Client(error) if error.is_connect() => {
            Some("no connection".to_owned())
        }
        StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_) => {
            Some("it wants other credentials than are configured".to_owned())
        }
        StreamableHttpError::HttpStatus(error) if matches!(error.status, 429 | 503) => {
            Some(format!("HTTP {}", error.status))
        }
        _ => None,
    }
}

fn not_sent(code: &'static str, message: String) -> CallError {
    CallError::NotSent { code, message }
}
