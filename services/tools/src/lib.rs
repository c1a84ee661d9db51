//! The tool role: executes tool calls. A call is started on the log before it takes effect, and its
//! outcome is recorded once.

pub mod builtin;
mod calculator;
mod redact;
pub mod validate;

use std::sync::Arc;
use std::time::Instant;

use nexus_bus::{Bus, Store, process};
use nexus_bus::{Delivery, Failure, Handler, RoleSpec};
use nexus_events::catalog::{Catalog, Tokenizer};
use nexus_events::command::ExecuteTool;
use nexus_events::run::{self, RunEvent, ToolCompleted, ToolFailed, ToolOutcome, ToolPhase};
use nexus_events::tool::BuiltinTool;
use nexus_events::{Body, Command, tool};

/// What the role takes, and how.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 64,
    prefetch: 0,
    ..RoleSpec::new("tools", &["tool"])
};

/// Why a tool gave no result; the model is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolError {
    /// Stable code.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ToolError {
    fn arguments(message: impl Into<String>) -> Self {
        Self {
            code: "bad_arguments",
            message: message.into(),
        }
    }

    fn failed(message: impl Into<String>) -> Self {
        Self {
            code: "tool_failed",
            message: message.into(),
        }
    }
}

type Builtin = fn(&serde_json::Value) -> Result<serde_json::Value, ToolError>;

/// Every built-in tool and its code; [`nexus_events::tool`] has what is told of it.
const BUILTINS: &[(&str, Builtin)] = &[("calculator", calculator::call)];

/// The tool role.
pub struct ToolsRole {
    bus: Bus,
    store: Store,
    catalog: Arc<Catalog>,
}

/// A call that is to be executed.
struct Found {
    definition: &'static BuiltinTool,
    arguments: serde_json::Value,
    /// Fields that policy leaves out of arguments and result.
    redact: Vec<String>,
    /// Of the models that may read the result.
    tokenizers: Vec<Tokenizer>,
}

impl ToolsRole {
    /// The role over a bus, with the models that read what tools give.
    pub fn new(store: Store, catalog: Arc<Catalog>) -> Self {
        Self {
            bus: store.bus().clone(),
            store,
            catalog,
        }
    }

    async fn execute(&self, delivery: &Delivery, command: ExecuteTool) -> Result<(), Failure> {
        let ExecuteTool {
            run: reference,
            turn,
            call_id,
            round,
        } = command;
        let found = self.look_up(delivery, &reference, turn, &call_id, round);
        let Some(Found {
            definition,
            arguments,
            redact,
            tokenizers,
        }) = found.await?
        else {
            let (bus, store) = (&self.bus, &self.store);
            // What was held may have lapsed, and whoever recorded it may have died before the step
            // asked again.
            process::complete(bus, store, delivery, reference, "start").await?;
            return process::complete(bus, store, delivery, reference, "outcome").await;
        };
        let now = self.bus.now();
        let mut lapsed = false;
        let start = |run: &run::Run| {
            let events = run::start_tool(run, turn, &call_id, definition.version, now);
            lapsed = events
                .iter()
                .any(|event| matches!(event, RunEvent::ReservationLapsed(_)));
            Ok(events)
        };
        process::decide_run(&self.bus, &self.store, delivery, reference, "start", start).await?;
        if lapsed {
            // It asks the ledger again; what it may spend comes with another command.
            return Ok(());
        }
        let began = Instant::now();
        let result = match BUILTINS.iter().find(|(name, _)| *name == definition.name) {
            Some((_, call)) => call(&arguments),
            None => Err(ToolError::failed(
                "this version of the platform has no code for the tool",
            )),
        };
        let duration_ms = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let outcome = match result {
            Ok(mut output) => {
                redact::redact(&mut output, &redact);
                let output = output.to_string();
                let tokens = nexus_tokens::most(&tokenizers, &[&output]).await;
                ToolOutcome::Completed(ToolCompleted {
                    turn,
                    call_id,
                    output: Body::from(output),
                    duration_ms,
                    tokens,
                })
            }
            Err(ToolError { code, message }) => {
                let code = code.to_owned();
                ToolOutcome::Failed(ToolFailed {
                    turn,
                    call_id,
                    code,
                    message,
                    duration_ms,
                })
            }
        };
        let record = |run: &run::Run| Ok(run::record_tool(run, outcome.clone()));
        process::decide_run(
            &self.bus,
            &self.store,
            delivery,
            reference,
            "outcome",
            record,
        )
        .await?;
        Ok(())
    }

    /// The call; none when there is nothing to execute (any more).
    async fn look_up(
        &self,
        delivery: &Delivery,
        reference: &nexus_events::command::RunRef,
        turn: u32,
        call_id: &str,
        round: u32,
    ) -> Result<Option<Found>, Failure> {
        let run = process::load_run(&self.store, delivery, reference).await?;
        let step = run.state.tool_step(turn, call_id);
        let Some(step) = step.filter(|step| step.round == round) else {
            return Ok(None);
        };
        let definition = tool::get(&step.call.name).ok_or_else(|| Failure::Retry {
            after: None,
            reason: format!("tool {} is not known to this worker", step.call.name),
        })?;
        match &step.phase {
            ToolPhase::Judge
            | ToolPhase::Approve
            | ToolPhase::Reserve { .. }
            | ToolPhase::Done(_) => Ok(None),
            ToolPhase::Started { .. } if !definition.idempotent => Err(Failure::Dead {
                reason: format!("{} was started and has no outcome", definition.name),
            }),
            ToolPhase::Ready { .. } | ToolPhase::Started { .. } => {
                let redact = step.duties.redact.clone();
                let mut arguments = step.call.arguments.clone();
                redact::redact(&mut arguments, &redact);
                let tokenizers = (run.state.info())
                    .map(|info| self.catalog.tokenizers(&info.agent.name, &info.model));
                Ok(Some(Found {
                    definition,
                    arguments,
                    redact,
                    tokenizers: tokenizers.unwrap_or_default(),
                }))
            }
        }
    }
}

impl Handler for ToolsRole {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        match delivery.command.clone() {
            Command::ExecuteTool(execute) => self.execute(&delivery, execute).await,
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the tool role", other.type_name()),
            }),
        }
    }
}
