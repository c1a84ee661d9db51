//! One timer on the bus a ledger, for the reservation that expires next. A timer a reservation was
//! the alternative: it costs two messages a model call, to no end in all but the rarest case.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nexus_bus::Failure;
use nexus_bus::{CommandMeta, timer};
use nexus_events::command::ExpireReservations;
use nexus_events::ledger::Ledger;
use nexus_events::{AggregateId, CommandId, Tenant, Timestamp};

use crate::BudgetRole;

/// Timers are set to the full minute, so that a busy ledger sets few.
const GRAIN_MS: i64 = 60_000;

/// The timers that this process knows to be set.
#[derive(Default)]
pub(crate) struct Timers {
    due: Mutex<HashMap<Tenant, Timestamp>>,
}

impl BudgetRole {
    /// Sees to it that a timer is set while something is held.
    pub(crate) async fn ensure_timer(&self, tenant: &Tenant) -> Result<(), Failure> {
        let now = self.bus.now();
        if self.timers.get(tenant).is_some_and(|due| due > now) {
            return Ok(());
        }
        let next = {
            let ledger = self.store.peek::<Ledger>(
                tenant,
                &AggregateId::ONLY,
                std::time::Duration::from_secs(60),
            );
            ledger.await?.state.next_expiry()
        };
        let Some(next) = next else { return Ok(()) };
        // Overdue ones (their timer was lost, or the clock went on while nothing ran) are due now.
        let at = next.as_millis().max(now.as_millis()).div_euclid(GRAIN_MS) + 1;
        let at = Timestamp::from_millis(at * GRAIN_MS);
        let id = CommandId::derive("ledger-expiry", &at.to_string());
        let meta = CommandMeta::new(id, "nexus/budget");
        let command = ExpireReservations {}.into();
        timer::schedule(&self.bus, tenant, "ledger-expiry", at, &command, &meta)
            .await
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        self.timers.set(tenant.clone(), at);
        Ok(())
    }
}

impl Timers {
    fn get(&self, tenant: &Tenant) -> Option<Timestamp> {
        self.due
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
            .copied()
    }

    fn set(&self, tenant: Tenant, at: Timestamp) {
        self.due
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant, at);
    }
}
