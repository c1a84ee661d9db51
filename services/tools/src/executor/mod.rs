//! What executes a call, by the kind of its tool. One trait, and one match that knows all kinds.

mod builtin;
mod mcp;
mod nats;

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::Bus;
use nexus_events::tool::{ToolDefinition, ToolKind};
use nexus_events::{RunId, Tenant};
use nexus_mcp::Servers;
use serde_json::Value;

use crate::ToolError;
use builtin::Builtins;
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
    builtin: Builtins,
    nats: NatsWorkers,
    mcp: McpServers,
}

impl Executors {
    pub(crate) fn new(bus: Bus, servers: Arc<Servers>) -> Self {
        Self {
            builtin: Builtins,
            mcp: McpServers::new(bus.clone(), servers),
            nats: NatsWorkers::new(bus),
        }
    }
}

impl Executor for Executors {
    async fn call(&self, call: &Call<'_>) -> Outcome {
        match &call.definition.kind {
            ToolKind::Builtin => self.builtin.call(call).await,
            ToolKind::Nats => self.nats.call(call).await,
            ToolKind::Wasm { .. } => cannot("WebAssembly"),
            ToolKind::Javascript { .. } => cannot("JavaScript"),
            ToolKind::Python { .. } => cannot("Python"),
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

fn cannot(what: &str) -> Outcome {
    Outcome::failed(
        "not_executable",
        format!("this build of the platform cannot execute {what}"),
    )
}
