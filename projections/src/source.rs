//! The log as a feed: every commit once and in order, from any sequence on, for as long as it is
//! wanted. It asks for no acknowledgements (the checkpoint is in the tables), and so counts for
//! itself: a consumer numbers what it delivers, and where a number is missing the feed begins anew
//! after the last commit that it gave. The client's own ordered consumer does nearly this; here the
//! server's answers, the waiting and the decoding are in one place that can be read.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::State;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::log::{LogCommit, UnreadableCommit};

/// Messages that one request asks for. Few of them stall now and then.
const PULL: usize = 512;
/// Commits that are decoded ahead.
const AHEAD: usize = 512;
/// The server says this often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What the feed gives.
#[derive(Debug)]
pub(crate) enum Item {
    /// The next commit, and how many come after it.
    Commit {
        commit: Box<LogCommit>,
        pending: u64,
    },
    /// The next message cannot be read. Nothing comes after it.
    Unreadable { seq: u64, error: UnreadableCommit },
    /// The stream is not the one that the tables were made from. Nothing comes after it.
    OtherLog(String),
    /// The bus is away; the feed goes on by itself when it is back.
    Away(String),
    /// The bus is back.
    Back,
}

/// The log from a sequence on. Dropping it ends its consumer.
#[derive(Debug)]
pub(crate) struct Feed {
    items: mpsc::Receiver<Item>,
    _task: AbortOnDropHandle<()>,
}

impl Feed {
    /// Begins after the sequence `after`.
    pub(crate) fn start(js: jetstream::Context, stream: &str, after: u64) -> Self {
        let (to, items) = mpsc::channel(AHEAD);
        let reader = Reader {
            js,
            stream: stream.to_owned(),
            after,
            to,
        };
        Self {
            items,
            _task: AbortOnDropHandle::new(tokio::spawn(reader.run())),
        }
    }

    /// The next item. None: the item before it was the last.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }
}

/// Where the stream begins and ends.
pub(crate) async fn state(
    js: &jetstream::Context,
    stream: &str,
) -> Result<State, async_nats::Error> {
    let mut stream = js.get_stream(stream).await?;
    Ok(stream.info().await?.state.clone())
}

struct Reader {
    js: jetstream::Context,
    stream: String,
    after: u64,
    to: mpsc::Sender<Item>,
}

/// Why reading ended.
enum Ended {
    /// Begin anew.
    Failed(async_nats::Error),
    /// Nobody listens, or nothing may come after what was given.
    Done,
}

impl From<async_nats::Error> for Ended {
    fn from(error: async_nats::Error) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let before = self.after;
            let Err(Ended::Failed(error)) = self.read(&mut failures).await else {
                return;
            };
            if self.after > before {
                failures = 0;
            }
            failures += 1;
            if failures == 2 {
                warn!(%error, stream = self.stream, "the log cannot be read, trying again");
            }
            if failures >= 2 && self.to.send(Item::Away(error.to_string())).await.is_err() {
                return;
            }
            let wait = Duration::from_millis(25 << failures.min(8)).min(LONGEST_WAIT);
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
        }
    }

    /// Reads until something goes wrong.
    async fn read(&mut self, failures: &mut u32) -> Result<(), Ended> {
        let stream = self
            .js
            .get_stream(&self.stream)
            .await
            .map_err(async_nats::Error::from)?;
        if let Some(difference) = difference(&stream.cached_info().state, self.after) {
            let _ = self.to.send(Item::OtherLog(difference)).await;
            return Err(Ended::Done);
        }
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.after + 1,
            },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(30),
            ..pull::Config::default()
        };
        let consumer = stream
            .create_consumer(config)
            .await
            .map_err(async_nats::Error::from)?;
        let pull = consumer
            .stream()
            .max_messages_per_batch(PULL)
            .heartbeat(HEARTBEAT)
            .expires(Duration::from_secs(30));
        let mut messages = pull.messages().await.map_err(async_nats::Error::from)?;
        if *failures >= 2 {
            info!(
                stream = self.stream,
                after = self.after,
                "the log can be read again"
            );
            self.give(Item::Back).await?;
        }
        let mut expected = 1;
        while let Some(message) = messages.next().await {
            let message = message.map_err(async_nats::Error::from)?;
            let info = message.info()?;
            if info.consumer_sequence != expected {
                let missing = format!("delivery {expected} is missing");
                return Err(Ended::Failed(missing.into()));
            }
            expected += 1;
            let (seq, pending) = (info.stream_sequence, info.pending);
            match LogCommit::decode(&message.subject, seq, &message.payload) {
                Ok(commit) => {
                    self.give(Item::Commit {
                        commit: Box::new(commit),
                        pending,
                    })
                    .await?;
                }
                Err(error) => {
                    self.give(Item::Unreadable { seq, error }).await?;
                    return Err(Ended::Done);
                }
            }
            self.after = seq;
        }
        Err(Ended::Failed("the server ended the delivery".into()))
    }

    async fn give(&self, item: Item) -> Result<(), Ended> {
        self.to.send(item).await.map_err(|_| Ended::Done)
    }
}

/// Whether the stream can be what the tables were made from.
fn difference(state: &State, after: u64) -> Option<String> {
    if state.last_sequence < after {
        return Some(format!(
            "the tables have applied sequence {after}, and the log ends at {}: it lost its end, or \
             is another one. Restore it, or run `nexus projections rebuild`",
            state.last_sequence
        ));
    }
    // An empty stream begins after its end.
    if after > 0 && state.first_sequence > after + 1 {
        return Some(format!(
            "the tables have applied sequence {after}, and the log begins at {}: what is between \
             was never applied and is gone. Run `nexus projections rebuild`",
            state.first_sequence
        ));
    }
    None
}

/// An error and what caused it, in one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
