//! What executes a call, by the kind of its tool. One trait, and one match that knows all kinds.

mod builtin;
pub(crate) mod guests;
mod mcp;
mod nats;

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::Bus;
use nexus_bus::objects::Objects;
use nexus_events::tool::{CODE_EXECUTION, ToolDefinition, ToolKind};
use nexus_events::{RunId, Tenant};
use serde_json::Value;

use crate::ToolError;
use crate::builtin::CallContext;
use crate::builtin::http::{Http, System};
use crate::settings::ToolsSettings;
use builtin::BuiltinTools;
use guests::Guests;
use mcp::McpServers;
use nats::NatsWorkers;

/// A call that is to be executed.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) run_id: RunId,
    /// The turn that asked for it.
    pub(crate) turn: u32,
    pub(crate) call_id: &'a str,
    /// How often it was started, this time included.
    pub(crate) attempt: u32,
    /// The same for every attempt of the call.
    pub(crate) idempotency_key: &'a str,
    pub(crate) definition: &'a ToolDefinition,
    /// Of the definition.
    pub(crate) digest: &'a str,
    /// Executing it twice does what executing it once does.
    pub(crate) idempotent: bool,
    /// What it may touch and take, all things considered.
    pub(crate) context: &'a CallContext,
    pub(crate) arguments: &'a Value,
    /// From now to its result.
    pub(crate) time: Duration,
    pub(crate) traceparent: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// A result.
    Done(Value),
    /// An error, which the model is told.
    Failed {
        /// Stable code; `bad_arguments` where the model may correct itself.
        code: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// It may have taken effect or not.
    Unknown(String),
}

impl Outcome {
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

impl From<Result<Value, ToolError>> for Outcome {
    fn from(result: Result<Value, ToolError>) -> Self {
        match result {
            Ok(output) => Self::Done(output),
            Err(error) => Self::failed(error.code, error.message),
        }
    }
}

/// Executes calls of one kind of tool. It keeps to `call.time`; dropping the future breaks the call
/// off.
pub(crate) trait Executor {
    /// Executes the call.
    fn call(&self, call: &Call<'_>) -> impl Future<Output = Outcome> + Send;

    /// Says to whoever works on the call that nobody waits for it any more.
    fn cancelled(&self, _call: &Call<'_>) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// All kinds.
pub(crate) struct Executors {
    builtin: BuiltinTools,
    pub(crate) guests: Guests,
    nats: NatsWorkers,
    mcp: McpServers,
}

impl Executors {
    pub(crate) fn new(bus: Bus, objects: Objects, settings: ToolsSettings) -> Self {
        let http = Http::new(System);
        let servers = Arc::clone(&settings.servers);
        Self {
            mcp: McpServers::new(bus.clone(), servers),
            builtin: BuiltinTools::new(http.clone()),
            guests: Guests::new(settings, objects, http),
            nats: NatsWorkers::new(bus),
        }
    }
}

impl Executors {
    /// Does what can be done before a call's time begins to run.
    pub(crate) async fn prepare(
        &self,
        tenant: &Tenant,
        definition: &ToolDefinition,
        digest: &str,
        arguments: &Value,
    ) {
        let is_code = match &definition.kind {
            ToolKind::Builtin => definition.name == CODE_EXECUTION,
            ToolKind::Wasm { .. } | ToolKind::Javascript { .. } | ToolKind::Python { .. } => true,
            ToolKind::Mcp { .. } | ToolKind::Nats => false,
        };
        if is_code {
            let guests = &self.guests;
            guests.prepare(tenant, definition, digest, arguments).await;
        }
    }
}

impl Executor for Executors {
    async fn call(&self, call: &Call<'_>) -> Outcome {
        match &call.definition.kind {
            ToolKind::Builtin => self.builtin.call(call, &self.guests).await,
            ToolKind::Nats => self.nats.call(call).await,
            ToolKind::Wasm { .. } | ToolKind::Javascript { .. } | ToolKind::Python { .. } => {
                self.guests.call(call).await
            }
            ToolKind::Mcp { .. } => self.mcp.call(call).await,
        }
    }

    async fn cancelled(&self, call: &Call<'_>) {
        match &call.definition.kind {
            ToolKind::Nats => self.nats.cancelled(call).await,
            ToolKind::Builtin
            | ToolKind::Wasm { .. }
            | ToolKind::Javascript { .. }
            | ToolKind::Python { .. }
            | ToolKind::Mcp { .. } => {}
        }
    }
}
