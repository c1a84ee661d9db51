//! The tool role: executes tool calls, and takes tools in. A call is started on the log before it
//! takes effect, and its outcome is recorded once.

pub mod builtin;
mod calculator;
mod execute;
mod executor;
mod gate;
mod import;
mod register;
mod settings;
mod stop;
pub mod validate;

use std::sync::Arc;

use nexus_bus::objects::Objects;
use nexus_bus::{Bus, Store};
use nexus_bus::{Delivery, Failure, Handler, RoleSpec};
use nexus_events::Command;
use nexus_events::catalog::Catalog;
use nexus_events::tool::registry;

use executor::Executors;
use gate::Gates;
pub use settings::{FindPython, ToolsSettings};
use validate::schema::SchemaCache;

/// What the role takes, and how. Most calls wait for something; what a tenant may have at work at
/// once is bounded by its gate, so that there is room for others.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 1_024,
    prefetch: 0,
    // A call that finds its tenant's gate crowded is put off, which is no fault of it.
    max_attempts: 512,
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

/// The tool role.
pub struct ToolsRole {
    bus: Bus,
    store: Store,
    objects: Objects,
    catalog: Arc<Catalog>,
    executors: Executors,
    settings: ToolsSettings,
    schemas: SchemaCache,
    gates: Gates,
}

impl ToolsRole {
    /// The role over a bus, with the models that read what tools give.
    pub fn new(
        store: Store,
        objects: Objects,
        catalog: Arc<Catalog>,
        settings: ToolsSettings,
    ) -> Self {
        let bus = store.bus().clone();
        Self {
            executors: Executors::new(bus.clone(), objects.clone(), settings.clone()),
            settings,
            schemas: SchemaCache::default(),
            bus,
            store,
            objects,
            catalog,
            gates: Gates::default(),
        }
    }
}

impl Handler for ToolsRole {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        match delivery.command.clone() {
            Command::ExecuteTool(execute) => self.execute(&delivery, execute).await,
            Command::RegisterTool(register) => self.register(&delivery, register).await,
            Command::ImportTools(import) => self.import(&delivery, import).await,
            Command::DeprecateTool(retire) => {
                self.retire(&delivery, retire.0, registry::deprecate).await
            }
            Command::RemoveTool(retire) => self.retire(&delivery, retire.0, registry::remove).await,
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the tool role", other.type_name()),
            }),
        }
    }
}
