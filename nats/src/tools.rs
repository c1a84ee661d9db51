//! The definitions of a run's tools. Versions never change, so that what is in the cache is right
//! however old it is, and tools that ship with the platform cost no read at all.

use std::sync::Arc;
use std::time::Duration;

use nexus_events::tool::registry::Tools;
use nexus_events::tool::{self, ToolDefinition, ToolPin};
use nexus_events::{AggregateId, Tenant};

use crate::store::Store;
use crate::worker::Failure;

/// As old as it may be.
const ANY_AGE: Duration = Duration::from_secs(u32::MAX as u64);

/// The definition that a run began with.
///
/// # Errors
/// The bus is away, or nothing here knows the tool: then another process, or a later version of the
/// platform, may.
pub async fn definition(
    store: &Store,
    tenant: &Tenant,
    name: &str,
    pin: &ToolPin,
) -> Result<Arc<ToolDefinition>, Failure> {
    let found = if pin.builtin {
        tool::get(name).map(|tool| Arc::new(tool.definition()))
    } else {
        match registered(store, tenant, name, pin, ANY_AGE).await? {
            None => registered(store, tenant, name, pin, Duration::ZERO).await?,
            found => found,
        }
    };
    found.ok_or_else(|| {
        let version = &pin.version;
        Failure::retry(format!("tool {name}@{version} is not known to this worker"))
    })
}

async fn registered(
    store: &Store,
    tenant: &Tenant,
    name: &str,
    pin: &ToolPin,
    at_most_old: Duration,
) -> Result<Option<Arc<ToolDefinition>>, Failure> {
    let tools = store
        .peek::<Tools>(tenant, &AggregateId::ONLY, at_most_old)
        .await?;
    let found = tools.state.version(name, &pin.version);
    Ok(found.map(|found| Arc::clone(&found.definition)))
}
