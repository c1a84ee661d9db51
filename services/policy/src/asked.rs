//! What people ask of policy without effect: a bundle that a question names, and a decision on an
//! input that somebody wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_bus::{Delivery, Failure, process};
use nexus_events::command::TryPolicy;
use nexus_events::{DomainError, Problem, Tenant};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::active::BundleInForce;
use crate::engine::{Bundle, Module, dry_decision};
use crate::{PolicyRole, work};

impl PolicyRole {
    pub(crate) async fn try_policy(
        &self,
        delivery: &Delivery,
        command: TryPolicy,
    ) -> Result<(), Failure> {
        let _place = match self.places.answer() {
            Ok(place) => place,
            Err(busy) => return self.say(delivery, &busy).await,
        };
        let tenant = &delivery.envelope.tenant;
        let TryPolicy {
            input,
            digest,
            modules,
            data,
        } = command;
        let bundle = self.named(tenant, digest, modules, data).await?;
        let decision = work::off_the_loop(move || match bundle {
            BundleInForce::Ready(bundle) => Ok(dry_decision(&bundle, &input)),
            BundleInForce::Broken { error, .. } => Err(unusable(&error.to_string())),
        });
        match decision.await? {
            Ok(decision) => self.say(delivery, &decision).await,
            Err(problem) => self.say(delivery, &problem).await,
        }
    }

    /// The bundle that a question names: by digest, by its files, or not at all, which is the active
    /// one.
    pub(crate) async fn named(
        &self,
        tenant: &Tenant,
        digest: Option<String>,
        modules: BTreeMap<String, String>,
        data: Map<String, Value>,
    ) -> Result<BundleInForce, Failure> {
        if !modules.is_empty() {
            if digest.is_some() {
                let reason = "a bundle is named by its digest or given as modules, not both";
                return Err(DomainError::invalid("digest", reason).into());
            }
            let modules: Vec<Module> = (modules.into_iter())
                .map(|(path, text)| Module { path, text })
                .collect();
            let compile = move || Bundle::compile(&modules, Value::Object(data));
            let bundle = work::off_the_loop(compile).await?;
            let bundle =
                bundle.map_err(|error| DomainError::invalid("modules", error.to_string()))?;
            return Ok(BundleInForce::Ready(Arc::new(bundle)));
        }
        let found = self.bundles.find(tenant, digest.as_deref()).await?;
        found.ok_or_else(|| {
            DomainError::NotFound {
                what: "policy bundle",
                id: digest.unwrap_or_default(),
            }
            .into()
        })
    }

    /// Answers whoever asked.
    pub(crate) async fn say(
        &self,
        delivery: &Delivery,
        answer: &impl Serialize,
    ) -> Result<(), Failure> {
        process::reply(&self.bus, delivery, answer).await;
        Ok(())
    }
}

fn unusable(reason: &str) -> Problem {
    Problem::new(409, "bundle_unusable", reason)
}
