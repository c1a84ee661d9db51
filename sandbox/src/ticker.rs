//! Advances the engine's epoch while calls run, so that compiled code looks up from its work every
//! few milliseconds. One thread for all calls; while there are none it sleeps for good, so that a
//! platform at rest does not wake up two hundred times a second.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

/// How often a guest looks up.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Calls that are under way.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: usize,
    over: bool,
}

/// Keeps the epoch advancing until it is dropped.
pub(crate) struct Ticking {
    shared: Arc<Shared>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (engine, seen) = (engine.clone(), Arc::clone(&shared));
        thread::Builder::new()
            .name("sandbox-ticker".to_owned())
            .spawn(move || tick(&engine, &seen))?;
        Ok(Self { shared })
    }

    pub(crate) fn while_calling(&self) -> Ticking {
        self.shared.change(|state| state.calls += 1);
        Ticking {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.change(|state| state.over = true);
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.change(|state| state.calls -= 1);
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = state.calls == 0;
        change(&mut state);
        if slept {
            self.changed.notify_one();
        }
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    loop {
        let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = (shared.changed)
            .wait_while(state, |state| state.calls == 0 && !state.over)
            .unwrap_or_else(PoisonError::into_inner);
        if state.over && state.calls == 0 {
            return;
        }
        drop(state);
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}
