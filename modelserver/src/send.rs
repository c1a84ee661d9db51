//! Carries a plan out over the connection, and counts what really left.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;

use crate::plan::{Plan, Step};
use crate::route::Shared;
use crate::stats::Account;

/// The answer that follows the plan.
pub(crate) fn send(shared: Arc<Shared>, plan: Plan, account: Account) -> Response {
    shared
        .stats
        .add(&shared.stats.input_tokens, plan.input_tokens);
    account.change(|sent| sent.input_tokens = plan.input_tokens);
    let kind = if plan.streams {
        "text/event-stream"
    } else {
        "application/json"
    };
    if let [Step::Piece(whole, tokens)] = plan.steps.as_slice() {
        shared.stats.add(&shared.stats.output_tokens, *tokens);
        account.change(|sent| (sent.output_tokens, sent.whole) = (*tokens, true));
        shared.stats.add(&shared.stats.completed, 1);
        return ([(header::CONTENT_TYPE, kind)], whole.clone()).into_response();
    }
    let sending = Sending {
        steps: plan.steps.into_iter(),
        stopping: shared.stopping.clone(),
        guard: Abandoned::new(shared),
        account,
    };
    let body = stream::unfold(Some(sending), async |sending| sending?.next().await);
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response()
}

struct Sending {
    steps: std::vec::IntoIter<Step>,
    stopping: watch::Receiver<bool>,
    guard: Abandoned,
    account: Account,
}

type Sent = Result<Bytes, std::io::Error>;

impl Sending {
    async fn next(mut self) -> Option<(Sent, Option<Self>)> {
        loop {
            let stats = &self.guard.shared.stats;
            match self.steps.next() {
                Some(Step::Piece(bytes, tokens)) => {
                    self.account.change(|sent| sent.output_tokens += tokens);
                    stats.add(&stats.output_tokens, tokens);
                    return Some((Ok(bytes), Some(self)));
                }
                Some(Step::Delay(delay)) => pause(delay, &mut self.stopping).await,
                Some(Step::Cut) => {
                    stats.add(&stats.cut, 1);
                    // What was sent so far must be on its way before the connection is dropped.
                    tokio::task::yield_now().await;
                    return self.broken();
                }
                Some(Step::Hang) => {
                    let _ = self.stopping.wait_for(|stop| *stop).await;
                    return self.broken();
                }
                None => {
                    self.account.change(|sent| sent.whole = true);
                    stats.add(&stats.completed, 1);
                    self.guard.defuse();
                    return None;
                }
            }
        }
    }

    /// An error in the body makes the server drop the connection.
    fn broken(self) -> Option<(Sent, Option<Self>)> {
        self.guard.defuse();
        Some((Err(std::io::Error::other("scripted end")), None))
    }
}

/// Waits for `delay`, or until the server stops.
pub(crate) async fn pause(delay: Duration, stopping: &mut watch::Receiver<bool>) {
    let stopped = stopping.wait_for(|stop| *stop);
    let _ = tokio::time::timeout(delay, stopped).await;
}

/// Counts an answer as abandoned unless it is defused.
pub(crate) struct Abandoned {
    shared: Arc<Shared>,
    armed: bool,
}

impl Abandoned {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            armed: true,
        }
    }

    pub(crate) fn defuse(mut self) {
        self.armed = false;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.armed {
            self.shared.stats.add(&self.shared.stats.abandoned, 1);
        }
    }
}
