//! `approval.decide`, and what time does to a question that nobody answers.

use nexus_bus::process;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::{DecideApproval, Ring, RingApproval};
use nexus_events::run::{self, Run};

use crate::RunRole;
use crate::start::actor;

impl RunRole {
    /// A person's answer. Who answers is who the command's envelope says.
    pub(crate) async fn decide_approval(
        &self,
        delivery: &Delivery,
        command: &DecideApproval,
    ) -> Result<(), Failure> {
        let (actor, now) = (actor(delivery), self.bus.now());
        self.control(delivery, command.run_id, |run| {
            run::decide_approval(run, command, &actor, now)
        })
        .await
    }

    pub(crate) async fn ring_approval(
        &self,
        delivery: &Delivery,
        command: &RingApproval,
    ) -> Result<(), Failure> {
        let id = command.approval_id;
        let decide = |run: &Run| {
            Ok(match command.ring {
                Ring::Escalate => run::escalate_approval(run, id),
                Ring::Expire => run::expire_approval(run, id),
            })
        };
        process::decide_run(&self.bus, &self.store, delivery, command.run, "", decide).await?;
        Ok(())
    }
}
