//! Folded aggregates, the least recently used leaving first. Each entry has a lock of its own, so
//! that one process never conflicts with itself on one aggregate, and a long load holds up nobody
//! else. A cache outside the process lost: reading the few commits of a run back costs a tenth of a
//! millisecond, and for aggregates that grow long there are snapshots.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hashlink::LruCache;
use nexus_events::Aggregate;
use tokio::sync::Mutex as AsyncMutex;

use super::Loaded;

/// One aggregate's place: empty until it is first loaded.
pub(super) type Slot<A> = Arc<AsyncMutex<Loaded<A>>>;

struct Shelf<A>(Mutex<LruCache<Arc<str>, Slot<A>>>);

/// A shelf for each kind of aggregate.
pub(super) struct Cache {
    capacity: usize,
    shelves: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Cache {
    /// Room for `capacity` aggregates of each kind.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            shelves: RwLock::default(),
        }
    }

    /// The place of the aggregate on `subject`.
    pub(super) fn slot<A: Aggregate>(&self, subject: &str) -> Slot<A> {
        let shelf = self.shelf::<A>();
        let mut slots = shelf.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(subject) {
            return Arc::clone(slot);
        }
        let subject: Arc<str> = subject.into();
        let slot = Arc::new(AsyncMutex::new(Loaded::empty(Arc::clone(&subject))));
        slots.insert(subject, Arc::clone(&slot));
        slot
    }

    fn shelf<A: Aggregate>(&self) -> Arc<Shelf<A>> {
        let key = TypeId::of::<A>();
        let known = {
            let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
            shelves.get(&key).cloned()
        };
        let shelf = known.unwrap_or_else(|| {
            let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = || -> Arc<dyn Any + Send + Sync> { Arc::new(self.shelf_of::<A>()) };
            Arc::clone(shelves.entry(key).or_insert_with(fresh))
        });
        // The key is the type: a shelf of another cannot be found under it.
        shelf
            .downcast::<Shelf<A>>()
            .unwrap_or_else(|_| Arc::new(self.shelf_of::<A>()))
    }

    fn shelf_of<A>(&self) -> Shelf<A> {
        Shelf(Mutex::new(LruCache::new(self.capacity)))
    }
}
