//! `policy.publish` and `policy.activate`: a bundle is compiled and its tests are run before it
//! becomes a fact.

use std::collections::BTreeMap;

use nexus_bus::process;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::PublishBundle;
use nexus_events::policy::{self, BundlePublished, Policy};
use nexus_events::{AggregateId, DomainError};
use serde_json::json;

use crate::PolicyRole;
use crate::engine::{Bundle, Module};

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
        let bundle = Bundle::compile(&modules, data.clone())
            .map_err(|error| refused("modules", error.to_string()))?;
        if let Some(failed) = bundle.run_tests().into_iter().find(|test| !test.passed) {
            let reason = failed.reason.unwrap_or_else(|| "it is not true".to_owned());
            let at = format!(
                "{}:{}: test {} failed",
                failed.file, failed.line, failed.name
            );
            return Err(refused("modules", format!("{at}: {reason}")));
        }
        let tenant = &delivery.envelope.tenant;
        let mut stored = BTreeMap::new();
        for (path, text) in command.modules {
            stored.insert(path, self.objects.offload(tenant, text).await?);
        }
        let data = self.objects.offload(tenant, data.to_string()).await?;
        let digest = bundle.digest().to_owned();
        let published = BundlePublished {
            digest: digest.clone(),
            modules: stored,
            data,
        };
        let done = process::decide::<Policy>(
            &self.store,
            &self.bus,
            delivery,
            &AggregateId::ONLY,
            |policy| Ok(policy::publish(policy, published.clone(), command.activate)),
        )
        .await?;
        process::reply(
            &self.bus,
            delivery,
            &json!({ "digest": digest, "seq": done.seq }),
        )
        .await;
        Ok(())
    }

    pub(crate) async fn activate(
        &self,
        delivery: &Delivery,
        digest: String,
    ) -> Result<(), Failure> {
        let done = process::decide::<Policy>(
            &self.store,
            &self.bus,
            delivery,
            &AggregateId::ONLY,
            |policy| policy::activate(policy, &digest),
        )
        .await?;
        process::reply(
            &self.bus,
            delivery,
            &json!({ "digest": digest, "seq": done.seq }),
        )
        .await;
        Ok(())
    }
}

fn refused(field: &str, reason: String) -> Failure {
    Failure::Reject(DomainError::invalid(field, reason))
}
