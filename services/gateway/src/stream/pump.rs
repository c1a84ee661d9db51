//! One open event stream: feeds the machine from the bus, and its reader from the machine. A task of
//! its own, so that the bus is drained whether the reader reads or not; what waits for the reader
//! is bounded, and a reader that takes nothing is dropped with the reason.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use nexus_bus::{Bus, ReadError};
use nexus_events::{RunId, Tenant};
use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use super::commit::{self, Commit, Delta, Live};
use super::cursor::EventCursor;
use super::encoding::Encoding;
use super::heard::Listening;
use super::history::{self, HistoryPage};
use super::hub::{Ears, Heard, Told};
use super::merge::{Input, Merge, Output};
use super::record::EventRecord;
use super::sse::{Closed, Frames, Types};
use crate::app::App;
use crate::metrics::ByReason;

/// Frames on their way to the connection.
const CHANNEL: usize = 16;
/// Signs of life after which the log is looked at even though nothing seems to be missing.
const LOOK_AGAIN_EVERY: u32 = 20;

/// What a stream begins with.
pub(crate) struct Opening {
    pub(crate) app: App,
    pub(crate) tenant: Tenant,
    pub(crate) run: RunId,
    pub(crate) listening: Listening,
    /// What the reader has.
    pub(crate) cursor: EventCursor,
    /// The run had ended when the reader came back.
    pub(crate) over: bool,
    pub(crate) first_page: HistoryPage,
    pub(crate) types: Types,
    pub(crate) encoding: Encoding,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Starts a stream and gives its body.
pub(crate) fn start(opening: Opening) -> Frames {
    let (out, frames) = mpsc::channel(CHANNEL);
    let closed = Arc::new(OnceLock::new());
    let why = Arc::clone(&closed);
    let mut pump = Pump::new(opening, out);
    tokio::spawn(async move {
        let metrics = pump.app.metrics();
        metrics.listeners.inc();
        let reason = pump.run(&why).await;
        metrics.listeners.dec();
        metrics
            .streams_ended
            .get_or_create(&ByReason {
                reason: reason.reason(),
            })
            .inc();
    });
    Frames {
        frames,
        closed,
        done: false,
    }
}

type Reading = BoxFuture<'static, Result<HistoryPage, ReadError>>;

struct Pump {
    app: App,
    tenant: Tenant,
    subject: String,
    listening: Listening,
    cursor: EventCursor,
    types: Types,
    encoding: Encoding,
    merge: Merge<Arc<Commit>, Arc<Told<Delta>>>,
    out: mpsc::Sender<Bytes>,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Bytes of the queue that came from history, which waits for its reader.
    history_bytes: usize,
    /// Where history is to be read next.
    next: Option<u64>,
    reading: Option<Reading>,
    over: bool,
    /// When the reader last took something, or something began to wait.
    moved: Instant,
    beat: Instant,
    beats: u32,
    _permit: OwnedSemaphorePermit,
}

impl Pump {
    fn new(opening: Opening, out: mpsc::Sender<Bytes>) -> Self {
        let Opening {
            app,
            tenant,
            run,
            listening,
            cursor,
            over,
            first_page,
            types,
            encoding,
            permit,
        } = opening;
        // A commit of which the reader has a part is given again, without that part.
        let last = cursor.seq - u64::from(cursor.index.is_some() && cursor.seq > 0);
        let now = Instant::now();
        Self {
            subject: history::subject_of(&tenant, run),
            merge: Merge::after(last, over),
            queued_bytes: encoding.opening().map_or(0, |opening| opening.len()),
            queue: encoding.opening().into_iter().collect(),
            history_bytes: 0,
            next: None,
            reading: Some(std::future::ready(Ok(first_page)).boxed()),
            over: false,
            moved: now,
            beat: now,
            beats: 0,
            app,
            tenant,
            listening,
            cursor,
            types,
            encoding,
            out,
            _permit: permit,
        }
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
        if self.over && self.queue.is_empty() {
            return Err(Closed::RunOver);
        }
        self.begin_reading();
        let due = self.due();
        let event = tokio::select! {
            biased;
            () = self.app.stopping().cancelled() => return Err(Closed::Stopping),
            permit = self.out.reserve(), if !self.queue.is_empty() => {
                let permit = permit.map_err(|_| Closed::ReaderGone)?;
                if let Some(frame) = self.queue.pop_front() {
                    self.queued_bytes -= frame.len();
                    permit.send(frame);
                }
                Event::Taken
            }
            () = self.out.closed(), if self.queue.is_empty() => return Err(Closed::ReaderGone),
            // Deltas before commits: what both have waiting was said before it was recorded.
            delta = next_delta(&mut self.listening.live) => {
                Event::Delta(delta.ok_or(Closed::Stopping)?)
            }
            commit = self.listening.log.next() => Event::Log(commit.ok_or(Closed::Stopping)?),
            page = ready(&mut self.reading) => Event::Page(page),
            changed = self.listening.connects.changed() => {
                changed.map_err(|_| Closed::Stopping)?;
                Event::Reconnected
            }
            () = sleep_until(due) => Event::Due,
        };
        // Boxed: what handling needs, ten thousand idle listeners need not keep room for.
        Box::pin(self.on(event)).await
    }

