//! The budget role: the ledger's decisions, in batches, and what the runs learn of them.
//!
//! All commands that wait for one tenant's ledger are decided one after another and recorded as one
//! commit: a hot ledger costs one append a batch, and conflicts happen only where two workers take
//! the same tenant at once.

mod expiry;
mod ledger;
mod runs;
mod wish;

use std::collections::HashMap;
use std::sync::Arc;

use nexus_bus::{BatchHandler, Delivery, Failure, RoleSpec};
use nexus_bus::{Bus, Store};
use nexus_events::Tenant;
use nexus_events::catalog::Catalog;

use expiry::{Timers, Told};

/// What the role takes, and how. `concurrency` is the size of a batch.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 256,
    prefetch: 256,
    single_active: true,
    ..RoleSpec::new("budget", &["budget"])
};

/// The budget role.
pub struct BudgetRole {
    bus: Bus,
    store: Store,
    catalog: Arc<Catalog>,
    timers: Timers,
    told: Told,
}

impl BudgetRole {
    /// The role over a bus, with the prices of the models.
    pub fn new(store: Store, catalog: Arc<Catalog>) -> Self {
        Self {
            bus: store.bus().clone(),
            store,
            catalog,
            timers: Timers::default(),
            told: Told::default(),
        }
    }
}

impl BatchHandler for BudgetRole {
    async fn handle_batch(&self, deliveries: Vec<Delivery>) -> Vec<Result<(), Failure>> {
        let mut by_tenant: HashMap<Tenant, Vec<usize>> = HashMap::new();
        for (index, delivery) in deliveries.iter().enumerate() {
            by_tenant
                .entry(delivery.envelope.tenant.clone())
                .or_default()
                .push(index);
        }
        let tenants = by_tenant.into_iter().map(|(tenant, indexes)| {
            let batch: Vec<&Delivery> = indexes
                .iter()
                .filter_map(|index| deliveries.get(*index))
                .collect();
            async move { (self.handle_tenant(&tenant, &batch).await, indexes) }
        });
        let mut results: Vec<Result<(), Failure>> = deliveries.iter().map(|_| Ok(())).collect();
        for (outcomes, indexes) in futures_util::future::join_all(tenants).await {
            for (index, outcome) in indexes.into_iter().zip(outcomes) {
                if let Some(result) = results.get_mut(index) {
                    *result = outcome;
                }
            }
        }
        results
    }
}
