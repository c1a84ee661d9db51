//! An open stream of more than one run: a session's, or a tenant's. As [`super::pump`] is for one
//! run, without deltas: those are for whoever looks at a run.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use nexus_events::{AggregateId, AggregateKind, RunId, Tenant, subject};
use rand::Rng;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::commit::{Commit, Live};
use super::cursor::EventCursor;
use super::encoding::Encoding;
use super::feed::{Feed, Hints};
use super::history::subject_of;
use super::hub::Heard;
use super::sse::{Closed, Frames, Types};
use crate::app::App;
use crate::http::ApiError;
use crate::http::problem::internal;
use crate::metrics::ByReason;

/// Frames on their way to the connection.
const CHANNEL: usize = 16;
/// Runs of one session that are followed at the same time.
const MOST_RUNS: usize = 1_000;
/// The events by which a session says that a run joined it, or waits to.
const JOINED: [&str; 2] = [
    "nexus.session.run-attached.v1",
    "nexus.session.run-queued.v1",
];

/// What is followed.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Everything that is recorded for the tenant.
    Tenant,
    /// A session and its runs.
    Session(nexus_events::SessionId),
}

/// What a stream begins with.
pub(crate) struct Opening {
    pub(crate) app: App,
    pub(crate) tenant: Tenant,
    pub(crate) scope: Scope,
    /// What the reader has.
    pub(crate) cursor: EventCursor,
    pub(crate) types: Types,
    pub(crate) encoding: Encoding,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Starts a stream and gives its body.
///
/// # Errors
/// [`ApiError`]: nobody can listen.
pub(crate) async fn start(opening: Opening) -> Result<Frames, ApiError> {
    let (out, frames) = mpsc::channel(CHANNEL);
    let closed = Arc::new(OnceLock::new());
    let why = Arc::clone(&closed);
    let mut pump = Wide::new(opening, out).await?;
    tokio::spawn(async move {
        let metrics = pump.app.metrics();
        metrics.listeners.inc();
        let reason = pump.run(&why).await;
        metrics.listeners.dec();
        let label = ByReason {
            reason: reason.reason(),
        };
        metrics.streams_ended.get_or_create(&label).inc();
    });
    Ok(Frames {
        frames,
        closed,
        done: false,
    })
}

/// What happened.
enum Event {
    Taken,
    Hint(Heard<Live>),
    Reconnected,
    Due,
}

struct Wide {
    app: App,
    tenant: Tenant,
    cursor: EventCursor,
    types: Types,
    encoding: Encoding,
    feed: Feed,
    hints: Hints,
    connects: watch::Receiver<u64>,
    out: mpsc::Sender<Bytes>,
    queue: VecDeque<Bytes>,
    /// When the reader last took something, or something began to wait.
    moved: Instant,
    beat: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Wide {
    async fn new(opening: Opening, out: mpsc::Sender<Bytes>) -> Result<Self, ApiError> {
        let now = Instant::now();
        let connects = opening.app.connects();
        let (feed, hints) = Feed::new();
        let mut pump = Self {
            app: opening.app,
            tenant: opening.tenant,
            cursor: opening.cursor,
            types: opening.types,
            encoding: opening.encoding,
            feed,
            hints,
            connects,
            out,
            queue: opening.encoding.opening().into_iter().collect(),
            moved: now,
            beat: now,
            _permit: opening.permit,
        };
        match opening.scope {
            Scope::Tenant => {
                let all = subject::events_of_tenant(&pump.tenant);
                let log = subject::log_of_tenant(&pump.tenant);
                let from = pump.cursor.seq;
                pump.follow(all, log, from).await?;
            }
            Scope::Session(session) => {
                let (kind, id) = (AggregateKind::Session, AggregateId::from(session));
                let own = subject::events(&pump.tenant, kind, &id);
                let log = subject::log(&pump.tenant, kind, &id);
                // From its beginning, whatever the reader has: it says which runs joined.
                pump.follow(own, log, 0).await?;
                // The run that opened it, if one did.
                pump.follow_run(RunId::new(session.uuid())).await?;
            }
        }
        Ok(pump)
    }

    async fn follow(&mut self, stored: String, log: String, from: u64) -> Result<(), ApiError> {
        let (bus, hubs) = (self.app.bus(), &self.app.subjects().log);
        let followed = self.feed.add(bus, hubs, (stored, log), from).await;
        followed.map_err(|error| internal(&error))
    }

    async fn follow_run(&mut self, run: RunId) -> Result<(), ApiError> {
        let log = subject::log(&self.tenant, AggregateKind::Run, &AggregateId::from(run));
        let from = self.cursor.seq;
        self.follow(subject_of(&self.tenant, run), log, from).await
    }

    async fn run(&mut self, why: &OnceLock<Closed>) -> Closed {
        let closed = loop {
            if let Err(closed) = self.step().await {
                break closed;
            }
        };
        // Before the sender goes: the body looks for the reason when the frames end.
        let _ = why.set(closed);
        closed
    }

    async fn step(&mut self) -> Result<(), Closed> {
        if self.queue.is_empty() && self.feed.is_behind() {
            if self.app.stopping().is_cancelled() {
                return Err(Closed::Stopping);
            }
            if self.out.is_closed() {
                return Err(Closed::ReaderGone);
            }
            // They hold what was recorded, and only say that it was.
            while let Some(hint) = self.hints.waiting() {
                self.feed.hint(&hint);
            }
            return Box::pin(self.read()).await;
        }
        let due = self.due();
        let event = tokio::select! {
            biased;
            () = self.app.stopping().cancelled() => return Err(Closed::Stopping),
            permit = self.out.reserve(), if !self.queue.is_empty() => {
                let permit = permit.map_err(|_| Closed::ReaderGone)?;
                if let Some(frame) = self.queue.pop_front() {
                    permit.send(frame);
                }
                Event::Taken
            }
            () = self.out.closed(), if self.queue.is_empty() => return Err(Closed::ReaderGone),
            hint = self.hints.next() => Event::Hint(hint.ok_or(Closed::Stopping)?),
            changed = self.connects.changed() => {
                changed.map_err(|_| Closed::Stopping)?;
                Event::Reconnected
            }
            () = sleep_until(due) => Event::Due,
        };
        match event {
            Event::Taken => {
                self.hand_over();
                self.moved = Instant::now();
                self.beat = self.moved;
            }
            Event::Hint(heard) => self.feed.hint(&heard),
            Event::Reconnected => {
                // All listeners notice at once; they need not all read at once.
                let jitter_ms = rand::rng().random_range(0..1_000);
                tokio::time::sleep(Duration::from_millis(jitter_ms)).await;
                self.feed.look_everywhere();
            }
            Event::Due => self.on_due()?,
        }
        Ok(())
    }

    /// When something is due if nothing happens: the next sign of life, or the end of patience.
    fn due(&self) -> Instant {
        let config = self.app.config();
        match self.queue.is_empty() {
            true => self.beat + Duration::from_millis(config.heartbeat_ms),
            false => self.moved + Duration::from_millis(config.stall_timeout_ms),
        }
    }

    fn on_due(&mut self) -> Result<(), Closed> {
        if !self.queue.is_empty() {
            return Err(Closed::SlowReader);
        }
        self.beat = Instant::now();
        self.push(self.encoding.heartbeat());
        // A hint that was lost costs a heartbeat and nothing else.
        self.feed.look_everywhere();
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Closed> {
        let bus = self.app.bus().clone();
        let commit = self.feed.next(&bus).await.map_err(|error| {
            tracing::warn!(%error, "the event log cannot be read");
            Closed::LogUnreadable
        })?;
        match commit {
            Some(commit) => self.give(&commit).await,
            None => Ok(()),
        }
    }

    async fn give(&mut self, commit: &Commit) -> Result<(), Closed> {
        let events = commit.events().map_err(|error| {
            tracing::error!(seq = commit.seq, %error, "a stored commit cannot be read");
            Closed::LogUnreadable
        })?;
        let objects = self.app.objects();
        for event in events {
            let record = &event.record;
            if JOINED.contains(&record.type_name.as_str()) {
                self.joined(record.data.get()).await?;
            }
            let is_read = self.cursor.covers(commit.seq, record.index);
            if is_read || !self.types.wants(&record.type_name) {
                continue;
            }
            let frame = event.frame(&objects, &self.tenant, self.encoding).await;
            if let Some(frame) = frame {
                self.push(frame);
            }
        }
        Ok(())
    }

    /// Gives what finds room on the way to the connection, without asking about all else each time.
    fn hand_over(&mut self) {
        while let Ok(permit) = self.out.try_reserve()
            && let Some(frame) = self.queue.pop_front()
        {
            permit.send(frame);
        }
    }

    /// A run joined the session, or waits to: what it records comes after this.
    async fn joined(&mut self, data: &str) -> Result<(), Closed> {
        #[derive(Deserialize)]
        struct Attached {
            run_id: RunId,
        }
        // A tenant's stream has it already.
        if self.feed.subjects() == 1 {
            return Ok(());
        }
        let Ok(Attached { run_id }) = serde_json::from_str(data) else {
            return Err(Closed::LogUnreadable);
        };
        if self.feed.subjects() > MOST_RUNS {
            return Err(Closed::TooManyRuns);
        }
        let followed = self.follow_run(run_id).await;
        followed.map_err(|_| Closed::LogUnreadable)
    }

    fn push(&mut self, frame: Bytes) {
        if self.queue.is_empty() {
            self.moved = Instant::now();
        }
        self.queue.push_back(frame);
    }
}
