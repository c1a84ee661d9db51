//! `tool.register`, `tool.deprecate`, `tool.remove`.

use nexus_bus::{Delivery, Done, Failure, process};
use nexus_events::command::{RegisterTool, RetireTool};
use nexus_events::tool::registry::{self, Tools, ToolsEvent};
use nexus_events::tool::{ToolDefinition, ToolKind};
use nexus_events::{AggregateId, Body, DomainError};
use serde_json::json;

use crate::ToolsRole;

impl ToolsRole {
    pub(crate) async fn register(
        &self,
        delivery: &Delivery,
        command: RegisterTool,
    ) -> Result<(), Failure> {
        // Before anything is stored for it.
        registry::validate(&command.definition)?;
        let definition = self.offloaded(delivery, command.definition).await?;
        let (name, version) = (definition.name.clone(), definition.version.clone());
        let done = self
            .decide(delivery, |tools| {
                registry::register(tools, definition.clone())
            })
            .await?;
        self.answer(delivery, &name, &version, &done).await;
        Ok(())
    }

    pub(crate) async fn deprecate(
        &self,
        delivery: &Delivery,
        command: RetireTool,
    ) -> Result<(), Failure> {
        let RetireTool {
            name,
            version,
            reason,
        } = command;
        let done = self
            .decide(delivery, |tools| {
                registry::deprecate(tools, &name, &version, reason.clone())
            })
            .await?;
        self.answer(delivery, &name, &version, &done).await;
        Ok(())
    }

    pub(crate) async fn remove(
        &self,
        delivery: &Delivery,
        command: RetireTool,
    ) -> Result<(), Failure> {
        let RetireTool {
            name,
            version,
            reason,
        } = command;
        let done = self
            .decide(delivery, |tools| {
                registry::remove(tools, &name, &version, reason.clone())
            })
            .await?;
        self.answer(delivery, &name, &version, &done).await;
        Ok(())
    }

    /// Long sources and modules go to the object store, and a reference to what is not there is
    /// refused while whoever registers can still do something about it.
    async fn offloaded(
        &self,
        delivery: &Delivery,
        mut definition: ToolDefinition,
    ) -> Result<ToolDefinition, Failure> {
        let tenant = &delivery.envelope.tenant;
        let (field, body) = match &mut definition.kind {
            ToolKind::Wasm { module } => ("module", module),
            ToolKind::Javascript { source } | ToolKind::Python { source } => ("source", source),
            ToolKind::Builtin | ToolKind::Mcp { .. } | ToolKind::Nats => return Ok(definition),
        };
        match std::mem::take(body) {
            Body::Inline(text) => *body = self.objects.offload(tenant, text).await?,
            stored @ Body::Stored { .. } => {
                let text =
                    self.objects.resolve(tenant, &stored).await.map_err(
                        |error| match Failure::from(error) {
                            Failure::Dead { reason } => {
                                Failure::Reject(DomainError::invalid(field, reason))
                            }
                            other => other,
                        },
                    )?;
                // As it would be had it come with the command: one text, one digest.
                *body = self.objects.offload(tenant, text).await?;
            }
        }
        Ok(definition)
    }

    async fn decide(
        &self,
        delivery: &Delivery,
        decide: impl FnMut(&Tools) -> Result<Vec<ToolsEvent>, DomainError>,
    ) -> Result<Done<Tools>, Failure> {
        process::decide(&self.store, &self.bus, delivery, &AggregateId::ONLY, decide).await
    }

    async fn answer(&self, delivery: &Delivery, name: &str, version: &str, done: &Done<Tools>) {
        let found = done.guard.state.version(name, version);
        let outcome = json!({
            "name": name,
            "version": version,
            "digest": found.map(|found| &found.digest),
            "seq": done.seq,
        });
        process::reply(&self.bus, delivery, &outcome).await;
    }
}
