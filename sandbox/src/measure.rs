//! How fast it is: plain loops over the public interface, for `nexus bench tools` and the example.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Call, CallError, Fault, Guest, LoadError, Module, Sandbox, SandboxConfig};

/// A component in C (`guests/c`): `{"n": 30}` gives `{"fib": 832040}`.
pub const FIB_COMPONENT: &[u8] = include_bytes!("../guests/c/fib.wasm");
/// The least that JavaScript and Python can do.
pub const SMALL_SOURCE: &str = "input";
/// An endless loop in JavaScript.
pub const ENDLESS: &str = "for (;;);";

/// Durations of the same thing, and what one of them used.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    sorted: Vec<Duration>,
    total: Duration,
    /// The most linear memory of any call, in bytes.
    pub peak_memory: u64,
}

impl Timings {
    fn new(mut durations: Vec<Duration>, total: Duration, peak_memory: u64) -> Self {
        durations.sort_unstable();
        Self {
            sorted: durations,
            total,
            peak_memory,
        }
    }

    /// The duration that so many percent stay within.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        let at = self.sorted.len().saturating_mul(percent) / 100;
        self.sorted.get(at.min(last)).copied().unwrap_or_default()
    }

    /// How many in a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.total.as_secs_f64().max(f64::EPSILON)
    }
}

/// Calls one after the other, the first ones not counted.
///
/// # Errors
/// The first call that fails.
pub async fn calls(
    sandbox: &Sandbox,
    module: &Arc<Module>,
    call: &Call,
    count: usize,
) -> Result<Timings, CallError> {
    for _ in 0..count.min(5) {
        sandbox.call(module, call.clone()).await?;
    }
    let (mut durations, mut peak) = (Vec::with_capacity(count), 0);
    let begin = Instant::now();
    for _ in 0..count {
        let since = Instant::now();
        let output = sandbox.call(module, call.clone()).await?;
        durations.push(since.elapsed());
        peak = output.traces.peak_memory.max(peak);
    }
    Ok(Timings::new(durations, begin.elapsed(), peak))
}

/// How long after its limit of processor time an endless loop is stopped, by the clock.
///
/// # Errors
/// [`Fault::Sandbox`] when it was stopped by anything else.
pub async fn stops(
    sandbox: &Sandbox,
    module: &Arc<Module>,
    limit: Duration,
    count: usize,
) -> Result<Timings, CallError> {
    let mut call = Call {
        input: "null".to_owned(),
        ..Call::default()
    };
    call.limits.cpu = limit;
    let mut durations = Vec::with_capacity(count);
    let begin = Instant::now();
    for _ in 0..count {
        let since = Instant::now();
        let ended = sandbox.call(module, call.clone()).await;
        let late = since.elapsed().saturating_sub(limit);
        if !matches!(&ended, Err(error) if error.fault == Fault::CpuExceeded) {
            let why = format!("an endless loop ended with {ended:?}");
            return Err(CallError::bare(Fault::Sandbox(why)));
        }
        durations.push(late);
    }
    Ok(Timings::new(durations, begin.elapsed(), 0))
}

/// What a process that has just started pays for the first call of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Cold {
    /// Until the guest is loaded, the engine started included.
    pub load: Duration,
    /// The first call.
    pub call: Duration,
}

/// Loads and calls a guest in a sandbox of its own.
///
/// # Errors
/// When the guest cannot be loaded; the call's own outcome does not matter.
pub async fn cold(config: &SandboxConfig, guest: Guest, call: Call) -> Result<Cold, LoadError> {
    let since = Instant::now();
    let sandbox =
        Sandbox::new(config.clone()).map_err(|error| LoadError::Sandbox(error.to_string()))?;
    let module = sandbox.load(guest).await?;
    let load = since.elapsed();
    let since = Instant::now();
    // An error takes as long.
    let _ = sandbox.call(&module, call).await;
    Ok(Cold {
        load,
        call: since.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let millis = |n| Duration::from_millis(n);
        let timings = Timings::new((1..=100).rev().map(millis).collect(), millis(5050), 0);
        assert_eq!(timings.percentile(50), millis(51));
        assert_eq!(timings.percentile(99), millis(100));
        assert_eq!(timings.percentile(100), millis(100));
        assert_eq!(Timings::default().percentile(50), Duration::ZERO);
    }
}
