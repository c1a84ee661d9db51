//! `tool.register`, `tool.deprecate`, `tool.remove`.

use nexus_bus::{Delivery, Done, Failure, process};
use nexus_events::command::{RegisterTool, RetireTool};
use nexus_events::tool::registry::{self, Tools, ToolsEvent};
use nexus_events::tool::{ToolDefinition, ToolKind};
use nexus_events::{AggregateId, Body, DomainError};
use serde_json::json;

use crate::ToolsRole;
use crate::executor::guests;

/// A decision on a version: the tools, its name, its version, why.
type Retire = fn(&Tools, &str, &str, Option<String>) -> Result<Vec<ToolsEvent>, DomainError>;

impl ToolsRole {
    pub(crate) async fn register(
        &self,
        delivery: &Delivery,
        command: RegisterTool,
    ) -> Result<(), Failure> {
        // Before anything is stored for it.
        registry::validate(&command.definition)?;
        self.can_be_used(&command.definition)?;
        let definition = self.offloaded(delivery, command.definition).await?;
        self.can_be_run(delivery, &definition).await?;
        let (name, version) = (definition.name.clone(), definition.version.clone());
        let done = self
            .decide(delivery, |tools| {
                registry::register(tools, definition.clone())
            })
            .await?;
        self.answer(delivery, &name, &version, &done).await;
        Ok(())
    }

    /// Deprecates or removes a version, as `decide` does.
    pub(crate) async fn retire(
        &self,
        delivery: &Delivery,
        command: RetireTool,
        decide: Retire,
    ) -> Result<(), Failure> {
        let RetireTool {
            name,
            version,
            reason,
        } = command;
        let done = self
            .decide(delivery, |tools| {
                decide(tools, &name, &version, reason.clone())
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

    /// Schemas can be checked against, and permissions mean something.
    fn can_be_used(&self, definition: &ToolDefinition) -> Result<(), Failure> {
        let refused =
            |field: &str, reason: String| Failure::Reject(DomainError::invalid(field, reason));
        let permissions = definition.permissions.check();
        permissions.map_err(|error| refused("permissions", error.to_string()))?;
        let schemas = [
            ("input_schema", Some(&definition.input_schema)),
            ("output_schema", definition.output_schema.as_ref()),
        ];
        for (field, schema) in schemas {
            if let Some(schema) = schema {
                let compiled = self.schemas.get(schema);
                compiled.map_err(|error| refused(field, error.to_string()))?;
            }
        }
        Ok(())
    }

    /// A module is what it says that it is: compiled once here, so that whoever registers it learns
    /// what is wrong with it.
    async fn can_be_run(
        &self,
        delivery: &Delivery,
        definition: &ToolDefinition,
    ) -> Result<(), Failure> {
        let ToolKind::Wasm { module } = &definition.kind else {
            return Ok(());
        };
        let text = self
            .objects
            .resolve(&delivery.envelope.tenant, module)
            .await?;
        let refused = |reason: String| Failure::Reject(DomainError::invalid("module", reason));
        let guest = guests::wasm(text).ok_or_else(|| refused("it is not base64".to_owned()))?;
        let checked = self.executors.guests.check(guest).await;
        checked.map_err(|error| refused(error.to_string()))
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
