//! The run role: starts runs, controls them, opens and closes sessions. It performs no effect of its
//! own; it decides and records.

mod approval;
mod busy;
mod control;
mod doubt;
mod queue;
mod refuse;
mod session;
mod start;
mod tokens;
mod tools;

use std::sync::Arc;

use nexus_bus::objects::Objects;
use nexus_bus::{Bus, Store};
use nexus_bus::{Delivery, Failure, Handler, RoleSpec};
use nexus_events::Command;
use nexus_events::catalog::Catalog;
use nexus_events::run::StartLimits;

/// What the role takes, and how.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 128,
    prefetch: 64,
    ..RoleSpec::new("run", &["run", "session", "approval"])
};

/// The run role.
pub struct RunRole {
    bus: Bus,
    store: Store,
    objects: Objects,
    catalog: Arc<Catalog>,
    limits: StartLimits,
}

impl RunRole {
    /// The role over a bus, with the models that runs may name.
    pub fn new(store: Store, objects: Objects, catalog: Arc<Catalog>, limits: StartLimits) -> Self {
        Self {
            bus: store.bus().clone(),
            store,
            objects,
            catalog,
            limits,
        }
    }
}

impl Handler for RunRole {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        match delivery.command.clone() {
            Command::StartRun(start) => self.start(&delivery, start).await,
            Command::CancelRun(cancel) => {
                let reason = cancel.0.reason;
                let run_id = cancel.0.run_id;
                self.control(&delivery, run_id, |run| {
                    nexus_events::run::cancel(run, reason.clone())
                })
                .await
            }
            Command::PauseRun(pause) => {
                let (run_id, reason) = (pause.0.run_id, pause.0.reason);
                self.control(&delivery, run_id, |run| {
                    nexus_events::run::pause(run, reason.clone())
                })
                .await
            }
            Command::ResumeRun(resume) => {
                let (run_id, reason) = (resume.0.run_id, resume.0.reason);
                self.control(&delivery, run_id, |run| {
                    nexus_events::run::resume(run, reason.clone())
                })
                .await
            }
            Command::SignalRun(signal) => self.signal(&delivery, signal).await,
            Command::ResolveTool(resolve) => self.resolve_tool(&delivery, &resolve).await,
            Command::DecideApproval(decide) => self.decide_approval(&delivery, &decide).await,
            Command::RingApproval(ring) => self.ring_approval(&delivery, &ring).await,
            Command::EndOfTime(end) => self.end_of_time(&delivery, &end).await,
            Command::NextRun(next) => self.next_run(&delivery, &next).await,
            Command::OpenSession(open) => self.open_session(&delivery, open).await,
            Command::CloseSession(close) => self.close_session(&delivery, close.session_id).await,
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the run role", other.type_name()),
            }),
        }
    }
}