    async fn on(&mut self, event: Event) -> Result<(), Closed> {
        match event {
            Event::Taken => {
                self.hand_over();
                self.moved();
                Ok(())
            }
            Event::Delta(delta) => {
                self.check_room()?;
                self.on_delta(delta).await
            }
            Event::Log(commit) => {
                self.check_room()?;
                self.on_log(commit).await
            }
            Event::Page(page) => self.on_page(page).await,
            Event::Reconnected => {
                // All listeners notice at once; they need not all read at once.
                let jitter = rand::rng().random_range(0..1_000);
                tokio::time::sleep(Duration::from_millis(jitter)).await;
                self.feed(Input::Interrupted).await
            }
            Event::Due => self.on_due().await,
        }
    }

    /// Reads on once the reader has taken what was read.
    fn begin_reading(&mut self) {
        if self.reading.is_some() || !self.queue.is_empty() {
            return;
        }
        if let Some(from) = self.next.take() {
            let (bus, subject): (Bus, String) = (self.app.bus().clone(), self.subject.clone());
            self.reading = Some(async move { history::page(&bus, &subject, from).await }.boxed());
        }
    }

    /// When something is due if nothing happens: the next sign of life, or the end of patience.
    fn due(&self) -> Instant {
        let config = self.app.config();
        match self.queue.is_empty() {
            true => self.beat + Duration::from_millis(config.heartbeat_ms),
            false => self.moved + Duration::from_millis(config.stall_timeout_ms),
        }
    }

    async fn on_due(&mut self) -> Result<(), Closed> {
        if !self.queue.is_empty() {
            return Err(Closed::SlowReader);
        }
        self.beat = Instant::now();
        self.beats = self.beats.wrapping_add(1);
        self.push(self.encoding.heartbeat());
        if self.beats.is_multiple_of(LOOK_AGAIN_EVERY) {
            self.feed(Input::Interrupted).await?;
        }
        Ok(())
    }

    async fn on_delta(&mut self, heard: Heard<Delta>) -> Result<(), Closed> {
        let told = heard.told;
        self.feed(Input::Delta {
            turn: told.what.turn,
            bytes: told.what.bytes(),
            body: told,
        })
        .await
    }

    async fn on_log(&mut self, heard: Heard<Live>) -> Result<(), Closed> {
        let live = &heard.told.what;
        let item = live.item();
        let item = item.map_err(|(seq, error)| unreadable(seq, error))?;
        let previous = live.previous;
        self.feed(Input::Live { item, previous }).await?;
        match heard.missed {
            true => self.feed(Input::Interrupted).await,
            false => Ok(()),
        }
    }

    async fn on_page(&mut self, page: Result<HistoryPage, ReadError>) -> Result<(), Closed> {
        self.reading = None;
        let page = page.map_err(|error| {
            tracing::warn!(%error, "a run's history cannot be read");
            Closed::LogUnreadable
        })?;
        let before = self.queued_bytes;
        for stored in page.commits {
            let seq = stored.seq;
            let item = commit::item(seq, stored.body).map_err(|error| unreadable(seq, &error))?;
            self.feed(Input::History(item)).await?;
        }
        match page.next {
            Some(next) => self.next = Some(next),
            None => self.feed(Input::HistoryEnd).await?,
        }
        self.history_bytes += self.queued_bytes.saturating_sub(before);
        Ok(())
    }

    async fn feed(&mut self, input: Input<Arc<Commit>, Arc<Told<Delta>>>) -> Result<(), Closed> {
        let mut outputs = vec![];
        self.merge.on(input, &mut outputs);
        for output in outputs {
            match output {
                Output::Commit(item) => self.give(&item.body).await?,
                Output::Delta(told) => {
                    if let Some(frame) = told.what.frame(self.encoding) {
                        self.push(frame);
                    }
                }
                Output::Read { from } => self.next = Some(from),
                Output::End => self.over = true,
            }
        }
        Ok(())
    }

    /// Whether more may wait for the reader. History does not count: no more of it is read until
    /// the reader has taken what was.
    fn check_room(&self) -> Result<(), Closed> {
        let most = self.app.config().listener_buffer_bytes + self.history_bytes;
        if self.queued_bytes > most {
            Err(Closed::SlowReader)
        } else {
            Ok(())
        }
    }

    async fn give(&mut self, commit: &Commit) -> Result<(), Closed> {
        let seq = commit.seq;
        let events = commit.events().map_err(|error| unreadable(seq, error))?;
        let objects = self.app.objects();
        for event in events {
            let EventRecord {
                index, type_name, ..
            } = &event.record;
            if self.cursor.covers(seq, *index) || !self.types.wants(type_name) {
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
            self.queued_bytes -= frame.len();
            permit.send(frame);
        }
    }

    fn push(&mut self, frame: Bytes) {
        if self.queue.is_empty() {
            self.moved = Instant::now();
        }
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    fn moved(&mut self) {
        let now = Instant::now();
        self.moved = now;
        self.beat = now;
        if self.queue.is_empty() {
            self.history_bytes = 0;
        }
    }
}

/// What happened.
enum Event {
    Taken,
    Delta(Heard<Delta>),
    Log(Heard<Live>),
    Page(Result<HistoryPage, ReadError>),
    Reconnected,
    Due,
}

/// The next fragment; never where none are wanted.
async fn next_delta(live: &mut Option<Ears<Delta>>) -> Option<Heard<Delta>> {
    match live {
        Some(live) => live.next().await,
        None => pending().await,
    }
}

async fn ready(reading: &mut Option<Reading>) -> Result<HistoryPage, ReadError> {
    match reading {
        Some(reading) => reading.await,
        None => pending().await,
    }
}

fn unreadable(seq: u64, error: &nexus_events::aggregate::DecodeError) -> Closed {
    tracing::error!(seq, %error, "a stored commit cannot be read");
    Closed::LogUnreadable
}
