//! The policy role: judges what a run is about to do, and takes bundles in.
//!
//! It fails closed: whatever goes wrong with a bundle is a recorded denial that says so. What goes
//! wrong with the bus is tried again; nothing is decided without the log.

pub mod engine;

mod active;
mod input;
mod publish;

use std::sync::Arc;

use nexus_bus::objects::Objects;
use nexus_bus::{Bus, Store, process};
use nexus_bus::{Delivery, Failure, Handler, RoleSpec};
use nexus_events::Command;
use nexus_events::catalog::Catalog;
use nexus_events::command::RunRef;
use nexus_events::run::{self, PolicyDecided, PolicyPoint, Run};

use active::{ActiveBundles, BundleInForce};
use engine::{Decision, Effect};

/// What the role takes, and how.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 128,
    prefetch: 64,
    ..RoleSpec::new("policy", &["policy"])
};

/// The policy role.
pub struct PolicyRole {
    bus: Bus,
    store: Store,
    objects: Objects,
    catalog: Arc<Catalog>,
    bundles: ActiveBundles,
}

impl PolicyRole {
    /// The role over a bus. The catalog tells policy which provider serves a model.
    pub fn new(store: Store, objects: Objects, catalog: Arc<Catalog>) -> Self {
        let bundles = ActiveBundles::new(store.clone(), objects.clone());
        Self {
            bus: store.bus().clone(),
            store,
            objects,
            catalog,
            bundles,
        }
    }

    async fn evaluate(&self, delivery: &Delivery, reference: RunRef) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let bundle = self.bundles.in_force(tenant).await?;
        let left = input::session_left(&self.store, tenant, &reference, delivery).await?;
        let now = self.bus.now();
        let run = process::load_run(&self.store, delivery, &reference).await?;
        let state = &run.state;
        let mut decisions = vec![];
        for point in state.points_to_judge() {
            let Some(input) = input::build(state, &point, tenant, &self.catalog, left, now) else {
                continue;
            };
            let decided = recorded(point, judge(&bundle, &input));
            let ends_run = !decided.allowed && is_fatal(&decided.point);
            decisions.push(decided);
            if ends_run {
                break;
            }
        }
        drop(run);
        let record = |run: &Run| Ok(run::record_policy(run, decisions.clone()));
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
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the policy role", other.type_name()),
            }),
        }
    }
}

fn is_fatal(point: &PolicyPoint) -> bool {
    !matches!(point, PolicyPoint::ToolCall { .. })
}

fn judge(bundle: &BundleInForce, input: &engine::Input) -> Decision {
    match bundle {
        BundleInForce::Ready(bundle) => bundle.evaluate(input),
        BundleInForce::Broken { digest, error } => Decision::failed(error.clone(), digest, 0),
    }
}

fn recorded(point: PolicyPoint, decision: Decision) -> PolicyDecided {
    let mut reasons = decision.reasons;
    let mut error = decision.error.map(|error| error.to_string());
    let allowed = match decision.effect {
        // Obligations change what may be done. One that cannot be carried out here is a denial.
        Effect::Allow if !decision.obligations.is_empty() => {
            error =
                Some("the policy sets obligations, which this version does not carry out".into());
            false
        }
        Effect::Allow => true,
        Effect::Deny => false,
        Effect::RequireApproval(_) => {
            error =
                Some("the policy requires an approval, which this version cannot ask for".into());
            false
        }
    };
    if let Some(error) = &error
        && !allowed
    {
        reasons.push(error.clone());
    }
    if !allowed && reasons.is_empty() {
        reasons.push("no rule allows it".to_owned());
    }
    PolicyDecided {
        point,
        allowed,
        reasons,
        rules: decision.rules,
        bundle: decision.bundle_digest,
        duration_us: decision.duration_us,
        error,
    }
}
