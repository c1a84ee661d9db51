//! Which bundles are in force for a tenant. Compiled bundles are cached by digest; which one is
//! active, and which one is in its shadow, is looked up on the log at least twice a second, so that
//! an activation reaches every worker within one, with no restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_bus::objects::{ObjectError, Objects};
use nexus_bus::{Failure, Guard, Store};
use nexus_events::policy::{BUILTIN, BundlePublished, Policy};
use nexus_events::{AggregateId, Tenant};
use tokio::sync::OnceCell;

use crate::engine::{Bundle, DecisionError, Module, builtin};
use crate::work;

const ACTIVATION_AT_MOST_OLD: Duration = Duration::from_millis(500);
/// Compiled bundles that are kept; all go when there are more.
const CACHED_BUNDLES: usize = 64;

/// The bundle that decides.
#[derive(Clone, Debug)]
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

impl BundleInForce {
    pub(crate) fn digest(&self) -> &str {
        match self {
            Self::Ready(bundle) => bundle.digest(),
            Self::Broken { digest, .. } => digest,
        }
    }
}

/// What is asked of a tenant's policy now.
#[derive(Clone)]
pub(crate) struct InForce {
    /// It decides.
    pub(crate) active: BundleInForce,
    /// It is asked beside it, and this is how it was named. None too while it is being compiled, for
    /// which nothing waits.
    pub(crate) shadow: Option<(String, BundleInForce)>,
}

/// A bundle that is compiled once, however many ask for it meanwhile.
type Cell = Arc<OnceCell<BundleInForce>>;

/// Compiled bundles.
#[derive(Clone)]
pub(crate) struct ActiveBundles {
    store: Store,
    objects: Objects,
    compiled: Arc<Mutex<HashMap<String, Cell>>>,
}

impl ActiveBundles {
    pub(crate) fn new(store: Store, objects: Objects) -> Self {
        Self {
            store,
            objects,
            compiled: Arc::default(),
        }
    }

    /// The bundles that are asked for a tenant now.
    pub(crate) async fn in_force(&self, tenant: &Tenant) -> Result<InForce, Failure> {
        let (active, shadow) = {
            let policy = self.policy(tenant, ACTIVATION_AT_MOST_OLD).await?;
            let named = |digest: &str| self.named(&policy.state, digest);
            let active = named(policy.state.active_digest());
            (active, policy.state.shadow.as_deref().map(named))
        };
        Ok(InForce {
            active: self.get(tenant, active).await?,
            shadow: shadow.and_then(|shadow| {
                let name = shadow.digest.clone();
                Some((name, self.get_soon(tenant, shadow)?))
            }),
        })
    }

    /// A bundle by its digest or name; the active one where none is named. None where there is no
    /// such bundle.
    pub(crate) async fn find(
        &self,
        tenant: &Tenant,
        digest: Option<&str>,
    ) -> Result<Option<BundleInForce>, Failure> {
        let named = {
            let policy = self.policy(tenant, Duration::ZERO).await?;
            let digest = digest.unwrap_or(policy.state.active_digest());
            let own_builtin = builtin().is_ok_and(|bundle| bundle.digest() == digest);
            match policy.state.has(digest) {
                true => self.named(&policy.state, digest),
                false if own_builtin => self.named(&policy.state, BUILTIN),
                false => return Ok(None),
            }
        };
        self.get(tenant, named).await.map(Some)
    }

    async fn policy(
        &self,
        tenant: &Tenant,
        at_most_old: Duration,
    ) -> Result<Guard<Policy>, Failure> {
        let peek = self
            .store
            .peek::<Policy>(tenant, &AggregateId::ONLY, at_most_old);
        Ok(peek.await?)
    }

    /// The bundle's place in the cache, and where it is not compiled what it is made of.
    fn named(&self, policy: &Policy, digest: &str) -> Named {
        let mut cache = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_BUNDLES && !cache.contains_key(digest) {
            cache.clear();
        }
        let cell = Arc::clone(cache.entry(digest.to_owned()).or_default());
        let source = match policy.bundles.get(digest) {
            _ if cell.initialized() => Source::Nothing,
            Some(published) => Source::Published(published.clone()),
            None if digest == BUILTIN => Source::Builtin,
            None => Source::Nothing,
        };
        let digest = digest.to_owned();
        Named {
            cell,
            digest,
            source,
        }
    }

    async fn get(&self, tenant: &Tenant, named: Named) -> Result<BundleInForce, Failure> {
        let Named {
            cell,
            digest,
            source,
        } = named;
        let make = || async {
            match source {
                Source::Builtin => Ok(compiled_builtin()),
                Source::Published(published) => self.compile(tenant, published).await,
                Source::Nothing => Err(Trouble::gone("the log does not hold it")),
            }
        };
        match cell.get_or_try_init(make).await {
            Ok(bundle) => Ok(bundle.clone()),
            Err(Trouble::Away(failure)) => Err(failure),
            Err(Trouble::Gone(error)) => Ok(BundleInForce::Broken { digest, error }),
        }
    }

    /// The bundle if it is compiled; else it will be, in a task of its own.
    fn get_soon(&self, tenant: &Tenant, named: Named) -> Option<BundleInForce> {
        if let Some(bundle) = named.cell.get() {
            return Some(bundle.clone());
        }
        let (this, tenant) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            if let Err(error) = this.get(&tenant, named).await {
                tracing::warn!(%error, "the bundle in shadow cannot be loaded, trying again");
            }
        });
        None
    }

    async fn compile(
        &self,
        tenant: &Tenant,
        published: BundlePublished,
    ) -> Result<BundleInForce, Trouble> {
        let mut modules = vec![];
        for (path, text) in published.modules {
            let text = self.objects.resolve(tenant, &text).await?;
            modules.push(Module { path, text });
        }
        let data = self.objects.resolve(tenant, &published.data).await?;
        let digest = published.digest;
        let compiled = work::off_the_loop(move || {
            serde_json::from_str(&data)
                .map_err(|error| error.to_string())
                .and_then(|data| Bundle::compile(&modules, data).map_err(|error| error.to_string()))
        })
        .await
        .map_err(Trouble::Away)?;
        Ok(match compiled {
            Ok(bundle) => BundleInForce::Ready(Arc::new(bundle)),
            Err(reason) => BundleInForce::Broken {
                digest,
                error: broken(reason),
            },
        })
    }
}

/// A place in the cache, and what belongs there.
struct Named {
    cell: Cell,
    digest: String,
    source: Source,
}

enum Source {
    Builtin,
    Published(BundlePublished),
    /// It is compiled already, or nobody knows what it is.
    Nothing,
}

/// Why a bundle was not compiled. Either is found out anew with the next decision.
enum Trouble {
    /// The bus is away: the decision waits.
    Away(Failure),
    /// A part of the bundle is: decisions are denials until somebody brings it back.
    Gone(DecisionError),
}

impl Trouble {
    fn gone(reason: impl ToString) -> Self {
        Self::Gone(broken(reason.to_string()))
    }
}

impl From<ObjectError> for Trouble {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Publish(_) | ObjectError::Read(_) => Self::Away(error.into()),
            ObjectError::TooLarge { .. }
            | ObjectError::Address(_)
            | ObjectError::NotFound(_)
            | ObjectError::Damaged(_) => Self::gone(error),
        }
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
