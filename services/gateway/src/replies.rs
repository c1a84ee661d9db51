//! The outcomes of commands. One subscription for the whole gateway takes them all and hands each to
//! whoever waits for it: a subscription a request would cost the server two messages more for each,
//! and this way the inbox is there before the first command.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use nexus_bus::Bus;
use nexus_events::envelope::HEARD;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::GatewayError;

/// Told to a role that asks whether its answer was heard, where it was not.
const GONE: &[u8] = b"gone";

/// Outcomes that are waited for, by the last token of their subject.
pub(crate) struct Replies {
    inbox: String,
    next: AtomicU64,
    most: usize,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
}

/// One that waits. Forgotten when it is dropped.
pub(crate) struct Waiting {
    replies: Arc<Replies>,
    token: u64,
    outcome: oneshot::Receiver<Bytes>,
}

/// As many wait as may.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Replies {
    /// Begins to listen; at most `most` may wait at a time.
    pub(crate) async fn listen(
        bus: &Bus,
        most: usize,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, GatewayError> {
        let replies = Arc::new(Self::new(bus.client().new_inbox(), most));
        let subject = format!("{}.*", replies.inbox);
        let mut outcomes = bus
            .client()
            .subscribe(subject)
            .await
            .map_err(GatewayError::Subscribe)?;
        let deliver = Arc::clone(&replies);
        let client = bus.client().clone();
        tokio::spawn(async move {
            let all = async {
                while let Some(outcome) = outcomes.next().await {
                    let heard = deliver.deliver(&outcome.subject, outcome.payload);
                    if let Some(asks) = outcome.reply.filter(|it| it.starts_with("_INBOX")) {
                        let answer = if heard { HEARD } else { GONE };
                        // Unanswered, it counts as not heard.
                        let _ = client.publish(asks, Bytes::from_static(answer)).await;
                    }
                }
            };
            stopping.run_until_cancelled(all).await;
        });
        Ok(replies)
    }

    fn new(inbox: String, most: usize) -> Self {
        Self {
            inbox,
            next: AtomicU64::new(0),
            most,
            waiting: Mutex::default(),
        }
    }

    /// A place to wait at, with a subject of its own.
    pub(crate) fn expect(self: &Arc<Self>) -> Result<Waiting, TooMany> {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, outcome) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.len() >= self.most {
            return Err(TooMany);
        }
        waiting.insert(token, sender);
        drop(waiting);
        Ok(Waiting {
            replies: Arc::clone(self),
            token,
            outcome,
        })
    }

    /// Hands an outcome over; whether somebody waited for it.
    fn deliver(&self, subject: &str, outcome: Bytes) -> bool {
        let token = subject
            .rsplit('.')
            .next()
            .and_then(|token| token.parse().ok());
        let sender = token.and_then(|token: u64| self.lock().remove(&token));
        sender.is_some_and(|sender| sender.send(outcome).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Where the outcome is to be sent.
    pub(crate) fn subject(&self) -> String {
        format!("{}.{}", self.replies.inbox, self.token)
    }

    /// The outcome; none when it does not come in time.
    pub(crate) async fn outcome(mut self, timeout: Duration) -> Option<Bytes> {
        match tokio::time::timeout(timeout, &mut self.outcome).await {
            Ok(outcome) => outcome.ok(),
            // What was handed over in this moment counts as heard, so it is.
            Err(_) => {
                self.outcome.close();
                self.outcome.try_recv().ok()
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.replies.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[tokio::test]
    async fn each_outcome_finds_whoever_waits_for_it() {
        let replies = Arc::new(Replies::new("_INBOX.x".to_owned(), 2));
        let (first, second) = (replies.expect().unwrap(), replies.expect().unwrap());
        assert!(replies.expect().is_err(), "the number is bounded");
        assert!(replies.deliver(&second.subject(), Bytes::from_static(b"2")));
        assert!(replies.deliver(&first.subject(), Bytes::from_static(b"1")));
        assert!(!replies.deliver("_INBOX.x.99", Bytes::from_static(b"nobody's")));
        assert!(!replies.deliver("_INBOX.x.no-number", Bytes::new()));
        let long = Duration::from_secs(60);
        assert_eq!(first.outcome(long).await.unwrap(), "1");
        assert_eq!(second.outcome(long).await.unwrap(), "2");
        assert!(replies.lock().is_empty());
    }

    #[tokio::test]
    async fn whoever_gives_up_is_forgotten() {
        let replies = Arc::new(Replies::new("_INBOX.x".to_owned(), 1));
        let waiting = replies.expect().unwrap();
        let subject = waiting.subject();
        assert_eq!(waiting.outcome(Duration::ZERO).await, None);
        assert!(!replies.deliver(&subject, Bytes::new()), "nobody hears it");
        assert!(replies.expect().is_ok());
    }
}
