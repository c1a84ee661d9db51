//! Batches from the feed, folded beside the writer: while one batch is written the next one grows.
//!
//! A transaction costs the same for one commit as for hundreds. So a busy projector waits a moment
//! for more before it writes; one that was idle writes at once, as nobody likes to wait for nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::batch::Batch;
use crate::source::{Feed, Item, chain};

/// What a stretch may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events; a commit is never divided.
    pub(crate) events: usize,
    /// Bytes of messages.
    pub(crate) bytes: usize,
    /// How long more is waited for.
    pub(crate) linger: Duration,
    /// Commits up to and with this sequence are each a stretch of their own.
    pub(crate) alone_until: u64,
    /// Nothing after this sequence is given.
    pub(crate) last: u64,
}

/// What the gatherer gives.
pub(crate) enum Word {
    /// A stretch of the log, to be written.
    Stretch(Box<Stretch>),
    /// The bus is away, with the reason, or back.
    Bus(Option<String>),
}

/// A stretch of the log.
#[derive(Default)]
pub(crate) struct Stretch {
    pub(crate) batch: Batch,
    /// Commits that come after it.
    pub(crate) pending: u64,
    /// Nothing can come after it.
    pub(crate) stop: Option<Stop>,
}

/// A commit that cannot be read.
pub(crate) struct Stop {
    /// Its sequence; 0 where it is the whole log that does not fit.
    pub(crate) seq: u64,
    pub(crate) reason: String,
}

/// Gathers in a task of its own, which ends with this.
pub(crate) struct Gatherer {
    words: mpsc::Receiver<Word>,
    ready: Arc<Semaphore>,
    _task: AbortOnDropHandle<()>,
}

impl Gatherer {
    pub(crate) fn start(feed: Feed, limits: Limits) -> Self {
        let (to, words) = mpsc::channel(1);
        let ready = Arc::new(Semaphore::new(1));
        let task = Task {
            feed,
            to,
            ready: ready.clone(),
            limits,
            ended: false,
        };
        Self {
            words,
            ready,
            _task: AbortOnDropHandle::new(tokio::spawn(task.run())),
        }
    }

    /// The next word. None: the last sequence was given, or the log was closed.
    pub(crate) async fn next(&mut self) -> Option<Word> {
        self.words.recv().await
    }

    /// The stretch was written: the next one may come.
    pub(crate) fn written(&self) {
        self.ready.add_permits(1);
    }
}

struct Task {
    feed: Feed,
    to: mpsc::Sender<Word>,
    ready: Arc<Semaphore>,
    limits: Limits,
    /// The last sequence was met.
    ended: bool,
}

impl Task {
    async fn run(mut self) {
        let mut idle_from = Instant::now();
        while let Some(stretch) = self.gather(idle_from).await {
            self.ended |= stretch.stop.is_some();
            if self
                .to
                .send(Word::Stretch(Box::new(stretch)))
                .await
                .is_err()
            {
                return;
            }
            idle_from = Instant::now() + 2 * self.limits.linger;
        }
    }

    /// One stretch: what comes until the writer is ready for it and the linger is over.
    async fn gather(&mut self, idle_from: Instant) -> Option<Stretch> {
        let mut out = Stretch::default();
        while out.is_empty() {
            if self.ended {
                return None;
            }
            let item = self.feed.next().await?;
            self.take(&mut out, item).await?;
        }
        let now = Instant::now();
        let due = if now < idle_from {
            now + self.limits.linger
        } else {
            now
        };
        let ready = self.ready.clone();
        loop {
            let (room, is_due) = (self.has_room(&out), Instant::now() >= due);
            tokio::select! {
                biased;
                item = self.feed.next(), if room => self.take(&mut out, item?).await?,
                permit = ready.acquire(), if is_due || !room => {
                    permit.ok()?.forget();
                    return Some(out);
                }
                () = sleep_until(due), if !is_due && room => {}
            }
        }
    }

    fn has_room(&self, out: &Stretch) -> bool {
        let Limits {
            events,
            bytes,
            alone_until,
            ..
        } = self.limits;
        let batch = &out.batch;
        !self.ended
            && out.stop.is_none()
            && batch.last_seq() > alone_until
            && batch.events() < events
            && batch.bytes() < bytes
    }

    async fn take(&mut self, out: &mut Stretch, item: Item) -> Option<()> {
        match item {
            Item::Commit { commit, .. } if commit.seq > self.limits.last => self.ended = true,
            Item::Commit { commit, pending } => {
                out.batch.apply(&commit);
                out.pending = pending;
                // What is named as the last may be gone from the log.
                let all = self.limits.last != u64::MAX && pending == 0;
                self.ended = all || commit.seq == self.limits.last;
            }
            Item::Unreadable { seq, error } => {
                let reason = format!("{}. Run a newer version of nexus", chain(&error));
                out.stop = Some(Stop { seq, reason });
            }
            Item::OtherLog(reason) => out.stop = Some(Stop { seq: 0, reason }),
            Item::Away(error) => self.to.send(Word::Bus(Some(error))).await.ok()?,
            Item::Back => self.to.send(Word::Bus(None)).await.ok()?,
        }
        Some(())
    }
}

impl Stretch {
    fn is_empty(&self) -> bool {
        self.batch.commits() == 0 && self.stop.is_none()
    }
}
