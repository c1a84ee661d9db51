//! `policy.publish`, `policy.activate`, `policy.shadow` and `policy.rollback`: a bundle is compiled
//! and its tests are run before it becomes a fact.

use std::collections::BTreeMap;

use nexus_bus::{Delivery, Done, Failure, process};
use nexus_events::command::PublishBundle;
use nexus_events::policy::{self, BundlePublished, Policy, PolicyEvent};
use nexus_events::{AggregateId, DomainError};
use serde_json::json;

use crate::engine::{Bundle, Module};
use crate::{PolicyRole, work};

impl PolicyRole {
    pub(crate) async fn publish(
        &self,
        delivery: &Delivery,
        command: PublishBundle,
    ) -> Result<(), Failure> {
        let modules: Vec<Module> = (command.modules.iter())
            .map(|(path, text)| Module {
                path: path.clone(),
                text: text.clone(),
            })
            .collect();
        let data = serde_json::Value::Object(command.data);
        let document = data.clone();
        let digest = work::off_the_loop(move || tested(&modules, document)).await??;
        let tenant = &delivery.envelope.tenant;
        let mut stored = BTreeMap::new();
        for (path, text) in command.modules {
            stored.insert(path, self.objects.offload(tenant, text).await?);
        }
        let data = self.objects.offload(tenant, data.to_string()).await?;
        let published = BundlePublished {
            digest: digest.clone(),
            modules: stored,
            data,
        };
        let activate = command.activate;
        let done = self
            .decide(delivery, |policy| {
                Ok(policy::publish(policy, published.clone(), activate))
            })
            .await?;
        self.done(delivery, &digest, done.seq).await;
        Ok(())
    }

    pub(crate) async fn activate(
        &self,
        delivery: &Delivery,
        digest: String,
    ) -> Result<(), Failure> {
        let done = self
            .decide(delivery, |policy| policy::activate(policy, &digest))
            .await?;
        self.done(delivery, &digest, done.seq).await;
        Ok(())
    }

    pub(crate) async fn roll_back(&self, delivery: &Delivery) -> Result<(), Failure> {
        let done = self.decide(delivery, policy::roll_back).await?;
        let digest = done.guard.state.active_digest().to_owned();
        self.done(delivery, &digest, done.seq).await;
        Ok(())
    }

    pub(crate) async fn shadow(
        &self,
        delivery: &Delivery,
        digest: Option<String>,
    ) -> Result<(), Failure> {
        let done = self
            .decide(delivery, |policy| {
                policy::set_shadow(policy, digest.as_deref())
            })
            .await?;
        let outcome = json!({ "digest": digest, "seq": done.seq });
        drop(done);
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }

    async fn decide(
        &self,
        delivery: &Delivery,
        decide: impl FnMut(&Policy) -> Result<Vec<PolicyEvent>, DomainError>,
    ) -> Result<Done<Policy>, Failure> {
        let id = &AggregateId::ONLY;
        process::decide::<Policy>(&self.store, &self.bus, delivery, id, decide).await
    }

    async fn done(&self, delivery: &Delivery, digest: &str, seq: u64) {
        let outcome = json!({ "digest": digest, "seq": seq });
        process::reply(&self.bus, delivery, &outcome).await;
    }
}

/// The digest of a bundle that compiles and whose tests pass.
fn tested(modules: &[Module], data: serde_json::Value) -> Result<String, Failure> {
    let bundle =
        Bundle::compile(modules, data).map_err(|error| refused("modules", error.to_string()))?;
    if let Some(failed) = bundle.run_tests().into_iter().find(|test| !test.passed) {
        return Err(refused("modules", failed.to_string()));
    }
    Ok(bundle.digest().to_owned())
}

fn refused(field: &str, reason: String) -> Failure {
    Failure::Reject(DomainError::invalid(field, reason))
}
