//! Tools of MCP servers. What a call is, beside its arguments, goes as metadata; that nobody waits for
//! it any more is told to the server when the future is dropped.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, trace};
use nexus_events::tool::ToolKind;
use nexus_mcp::{Answer, CallError, RemoteCall, Servers};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::{Call, Executor, Outcome};

const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The servers of the configuration.
pub(super) struct McpServers {
    bus: Bus,
    servers: Arc<Servers>,
}

impl McpServers {
    pub(super) fn new(bus: Bus, servers: Arc<Servers>) -> Self {
        Self { bus, servers }
    }
}

impl Executor for McpServers {
    async fn call(&self, call: &Call<'_>) -> Outcome {
        let ToolKind::Mcp { server, tool } = &call.definition.kind else {
            return Outcome::failed("not_executable", "this is no tool of an MCP server");
        };
        let Value::Object(arguments) = call.arguments else {
            return Outcome::failed("bad_arguments", "arguments are an object");
        };
        let began = Instant::now();
        loop {
            let time = call.time.saturating_sub(began.elapsed());
            let remote = RemoteCall {
                tenant: call.tenant.as_str(),
                server,
                tool,
                arguments,
                meta: self.meta(call, time),
                time,
            };
            let again = began.elapsed() + ASK_AGAIN < call.time;
            match self.servers.call(remote).await {
                Ok(Answer::Done(output)) => return Outcome::Done(output),
                Ok(Answer::Failed { code, message }) => return Outcome::Failed { code, message },
                Err(CallError::NotSent { code, message }) => {
                    return Outcome::failed(code, message);
                }
                Err(CallError::Lost(reason)) if !call.idempotent => {
                    let message = format!("the MCP server {server} was asked, and {reason}");
                    return Outcome::Unknown(message);
                }
                Err(CallError::Lost(_)) if again => sleep(ASK_AGAIN).await,
                Err(CallError::Lost(reason)) => return Outcome::failed("timeout", reason),
            }
        }
    }
}

impl McpServers {
    fn meta(&self, call: &Call<'_>, time: Duration) -> Map<String, Value> {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let deadline = self.bus.now().plus_millis(millis);
        let mut meta = Map::new();
        let mut set = |name: &str, value: Value| {
            meta.insert(name.to_owned(), value);
        };
        set("nexus/idempotency-key", call.idempotency_key.into());
        set("nexus/run", call.run_id.to_string().into());
        set("nexus/turn", call.turn.into());
        set("nexus/call", call.call_id.into());
        set("nexus/attempt", call.attempt.into());
        set("nexus/tool", call.definition.name.as_str().into());
        set(
            "nexus/tool-version",
            call.definition.version.as_str().into(),
        );
        set("nexus/deadline", deadline.to_string().into());
        if let Some(traceparent) = trace::outgoing(call.traceparent) {
            set("traceparent", traceparent.into());
        }
        meta
    }
}
