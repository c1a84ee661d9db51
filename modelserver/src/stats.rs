//! What the server really did, for tests and for reconciling bills.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

/// Most requests that are remembered; the oldest go first.
const MAX_RECORDED: usize = 1024;
/// Most accounts of what was sent.
const MAX_SENT: usize = 65_536;

/// A moment's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections that were accepted.
    pub connections: u64,
    /// Answers asked for, refused ones included.
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
    /// The `Authorization` header, or what `x-api-key` says.
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

/// What one request really got, for reconciling its bill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The answer's id; empty where it has none.
    pub id: String,
    /// The path that was asked.
    pub path: &'static str,
    /// The model that was asked for.
    pub model: String,
    /// Tokens of its prompt.
    pub input_tokens: u64,
    /// Tokens of the answer that were handed to the socket.
    pub output_tokens: u64,
    /// The answer was sent to its end.
    pub whole: bool,
}

/// One request's account, which goes on while its answer is sent.
#[derive(Clone, Debug)]
pub(crate) struct Account(Arc<Mutex<Sent>>);

impl Account {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Sent)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
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
    sent: Mutex<VecDeque<Account>>,
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

    /// Opens the account of a request that is answered.
    pub(crate) fn open(&self, path: &'static str, model: &str, id: String) -> Account {
        let account = Account(Arc::new(Mutex::new(Sent {
            id,
            path,
            model: model.to_owned(),
            ..Sent::default()
        })));
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() == MAX_SENT {
            sent.pop_front();
        }
        sent.push_back(account.clone());
        account
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |account: &Account| {
            (account.0.lock())
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        sent.iter().map(of).collect()
    }

    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.iter().cloned().collect()
    }
}
