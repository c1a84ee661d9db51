//! What the server really did, for tests and for reconciling bills.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

/// Most requests that are remembered; the oldest go first.
const MAX_RECORDED: usize = 1024;

/// A moment's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that were accepted.
    pub connections: u64,
    /// Chat completions asked for, refused ones included.
    pub calls: u64,
    /// Answers that were sent to their end.
    pub completed: u64,
    /// Answers refused with an error status.
    pub refused: u64,
    /// Answers that this server cut, as scripted.
    pub cut: u64,
    /// Answers that the client gave up before their end.
    pub abandoned: u64,
    /// Prompt tokens of the calls that were not refused.
    pub input_tokens: u64,
    /// Completion tokens that were handed to the socket.
    pub output_tokens: u64,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Recorded {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) input_tokens: AtomicU64,
    pub(crate) output_tokens: AtomicU64,
    pub(crate) changed: Notify,
    recorded: Mutex<VecDeque<Recorded>>,
}

impl Stats {
    pub(crate) fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
        self.changed.notify_waiters();
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.load(Relaxed),
            calls: self.calls.load(Relaxed),
            completed: self.completed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            cut: self.cut.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            input_tokens: self.input_tokens.load(Relaxed),
            output_tokens: self.output_tokens.load(Relaxed),
        }
    }

    pub(crate) fn record(&self, request: Recorded) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.len() == MAX_RECORDED {
            recorded.pop_front();
        }
        recorded.push_back(request);
    }

    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.iter().cloned().collect()
    }
}
