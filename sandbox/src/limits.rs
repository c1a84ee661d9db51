//! What one call may use. WebAssembly has no other way to memory than through `Limiter`, which ends
//! the call at the limit. Telling the guest that its growth failed was the alternative: interpreters
//! turn that into all kinds of errors, or into an abort, and nobody could tell a limit from a bug.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::cpu::Meter;
use crate::error::Fault;

/// Limits of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// CPU time, instantiation included. Enforced to some 5 ms.
    pub cpu: Duration,
    /// Time by the clock, waiting for a free place included.
    pub wall: Duration,
    /// All linear memories together, in bytes.
    pub memory: u64,
    /// The result, and for commands whatever else is on standard output, in bytes.
    pub output: u64,
    /// The input, with the source where the source is the tool, in bytes.
    pub input: u64,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Core instances; a component may be made of many.
    pub instances: u32,
    /// Requests through the broker.
    pub requests: u32,
    /// How much of the guest's log lines and standard error is kept, from the end, in bytes.
    pub log: u64,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(10),
            wall: Duration::from_secs(30),
            memory: 128 << 20,
            output: 1 << 20,
            input: 4 << 20,
            table_elements: 50_000,
            instances: 64,
            requests: 100,
            log: 16 << 10,
        }
    }
}

/// Judges each growth of one call.
pub(crate) struct Limiter {
    memory: u64,
    memory_limit: u64,
    elements: u64,
    elements_limit: u64,
    instances: usize,
    meter: Arc<Meter>,
}

impl Limiter {
    pub(crate) fn new(limits: &CallLimits, max_memory: u64, meter: Arc<Meter>) -> Self {
        Self {
            memory: 0,
            memory_limit: limits.memory.min(max_memory),
            elements: 0,
            elements_limit: limits.table_elements,
            instances: limits.instances as usize,
            meter,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = grown(self.memory, current, desired);
        if sum > self.memory_limit {
            return Err(self.meter.stop(Fault::MemoryExceeded));
        }
        self.memory = sum;
        self.meter.saw_memory(sum);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = grown(self.elements, current, desired);
        if sum > self.elements_limit {
            return Err(self.meter.stop(Fault::TableExceeded));
        }
        self.elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

fn grown(sum: u64, current: usize, desired: usize) -> u64 {
    sum.saturating_add((desired as u64).saturating_sub(current as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_count_together() {
        let meter = Arc::new(Meter::new(Duration::from_secs(1)));
        let limits = CallLimits {
            memory: 10 << 16,
            ..CallLimits::default()
        };
        let mut limiter = Limiter::new(&limits, u64::MAX, Arc::clone(&meter));
        assert!(limiter.memory_growing(0, 6 << 16, None).is_ok());
        assert!(limiter.memory_growing(0, 4 << 16, None).is_ok());
        assert!(limiter.memory_growing(4 << 16, 5 << 16, None).is_err());
        assert_eq!(meter.fault(), Some(Fault::MemoryExceeded));
        assert_eq!(meter.peak_memory(), 10 << 16);
    }
}
