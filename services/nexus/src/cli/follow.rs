//! Following a run's events: a stream that survives the gateway. It is resumed after the last whole
//! event, so that a restart of the gateway loses no fact; fragments that went by meanwhile are in
//! the recorded answer.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep};

use super::error::CliError;
use super::http::{Gateway, Request};
use super::sse::{SseEvent, SseParser};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// A run's events, as they come.
pub(crate) struct Follow<'a> {
    gateway: &'a Gateway,
    run_id: String,
    patience: Duration,
    last_id: Option<String>,
    open: Option<(Chunks, SseParser)>,
    ready: std::collections::VecDeque<SseEvent>,
    /// When it broke, until something comes again.
    broken_since: Option<Instant>,
    pause: Duration,
}

/// What following gives.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An event.
    Event(SseEvent),
    /// The stream broke and is being opened again.
    Broken(String),
}

impl<'a> Follow<'a> {
    /// Follows `run_id` from its beginning; a platform that is away is waited for as long as
    /// `patience`.
    pub(crate) fn new(gateway: &'a Gateway, run_id: &str, patience: Duration) -> Self {
        Self {
            gateway,
            run_id: run_id.to_owned(),
            patience,
            last_id: None,
            open: None,
            ready: std::collections::VecDeque::new(),
            broken_since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// What comes next. Dropping the future and asking again loses nothing.
    ///
    /// # Errors
    /// The platform says no, or is away for too long.
    pub(crate) async fn next(&mut self) -> Result<Heard, CliError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.id.is_some() {
                    self.last_id.clone_from(&event.id);
                }
                return Ok(Heard::Event(event));
            }
            let Some((chunks, parser)) = &mut self.open else {
                self.open().await?;
                continue;
            };
            let broken = match chunks.next().await {
                Some(Ok(chunk)) => match parser.push(&chunk) {
                    Ok(events) => {
                        self.ready.extend(events);
                        self.broken_since = None;
                        self.pause = FIRST_PAUSE;
                        continue;
                    }
                    Err(error) => return Err(self.gateway.unreadable(&error.to_string())),
                },
                Some(Err(error)) => self.gateway.unreachable(&error).to_string(),
                None => "the stream ended before the run did".to_owned(),
            };
            self.open = None;
            if self.broken_since.is_none() {
                self.broken_since = Some(Instant::now());
                return Ok(Heard::Broken(broken));
            }
        }
    }

    /// The stream sequence of the last event that has one.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        let id = self.last_id.as_deref()?;
        let digits = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
        id.get(..digits)?.parse().ok()
    }

    async fn open(&mut self) -> Result<(), CliError> {
        if self.broken_since.is_some() {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        let path = ["v1", "runs", &self.run_id, "events"];
        let headers: Vec<_> = self.last_id.clone().map(|id| ("last-event-id", id)).into_iter().collect();
        let request = Request { path: &path, headers: &headers, ..Request::default() };
        match self.gateway.stream(request).await {
            Ok(response) => {
                let chunks: Chunks = Box::pin(response.bytes_stream());
                self.open = Some((chunks, SseParser::default()));
                Ok(())
            }
            Err(error) if may_pass(&error) => self.wait_or_give_up(&error),
            Err(error) => Err(error),
        }
    }

    fn wait_or_give_up(&mut self, error: &CliError) -> Result<(), CliError> {
        let waited = self.broken_since.get_or_insert_with(Instant::now).elapsed();
        if waited < self.patience {
            return Ok(());
        }
        Err(CliError::Lost {
            url: self.gateway.url().to_owned(),
            waited_s: waited.as_secs(),
            reason: error.to_string(),
        })
    }
}

/// Whether trying again can help.
pub(crate) fn may_pass(error: &CliError) -> bool {
    match error {
        CliError::Unreachable { .. } => true,
        CliError::Problem(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
        _ => false,
    }
}
