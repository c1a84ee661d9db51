//! How much processor time a call has used, by the clock of the thread that polls it.
//!
//! Counting epochs, or time between polls by the wall clock, was the alternative: on a busy machine
//! a guest would then be charged for the time that others had.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::Fault;

/// What is known of a call while it runs, shared by all that may end it.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
    used: AtomicU64,
    /// The thread's clock when the poll that is under way began.
    since: AtomicU64,
    peak_memory: AtomicU64,
    fault: OnceLock<Fault>,
}

impl Meter {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit: u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX),
            used: AtomicU64::new(0),
            since: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            fault: OnceLock::new(),
        }
    }

    /// Remembers why the call ends, the first reason only, and makes the error that ends it.
    pub(crate) fn stop(&self, fault: Fault) -> wasmtime::Error {
        let error = wasmtime::Error::msg(fault.to_string());
        // What came first is the cause of what comes later.
        let _ = self.fault.set(fault);
        error
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().cloned()
    }

    pub(crate) fn saw_memory(&self, bytes: u64) {
        self.peak_memory.fetch_max(bytes, Relaxed);
    }

    pub(crate) fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Relaxed)
    }

    /// Of the polls that are over.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// Called in the middle of a poll, on its thread: has the call used too much?
    pub(crate) fn is_spent(&self) -> bool {
        let now = thread_time().saturating_sub(self.since.load(Relaxed));
        self.used.load(Relaxed).saturating_add(now) >= self.limit
    }
}

/// A future whose polls are charged to a meter. A panic in it, which would be a bug of the engine
/// that some guest has found, ends this call and no other.
pub(crate) struct Metered<'a, F> {
    inner: Option<Pin<Box<F>>>,
    meter: &'a Meter,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(inner: F, meter: &'a Meter) -> Self {
        Self {
            inner: Some(Box::pin(inner)),
            meter,
        }
    }
}

impl<T, F: Future<Output = Result<T, Fault>>> Future for Metered<'_, F> {
    type Output = Result<T, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let since = thread_time();
        self.meter.since.store(since, Relaxed);
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut self.inner {
            Some(inner) => inner.as_mut().poll(context),
            None => Poll::Ready(Err(panicked())),
        }));
        let used = thread_time().saturating_sub(since);
        self.meter.used.fetch_add(used, Relaxed);
        polled.unwrap_or_else(|_| {
            let broken = self.inner.take();
            // It may panic again while it goes.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
            Poll::Ready(Err(panicked()))
        })
    }
}

fn panicked() -> Fault {
    Fault::Sandbox("the engine panicked".to_owned())
}

/// Nanoseconds that this thread has had.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
