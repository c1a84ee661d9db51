//! What a tenant may have at work at once, in all and of one tool. Who does not get in waits here for
//! a moment, and a tenant that has too many waiting is put off to the bus, so that its calls do not
//! take the places of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_bus::Failure;
use nexus_events::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls of one tenant at work at once, of all tools together.
const OF_TENANT: u32 = 64;
/// Calls of one tenant that wait in this process.
const MOST_WAITING: usize = 64;
/// How long the ones beyond that are put off, for each time that they were.
const PUT_OFF: Duration = Duration::from_millis(250);
const PUT_OFF_AT_MOST: Duration = Duration::from_secs(10);

type Key = (Tenant, String);

/// The gates of a process.
#[derive(Clone, Default)]
pub(crate) struct Gates(Arc<Mutex<HashMap<Key, Gate>>>);

/// A gate is forgotten when nobody is in it or before it.
struct Gate {
    places: Arc<Semaphore>,
    users: usize,
}

/// Leave to be at work; given back when it is dropped.
pub(crate) struct Pass {
    _places: [OwnedSemaphorePermit; 2],
    _users: [User; 2],
}

impl Gates {
    /// Waits until the call may be at work. `size` is how many of the tool may be.
    pub(crate) async fn enter(
        &self,
        tenant: &Tenant,
        tool: &str,
        size: u32,
        delivered: u64,
    ) -> Result<Pass, Failure> {
        // No tool has this name.
        let (all, users) = self.join(tenant, "", OF_TENANT);
        let at_work = OF_TENANT as usize - all.available_permits().min(OF_TENANT as usize);
        if users.count() > at_work + MOST_WAITING {
            return Err(Failure::Retry {
                after: Some(put_off(delivered)),
                reason: "the tenant has too many tool calls waiting".to_owned(),
            });
        }
        let (own, own_users) = self.join(tenant, tool, size);
        let closed = |_| Failure::retry("the gate is closed");
        // The tool's own first: who waits for it must not keep other tools of the tenant out.
        let own = own.acquire_owned().await.map_err(closed)?;
        let all = all.acquire_owned().await.map_err(closed)?;
        Ok(Pass {
            _places: [own, all],
            _users: [own_users, users],
        })
    }

    fn join(&self, tenant: &Tenant, tool: &str, size: u32) -> (Arc<Semaphore>, User) {
        let key = (tenant.clone(), tool.to_owned());
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(key.clone()).or_insert_with(|| Gate {
            places: Arc::new(Semaphore::new(size.max(1) as usize)),
            users: 0,
        });
        gate.users += 1;
        let gates = self.clone();
        (Arc::clone(&gate.places), User { gates, key })
    }
}

/// Somebody in a gate, or before it.
struct User {
    gates: Gates,
    key: Key,
}

impl User {
    fn count(&self) -> usize {
        let gates = self.gates.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.get(&self.key).map_or(0, |gate| gate.users)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut gates = self.gates.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(&self.key) {
            gate.users -= 1;
            if gate.users == 0 {
                gates.remove(&self.key);
            }
        }
    }
}

fn put_off(delivered: u64) -> Duration {
    let times = u32::try_from(delivered).unwrap_or(u32::MAX).max(1);
    PUT_OFF.saturating_mul(times).min(PUT_OFF_AT_MOST)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use futures_util::FutureExt;

    use super::*;

    fn tenant(name: &str) -> Tenant {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_tool_has_so_many_places_and_other_tools_and_tenants_have_theirs() {
        let gates = Gates::default();
        let (a, b) = (tenant("a"), tenant("b"));
        let first = gates.enter(&a, "slow", 1, 1).await.ok().unwrap();
        let mut second = Box::pin(gates.enter(&a, "slow", 1, 1));
        assert!((&mut second).now_or_never().is_none());
        assert!(gates.enter(&a, "fast", 1, 1).now_or_never().is_some());
        assert!(gates.enter(&b, "slow", 1, 1).now_or_never().is_some());
        drop(first);
        drop(second.await.ok().unwrap());
        assert!(gates.0.lock().unwrap().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn too_many_that_wait_are_put_off_and_no_other_tenant_is() {
        let gates = Gates::default();
        let (a, b) = (tenant("a"), tenant("b"));
        let _first = gates.enter(&a, "slow", 1, 1).await.ok().unwrap();
        let mut waiting = vec![];
        for _ in 0..MOST_WAITING {
            let mut one = Box::pin(gates.enter(&a, "slow", 1, 1));
            assert!((&mut one).now_or_never().is_none());
            waiting.push(one);
        }
        let put_off = gates.enter(&a, "slow", 1, 3).await.err();
        let Some(Failure::Retry { after, .. }) = put_off else {
            unreachable!("{put_off:?}")
        };
        assert_eq!(after, Some(PUT_OFF * 3));
        assert!(gates.enter(&b, "slow", 1, 1).await.is_ok());
    }
}
