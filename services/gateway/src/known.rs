//! What this gateway happens to know of runs that it accepted: where each begins on the log, so that
//! reading it back needs no search, and which ones no role has taken up yet, so that asking for one
//! of those is not answered with "does not exist". A bounded cache; what falls out is looked up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use nexus_events::{RunId, SessionId, Tenant};

const MOST: usize = 65_536;

/// A run that was accepted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The bus has its command, and no role has answered.
    Queued(SessionId),
    /// Its first commit has this sequence.
    Begun(u64),
}

/// Runs that were accepted here, the latest ones.
pub(crate) struct KnownRuns(Mutex<LruCache<(Tenant, RunId), Known>>);

impl KnownRuns {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }

    pub(crate) fn queued(&self, tenant: &Tenant, run: RunId, session: SessionId) {
        self.insert(tenant, run, Known::Queued(session));
    }

    pub(crate) fn begun(&self, tenant: &Tenant, run: RunId, first_seq: u64) {
        self.insert(tenant, run, Known::Begun(first_seq));
    }

    pub(crate) fn get(&self, tenant: &Tenant, run: RunId) -> Option<Known> {
        self.lock().get(&(tenant.clone(), run)).copied()
    }

    /// Where the run begins on the log, if that is known.
    pub(crate) fn first_seq(&self, tenant: &Tenant, run: RunId) -> Option<u64> {
        match self.get(tenant, run)? {
            Known::Begun(first_seq) => Some(first_seq),
            Known::Queued(_) => None,
        }
    }

    fn insert(&self, tenant: &Tenant, run: RunId, known: Known) {
        self.lock().insert((tenant.clone(), run), known);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<(Tenant, RunId), Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_run_is_known_to_its_tenant_alone() {
        let (ours, theirs): (Tenant, Tenant) = ("a".parse().unwrap(), "b".parse().unwrap());
        let run = RunId::derive(&["x"]);
        let known = KnownRuns::new();
        known.queued(&ours, run, run.own_session());
        assert_eq!(
            known.get(&ours, run),
            Some(Known::Queued(run.own_session()))
        );
        assert_eq!(known.first_seq(&ours, run), None);
        known.begun(&ours, run, 7);
        assert_eq!(known.first_seq(&ours, run), Some(7));
        assert_eq!(known.get(&theirs, run), None);
    }
}
