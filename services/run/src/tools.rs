//! The versions of its tools that a run begins with.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_bus::{Delivery, Failure, tools};
use nexus_events::command::StartRun;
use nexus_events::model::ToolSpec;
use nexus_events::run;
use nexus_events::tool::ToolPin;
use nexus_events::tool::registry::{self, Tools};
use nexus_events::{AggregateId, DomainError, RunId};

use crate::RunRole;

/// Those that the tenant registered, and what the model will be told of all of them.
type Equipment = (BTreeMap<String, ToolPin>, Vec<ToolSpec>);

impl RunRole {
    /// Looks the run's tools up. The registry is read only where one of them is the tenant's own, and
    /// then as it is now: whoever registered a version may start a run with it at once.
    pub(crate) async fn tools(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        command: &StartRun,
    ) -> Result<Equipment, Failure> {
        let chosen = run::choose(command, &self.catalog)?;
        let registered = if registry::needs_registry(&chosen.named) {
            match self.registered(delivery, &chosen.named).await? {
                Ok(pins) => pins,
                // It began with a version that nobody gets any more: it keeps that.
                Err(_) if self.exists(delivery, run_id).await? => return Ok(Equipment::default()),
                Err(unknown) => return Err(Failure::Reject(unknown)),
            }
        } else {
            BTreeMap::new()
        };
        let mut specs = vec![];
        for (name, pin) in chosen.pins(&registered)? {
            let tenant = &delivery.envelope.tenant;
            let definition = tools::definition(&self.store, tenant, &name, &pin).await?;
            specs.push(definition.spec());
        }
        Ok((registered, specs))
    }

    async fn registered(
        &self,
        delivery: &Delivery,
        named: &[String],
    ) -> Result<Result<BTreeMap<String, ToolPin>, DomainError>, Failure> {
        let (tenant, id) = (&delivery.envelope.tenant, AggregateId::ONLY);
        let tools = self
            .store
            .peek::<Tools>(tenant, &id, Duration::ZERO)
            .await?;
        Ok(registry::pins(named, &tools.state))
    }
}
