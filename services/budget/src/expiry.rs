//! One timer on the bus a ledger, for whatever is due next without being asked: the reservation that
//! expires next, or the window that somebody waits for. A timer a reservation was the alternative:
//! it costs two messages a model call, to no end in all but the rarest case.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nexus_bus::Failure;
use nexus_bus::{CommandMeta, timer};
use nexus_events::command::ExpireReservations;
use nexus_events::ledger::Ledger;
use nexus_events::{AggregateId, CommandId, Tenant, Timestamp};

use crate::BudgetRole;

/// Timers are set to the full minute, so that a busy ledger sets few; windows begin on one.
const GRAIN_MS: i64 = 60_000;
/// The state of the batch that was just decided will do.
const FRESH: Duration = Duration::from_secs(60);

impl BudgetRole {
    /// Sees to it that a timer is set while something is held or waited for.
    pub(crate) async fn ensure_timer(&self, tenant: &Tenant) -> Result<(), Failure> {
        let now = self.bus.now();
        let next = {
            let ledger = self.store.peek::<Ledger>(tenant, &AggregateId::ONLY, FRESH);
            ledger.await?.state.next_due(now)
        };
        let Some(next) = next else { return Ok(()) };
        // Overdue ones (their timer was lost, or the clock went on while nothing ran) are due now.
        let next = next.as_millis().max(now.as_millis().saturating_add(1));
        let minutes = next
            .saturating_sub(1)
            .div_euclid(GRAIN_MS)
            .saturating_add(1);
        let at = Timestamp::from_millis(minutes.saturating_mul(GRAIN_MS));
        let set = self.timers.get(tenant);
        if set.is_some_and(|due| due > now && due <= at) {
            return Ok(());
        }
        let id = CommandId::derive("ledger-expiry", &at.to_string());
        let meta = CommandMeta::new(id, "nexus/budget");
        let command = ExpireReservations {}.into();
        timer::schedule(&self.bus, tenant, "ledger-expiry", at, &command, &meta)
            .await
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        self.timers.set(tenant, at);
        Ok(())
    }
}

/// A value a tenant, of this process alone.
pub(crate) struct PerTenant<T>(Mutex<HashMap<Tenant, T>>);

impl<T> Default for PerTenant<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy> PerTenant<T> {
    fn read(&self, tenant: &Tenant) -> Option<T> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(tenant).copied()
    }

    pub(crate) fn set(&self, tenant: &Tenant, value: T) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(tenant) {
            Some(place) => *place = value,
            None => {
                all.insert(tenant.clone(), value);
            }
        }
    }
}

/// Timers that this process knows to be set.
pub(crate) type Timers = PerTenant<Timestamp>;

impl Timers {
    fn get(&self, tenant: &Tenant) -> Option<Timestamp> {
        self.read(tenant)
    }
}

/// Sequences of the ledgers up to which this process has passed answers on. A process that has just
/// started has passed on none: what another left undone is done again, and collapses where it was
/// not.
pub(crate) type Told = PerTenant<u64>;

impl Told {
    pub(crate) fn get(&self, tenant: &Tenant) -> u64 {
        self.read(tenant).unwrap_or_default()
    }
}
