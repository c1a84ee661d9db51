//! A start that is refused: the caller hears of it, or the run says so itself. Accepted means that a run
//! comes to an end, and a caller that has given up waiting holds a 202.

use nexus_bus::{Delivery, Failure, process, publish};
use nexus_events::body::Body;
use nexus_events::error::Problem;
use nexus_events::run::{self, RefusedStart, Run};
use nexus_events::{Command, DomainError, RunId};

use crate::RunRole;
use crate::start::{actor, trace_id};

/// How long after the bus took a command a client that does not confirm is taken to be listening still.
const LISTENS_MS: u64 = 2_000;

impl RunRole {
    /// Tells the caller, or records the run where he does not hear it.
    pub(crate) async fn refuse(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        why: &DomainError,
    ) -> Result<(), Failure> {
        let Command::StartRun(command) = &delivery.command else {
            return Ok(());
        };
        if self.is_told(delivery, why).await {
            return Ok(());
        }
        let envelope = &delivery.envelope;
        let input = match command.input.len() <= self.limits.input_bytes {
            true => {
                (self
                    .objects
                    .offload(&envelope.tenant, command.input.clone()))
                .await?
            }
            false => Body::default(),
        };
        let start = RefusedStart {
            run_id,
            command,
            input,
            user: actor(delivery),
            trace_id: trace_id(envelope.traceparent.as_deref()),
        };
        let decide = |run: &Run| Ok(run::refuse(run, start.clone(), &self.catalog, why));
        process::start_run(&self.bus, &self.store, delivery, run_id, decide).await?;
        Ok(())
    }

    async fn is_told(&self, delivery: &Delivery, why: &DomainError) -> bool {
        let envelope = &delivery.envelope;
        let Some(reply_to) = &envelope.reply_to else {
            return false;
        };
        if envelope.reply_confirmed {
            return publish::reply_heard(&self.bus, reply_to, &Problem::from(why)).await;
        }
        // Clocks may differ: what seems to come from the future may be as old as anything.
        let (now, taken) = (self.bus.now(), delivery.published_at);
        delivery.delivered == 1 && now >= taken && now.millis_since(taken) < LISTENS_MS
    }
}
