//! Tenants that called this gateway: whose budgets are worth a gauge. Bounded, as tenants may be
//! chosen by callers for now.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use nexus_events::Tenant;

const MOST: usize = 256;

/// Tenants that called.
pub(crate) struct Tenants(Mutex<BTreeSet<Tenant>>);

impl Tenants {
    pub(crate) fn with(first: Tenant) -> Self {
        Self(Mutex::new(BTreeSet::from([first])))
    }

    pub(crate) fn note(&self, tenant: &Tenant) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() < MOST && !tenants.contains(tenant) {
            tenants.insert(tenant.clone());
        }
    }

    pub(crate) fn seen(&self) -> BTreeSet<Tenant> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
