//! Token deltas, for whoever listens now. They go out on core NATS as they come: the call never
//! waits for a listener, and what nobody heard is in the final message.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use nexus_bus::Bus;
use nexus_content::{Side, Stream};
use nexus_events::content::Class;
use nexus_events::{RunId, Tenant, subject};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::provider::Delta;

/// What listeners of `live.run.<run_id>` get.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Live<'a> {
    /// More text.
    Text {
        /// The turn.
        turn: u32,
        /// The fragment.
        text: &'a str,
    },
    /// More of a tool call.
    ToolCall {
        /// The turn.
        turn: u32,
        /// Which call of the turn.
        index: usize,
        /// The call's id.
        id: &'a str,
        /// The tool.
        name: &'a str,
        /// The fragment of its arguments.
        arguments: &'a str,
    },
    /// What is being done before the model can answer.
    Progress {
        /// The turn.
        turn: u32,
        /// In words.
        text: &'a str,
    },
    /// The call is tried again: what came in this turn so far is void.
    Restart {
        /// The turn.
        turn: u32,
        /// Why.
        reason: &'a str,
    },
}

/// The live stream of one turn. Fragments that come faster than the bus takes them wait here
/// together; there are never more of them than the answer has.
pub(crate) struct LiveStream {
    bus: Bus,
    subject: String,
    turn: u32,
    /// Whether tool calls are shown without what the model writes into them.
    secret: bool,
    /// Nothing of what the model writes is shown: it is no answer.
    quiet: bool,
    filter: Option<Filter>,
    waiting: Mutex<VecDeque<Bytes>>,
    more: Notify,
}

/// What text passes through on its way.
struct Filter {
    side: Side,
    stream: Mutex<Stream>,
    /// Ends the call where something is refused.
    stop: CancellationToken,
}

impl Filter {
    fn pass<T>(&self, work: impl FnOnce(&mut Stream) -> T) -> T {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = work(&mut stream);
        if stream.refused().is_some() {
            self.stop.cancel();
        }
        passed
    }
}

impl LiveStream {
    pub(crate) fn new(bus: Bus, tenant: &Tenant, run_id: RunId, turn: u32, secret: bool) -> Self {
        let subject = subject::live_run(tenant, run_id);
        Self {
            bus,
            subject,
            turn,
            secret,
            quiet: false,
            filter: None,
            waiting: Mutex::default(),
            more: Notify::new(),
        }
    }

    /// The stream of a call that gives no answer: listeners are told what it is about.
    pub(crate) fn about(mut self, text: &str) -> Self {
        self.quiet = true;
        let turn = self.turn;
        self.push(&Live::Progress { turn, text });
        self
    }

    /// The stream with its text filtered; `stop` is cancelled where something is refused.
    pub(crate) fn filtered(mut self, side: &Side, stop: &CancellationToken) -> Self {
        if side.changes() {
            // What the filter would leave out of a call's arguments may lie across their fragments.
            self.secret = true;
            self.filter = Some(Filter {
                side: side.clone(),
                stream: Mutex::new(Stream::new(side)),
                stop: stop.clone(),
            });
        }
        self
    }

    /// What the filter met that it refuses; nothing was sent from there on.
    pub(crate) fn refused(&self) -> Option<Class> {
        let filter = self.filter.as_ref()?;
        filter
            .stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refused()
    }

    /// The answer is whole: what the filter held back goes out.
    pub(crate) fn finish(&self) {
        if let Some(filter) = &self.filter {
            self.text(&filter.pass(Stream::finish));
        }
    }

    pub(crate) fn delta(&self, delta: Delta<'_>) {
        if self.quiet {
            return;
        }
        let turn = self.turn;
        self.push(&match (delta, &self.filter) {
            (Delta::Text(text), Some(filter)) => {
                return self.text(&filter.pass(|stream| stream.push(text)));
            }
            (Delta::Text(text), None) => Live::Text { turn, text },
            (
                Delta::ToolCall {
                    index,
                    id,
                    name,
                    arguments,
                },
                _,
            ) => Live::ToolCall {
                turn,
                index,
                id,
                name,
                // A field cannot be left out of fragments.
                arguments: if self.secret { "" } else { arguments },
            },
        });
    }

    fn text(&self, text: &str) {
        if !text.is_empty() {
            let turn = self.turn;
            self.push(&Live::Text { turn, text });
        }
    }

    pub(crate) fn restart(&self, reason: &str) {
        if let Some(filter) = &self.filter {
            filter.pass(|stream| {
                // A refusal stands: the call is being broken off for it.
                if stream.refused().is_none() {
                    *stream = Stream::new(&filter.side);
                }
            });
        }
        self.push(&Live::Restart {
            turn: self.turn,
            reason,
        });
    }

    /// Passes notices on, for as long as it is polled.
    pub(crate) async fn pass_on(&self, mut notices: watch::Receiver<String>) -> Infallible {
        notices.mark_unchanged();
        while notices.changed().await.is_ok() {
            let text = notices.borrow_and_update().clone();
            self.push(&Live::Progress {
                turn: self.turn,
                text: &text,
            });
        }
        std::future::pending().await
    }

    /// Sends what comes, for as long as it is polled.
    pub(crate) async fn forward(&self) -> Infallible {
        loop {
            self.drain().await;
            self.more.notified().await;
        }
    }

    /// Sends what waits. A fragment waits until it is sent: whoever forwards is dropped when the call
    /// is over, perhaps in the middle of one, and what was taken out by then would be lost.
    pub(crate) async fn drain(&self) {
        while let Some(body) = self.first() {
            let subject = self.subject.clone();
            if let Err(error) = self.bus.client().publish(subject, body).await {
                tracing::debug!(%error, "a fragment was not sent; the final message has it");
            }
            self.waiting().pop_front();
        }
    }

    fn push(&self, live: &Live<'_>) {
        if let Ok(body) = serde_json::to_vec(live) {
            self.waiting().push_back(body.into());
            self.more.notify_one();
        }
    }

    fn first(&self) -> Option<Bytes> {
        self.waiting().front().cloned()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
