//! `run.cancel`, `run.pause`, `run.resume`, `run.signal`.

use nexus_bus::process;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::{EndOfTime, SignalRun};
use nexus_events::run::{self, Run, RunEvent};
use nexus_events::{DomainError, RunId};
use serde_json::json;

use crate::RunRole;

impl RunRole {
    pub(crate) async fn control(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        decide: impl Fn(&Run) -> Result<Vec<RunEvent>, DomainError> + Send + Sync,
    ) -> Result<(), Failure> {
        let named = |error| match error {
            DomainError::NotFound { what, .. } => DomainError::NotFound {
                what,
                id: run_id.to_string(),
            },
            other => other,
        };
        let decide = |run: &Run| decide(run).map_err(named);
        let done =
            process::decide_run_by_id(&self.bus, &self.store, delivery, run_id, decide).await?;
        process::reply(
            &self.bus,
            delivery,
            &json!({ "run_id": run_id, "seq": done.seq }),
        )
        .await;
        Ok(())
    }

    /// The time that a step's budget gave it is over.
    pub(crate) async fn end_of_time(
        &self,
        delivery: &Delivery,
        end: &EndOfTime,
    ) -> Result<(), Failure> {
        let (id, deadline) = (end.reservation_id, end.deadline);
        let decide = |run: &Run| Ok(run::end_of_time(run, id, deadline));
        process::decide_run(&self.bus, &self.store, delivery, end.run, "", decide).await?;
        Ok(())
    }

    pub(crate) async fn signal(
        &self,
        delivery: &Delivery,
        command: SignalRun,
    ) -> Result<(), Failure> {
        let SignalRun { run_id, input } = command;
        if input.trim().is_empty() {
            return Err(Failure::Reject(DomainError::invalid(
                "input",
                "it is empty",
            )));
        }
        let tokens = self.signal_tokens(delivery, run_id, &input).await?;
        let tenant = &delivery.envelope.tenant;
        let input = self.objects.offload(tenant, input).await?;
        self.control(delivery, run_id, |run| {
            run::signal(run, input.clone(), tokens)
        })
        .await
    }
}
