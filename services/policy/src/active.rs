//! Which bundle is in force for a tenant. Compiled bundles are cached by digest; which one is active
//! is looked up on the log at least twice a second, so that an activation reaches every worker
//! within one, with no restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_bus::Failure;
use nexus_bus::Store;
use nexus_bus::objects::Objects;
use nexus_events::policy::{BUILTIN, BundlePublished, Policy};
use nexus_events::{AggregateId, Tenant};

use crate::engine::{Bundle, DecisionError, Module, builtin};

const ACTIVATION_AT_MOST_OLD: Duration = Duration::from_millis(500);
/// Compiled bundles that are kept; least recently compiled ones go first.
const CACHED_BUNDLES: usize = 64;

/// The bundle that decides.
#[derive(Clone)]
pub(crate) enum BundleInForce {
    /// It is compiled.
    Ready(Arc<Bundle>),
    /// It cannot be used: everything is denied.
    Broken {
        /// Its digest.
        digest: String,
        /// Why.
        error: DecisionError,
    },
}

/// Compiled bundles.
pub(crate) struct ActiveBundles {
    store: Store,
    objects: Objects,
    compiled: Mutex<HashMap<String, BundleInForce>>,
}

impl ActiveBundles {
    pub(crate) fn new(store: Store, objects: Objects) -> Self {
        Self {
            store,
            objects,
            compiled: Mutex::new(HashMap::new()),
        }
    }

    /// The bundle that decides for a tenant now.
    pub(crate) async fn in_force(&self, tenant: &Tenant) -> Result<BundleInForce, Failure> {
        let published = {
            let policy = (self.store)
                .peek::<Policy>(tenant, &AggregateId::ONLY, ACTIVATION_AT_MOST_OLD)
                .await?;
            let digest = policy
                .state
                .active
                .clone()
                .unwrap_or_else(|| BUILTIN.to_owned());
            if let Some(bundle) = self.cached(&digest) {
                return Ok(bundle);
            }
            policy.state.active_bundle().cloned()
        };
        let (digest, bundle) = match published {
            None => (BUILTIN.to_owned(), compiled_builtin()),
            Some(published) => (
                published.digest.clone(),
                self.compile(tenant, published).await?,
            ),
        };
        let mut cache = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_BUNDLES {
            cache.clear();
        }
        cache.insert(digest, bundle.clone());
        Ok(bundle)
    }

    fn cached(&self, digest: &str) -> Option<BundleInForce> {
        self.compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    async fn compile(
        &self,
        tenant: &Tenant,
        published: BundlePublished,
    ) -> Result<BundleInForce, Failure> {
        let mut modules = vec![];
        for (path, text) in published.modules {
            modules.push(Module {
                path,
                text: self.objects.resolve(tenant, &text).await?,
            });
        }
        let data = self.objects.resolve(tenant, &published.data).await?;
        let digest = published.digest;
        let compiled = serde_json::from_str(&data)
            .map_err(|error| error.to_string())
            .and_then(|data| Bundle::compile(&modules, data).map_err(|error| error.to_string()));
        Ok(match compiled {
            Ok(bundle) => BundleInForce::Ready(Arc::new(bundle)),
            Err(reason) => BundleInForce::Broken {
                digest,
                error: broken(reason),
            },
        })
    }
}

fn compiled_builtin() -> BundleInForce {
    match builtin() {
        Ok(bundle) => BundleInForce::Ready(Arc::new(bundle.clone())),
        Err(error) => BundleInForce::Broken {
            digest: BUILTIN.to_owned(),
            error: broken(error.to_string()),
        },
    }
}

fn broken(reason: String) -> DecisionError {
    DecisionError::BundleUnusable { reason }
}
