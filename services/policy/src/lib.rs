//! The policy role: judges what a run is about to do, and takes bundles in.
//!
//! It fails closed: whatever goes wrong with a bundle is a recorded denial that says so. What goes
//! wrong with the bus is tried again; nothing is decided without the log.

pub mod engine;

mod active;
mod asked;
mod backtest;
mod explain;
mod input;
mod judge;
mod keys;
mod publish;
mod replay;
mod shadow;
mod work;

use std::sync::Arc;

use nexus_bus::objects::Objects;
use nexus_bus::{Bus, Store, process};
use nexus_bus::{Delivery, Failure, Handler, RoleSpec};
use nexus_events::Command;
use nexus_events::catalog::Catalog;
use nexus_events::command::RunRef;
use nexus_events::run::{self, PolicyPoint, Run};

use active::{ActiveBundles, InForce};
use work::Places;

/// What the role takes, and how.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 128,
    prefetch: 64,
    ..RoleSpec::new("policy", &["policy", "key"])
};

/// The policy role.
pub struct PolicyRole {
    bus: Bus,
    store: Store,
    objects: Objects,
    catalog: Arc<Catalog>,
    bundles: ActiveBundles,
    places: Places,
}

impl PolicyRole {
    /// The role over a bus. The catalog tells policy which provider serves a model.
    pub fn new(store: Store, objects: Objects, catalog: Arc<Catalog>) -> Self {
        let bundles = ActiveBundles::new(store.clone(), objects.clone());
        shadow::announce();
        Self {
            bus: store.bus().clone(),
            store,
            objects,
            catalog,
            bundles,
            places: Places::new(),
        }
    }

    async fn evaluate(&self, delivery: &Delivery, reference: RunRef) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let left = input::session_left(&self.store, tenant, &reference, delivery).await?;
        // Last, so that what decides is as new as can be when the decision is recorded.
        let InForce { active, shadow } = self.bundles.in_force(tenant).await?;
        let now = self.bus.now();
        let run = process::load_run(&self.store, delivery, &reference).await?;
        let state = &run.state;
        let mut decisions = vec![];
        for point in state.points_to_judge() {
            let Some(input) = input::build(state, &point, tenant, &self.catalog, left, now) else {
                continue;
            };
            let question = shadow.is_some().then(|| input.clone());
            let mut decided = judge::judge(&active, state, point, input, &self.catalog);
            decided.budget_left = left;
            if let (Some(shadow), Some(input)) = (&shadow, question) {
                let said = shadow::beside(shadow, &decided, state, input, &self.catalog);
                decided.shadow = Some(Box::new(said));
            }
            let ends_run = !decided.allowed && is_fatal(&decided.point);
            decisions.push(decided);
            if ends_run {
                break;
            }
        }
        drop(run);
        let record = |run: &Run| Ok(run::record_policy(run, decisions.clone(), now));
        process::decide_run(&self.bus, &self.store, delivery, reference, "", record).await?;
        Ok(())
    }
}

impl Handler for PolicyRole {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        match delivery.command.clone() {
            Command::EvaluatePolicy(evaluate) => self.evaluate(&delivery, evaluate.run).await,
            Command::PublishBundle(bundle) => self.publish(&delivery, bundle).await,
            Command::ActivateBundle(activate) => self.activate(&delivery, activate.digest).await,
            Command::ShadowBundle(shadow) => self.shadow(&delivery, shadow.digest).await,
            Command::RollBackBundle(_) => self.roll_back(&delivery).await,
            Command::TryPolicy(command) => self.try_policy(&delivery, command).await,
            Command::ExplainPolicy(command) => self.explain(&delivery, command).await,
            Command::BacktestPolicy(command) => self.backtest(&delivery, command).await,
            Command::CreateKey(create) => self.create_key(&delivery, create.0).await,
            Command::RotateKey(rotate) => self.rotate_key(&delivery, rotate).await,
            Command::RevokeKey(revoke) => self.revoke_key(&delivery, revoke).await,
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the policy role", other.type_name()),
            }),
        }
    }
}

fn is_fatal(point: &PolicyPoint) -> bool {
    !matches!(point, PolicyPoint::ToolCall { .. })
}
