//! Where a call runs: its first slice with the caller, the rest on threads of the guests' own.
//!
//! Most calls are over in the first slice and pay for no hop between threads. Those that go on must
//! not hold the caller's threads, which carry the bus.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::Fault;

/// The guests' own threads.
pub(crate) struct Threads {
    runtime: Option<Runtime>,
}

impl Threads {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("sandbox")
            .max_blocking_threads(threads.saturating_mul(4))
            .enable_time()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Runs a call to its end. Dropping this future breaks it off.
    pub(crate) async fn run<F>(&self, call: F) -> Result<F::Output, Fault>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut call = Box::pin(call);
        let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        if let Poll::Ready(output) = first {
            return Ok(output);
        }
        let runtime = (self.runtime.as_ref()).ok_or_else(|| failed("its threads are gone"))?;
        let task = AbortOnDrop(runtime.spawn(call));
        task.await
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for guests is not possible where futures are polled, nor needed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        (Pin::new(&mut self.0).poll(context)).map_err(|error| failed(&error.to_string()))
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(why: &str) -> Fault {
    Fault::Sandbox(why.to_owned())
}
