//! An answer as server-sent events, in the words of any protocol that has it in pieces. The head of
//! the response waits for the first piece, so that a run which is refused before the model says
//! anything is refused by its status.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use nexus_events::Problem;
use nexus_events::run::RunEvent;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::abandon::Abandon;
use super::answer::ChunkDelta;
use super::chunks::{Chunks, Live};
use super::collect::{Collected, End};
use super::errors::{of_end, refuse};
use super::follow::{Follow, Happened, Heard};
use super::sent::Diverged;
use crate::http::ApiError;

/// Frames on their way to the connection.
const CHANNEL: usize = 16;
/// Signs of life after which the log is looked at even though nothing seems to be missing.
const LOOK_AGAIN_EVERY: u32 = 20;

/// How a protocol tells an answer in pieces.
pub(crate) trait Voice: Send + Sync + 'static {
    /// The next piece.
    fn piece(&mut self, delta: ChunkDelta) -> Vec<Bytes>;
    /// The end of an answer that is whole.
    fn last(&mut self, collected: &Collected) -> Vec<Bytes>;
    /// The end of one that is not.
    fn error(&self, problem: &Problem) -> Bytes;
    /// A sign of life.
    fn beat(&self) -> Bytes;
}

/// What makes frames of what is heard of a run. `whole`: nobody reads them before the end.
pub(crate) trait Teller: Send + Sync + 'static {
    /// The head of the response waits for the first frame.
    const WAITS: bool;
    /// The frames of a fragment.
    fn live(&mut self, live: Live) -> Result<Vec<Bytes>, Diverged>;
    /// The frames of what was recorded.
    fn happened(&mut self, happened: &Happened, whole: bool) -> Result<Vec<Bytes>, Diverged>;
    /// How the run ended, once it has.
    fn end(&self) -> Option<&End>;
    /// The frames after the end.
    fn last(&mut self, end: &End) -> Vec<Bytes>;
    /// The frame of what keeps the rest from being told.
    fn error(&self, problem: &Problem) -> Bytes;
    /// A sign of life.
    fn beat(&self) -> Bytes;
}

/// Tells an answer piece by piece, in a protocol's words.
pub(crate) struct Pieces<V> {
    pub(crate) voice: V,
    pub(crate) chunks: Chunks,
    pub(crate) collected: Collected,
}

impl<V: Voice> Pieces<V> {
    fn told(&mut self, deltas: Vec<ChunkDelta>) -> Vec<Bytes> {
        let frames = deltas.into_iter().map(|delta| self.voice.piece(delta));
        frames.flatten().collect()
    }
}

impl<V: Voice> Teller for Pieces<V> {
    const WAITS: bool = true;

    fn live(&mut self, live: Live) -> Result<Vec<Bytes>, Diverged> {
        let deltas = self.chunks.live(live)?;
        Ok(self.told(deltas))
    }

    fn happened(&mut self, happened: &Happened, whole: bool) -> Result<Vec<Bytes>, Diverged> {
        self.collected.take(&happened.event);
        match &happened.event {
            RunEvent::LlmCompleted(done) if !whole => {
                let deltas = self.chunks.recorded(done)?;
                Ok(self.told(deltas))
            }
            _ => Ok(vec![]),
        }
    }

    fn end(&self) -> Option<&End> {
        self.collected.end.as_ref()
    }

    fn last(&mut self, end: &End) -> Vec<Bytes> {
        match end {
            End::Completed => self.voice.last(&self.collected),
            end => vec![self.voice.error(&of_end(end))],
        }
    }

    fn error(&self, problem: &Problem) -> Bytes {
        self.voice.error(problem)
    }

    fn beat(&self) -> Bytes {
        self.voice.beat()
    }
}

/// An answer that is being given.
pub(crate) struct Answering<T> {
    pub(crate) teller: T,
    pub(crate) follow: Follow,
    pub(crate) abandon: Abandon,
    pub(crate) deadline: Instant,
    pub(crate) heartbeat: Duration,
    pub(crate) stall: Duration,
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// What came of listening for a while.
enum Step {
    Frames(Vec<Bytes>),
    Ended,
    Failed(Problem),
    /// The gateway stops: the request is to be sent again, to another.
    Stopping,
    Silence,
}

impl<T: Teller> Answering<T> {
    /// The whole answer.
    pub(crate) async fn whole(mut self) -> Result<T, Box<Response>> {
        loop {
            match self.step(true).await {
                Step::Frames(_) | Step::Silence => {}
                Step::Ended => {
                    self.abandon.disarm();
                    return match self.teller.end() {
                        Some(End::Completed) => Ok(self.teller),
                        end => Err(Box::new(refuse(of_end(end.unwrap_or(&End::Completed))))),
                    };
                }
                Step::Failed(problem) => return Err(Box::new(refuse(problem))),
                Step::Stopping => return Err(Box::new(stopping().into_response())),
            }
        }
    }

    /// The answer as a stream.
    pub(crate) async fn streamed(mut self) -> Response {
        let mut first = vec![];
        let mut ended = false;
        while T::WAITS && first.is_empty() && !ended {
            match self.step(false).await {
                Step::Frames(frames) => first = frames,
                Step::Silence => {}
                Step::Ended => match self.teller.end() {
                    Some(End::Completed) => ended = true,
                    end => {
                        self.abandon.disarm();
                        return refuse(of_end(end.unwrap_or(&End::Completed)));
                    }
                },
                Step::Failed(problem) => return refuse(problem),
                Step::Stopping => return stopping().into_response(),
            }
        }
        let (out, frames) = mpsc::channel(CHANNEL);
        tokio::spawn(self.pump(out, first, ended));
        event_stream(frames)
    }

    /// Sends what comes until the run has ended, or its reader is gone: then the run is abandoned.
    async fn pump(mut self, out: mpsc::Sender<Bytes>, mut frames: Vec<Bytes>, ended: bool) {
        let mut step = match ended {
            true => Step::Ended,
            false => Step::Silence,
        };
        let mut silences = 0_u32;
        loop {
            for frame in std::mem::take(&mut frames) {
                if !self.send(&out, frame).await {
                    return;
                }
            }
            match step {
                Step::Ended => break,
                Step::Failed(problem) => {
                    // Dropping what is left cancels the run, unless it has ended.
                    self.send(&out, self.teller.error(&problem)).await;
                    return;
                }
                Step::Stopping => {
                    let problem = stopping().into_problem();
                    self.send(&out, self.teller.error(&problem)).await;
                    return;
                }
                Step::Frames(_) | Step::Silence => {}
            }
            step = tokio::select! {
                () = out.closed() => return,
                step = self.step(false) => step,
            };
            match &mut step {
                Step::Frames(new) => frames = std::mem::take(new),
                Step::Silence => {
                    silences = silences.wrapping_add(1);
                    if silences.is_multiple_of(LOOK_AGAIN_EVERY) {
                        self.follow.look_again();
                    }
                    if !self.send(&out, self.teller.beat()).await {
                        return;
                    }
                }
                Step::Ended | Step::Failed(_) | Step::Stopping => {}
            }
        }
        self.abandon.disarm();
        self.last_words(&out).await;
    }

    async fn last_words(&mut self, out: &mpsc::Sender<Bytes>) {
        let end = self.teller.end().cloned().unwrap_or(End::Completed);
        for frame in self.teller.last(&end) {
            if !self.send(out, frame).await {
                return;
            }
        }
    }

    /// Listens until something is to be told, or for as long as one sign of life is from the next.
    async fn step(&mut self, patient: bool) -> Step {
        let beat = Instant::now() + self.heartbeat;
        let until = if patient {
            self.deadline
        } else {
            beat.min(self.deadline)
        };
        let heard = match timeout_at(until, self.follow.next()).await {
            Err(_) if Instant::now() >= self.deadline => {
                return Step::Failed(too_late(self.abandon.is_armed()));
            }
            Err(_) => return Step::Silence,
            Ok(Err(error)) => return Step::Failed(error.into_problem()),
            Ok(Ok(heard)) => heard,
        };
        let frames = match heard {
            Heard::End => return Step::Ended,
            Heard::Stopping => return Step::Stopping,
            Heard::Live(live) => self.teller.live(live),
            Heard::Events(events) => self.events(&events, patient),
        };
        match frames {
            Ok(frames) => Step::Frames(frames),
            Err(Diverged) => Step::Failed(diverged()),
        }
    }

    fn events(&mut self, events: &[Happened], whole: bool) -> Result<Vec<Bytes>, Diverged> {
        let mut frames = vec![];
        for happened in events {
            frames.extend(self.teller.happened(happened, whole)?);
        }
        Ok(frames)
    }

    /// False when the reader is gone, or takes nothing.
    async fn send(&self, out: &mpsc::Sender<Bytes>, frame: Bytes) -> bool {
        matches!(timeout(self.stall, out.send(frame)).await, Ok(Ok(())))
    }
}

/// Frames as they come, as a response.
pub(crate) fn event_stream(frames: mpsc::Receiver<Bytes>) -> Response {
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-store"),
        ("X-Accel-Buffering", "no"),
    ];
    (headers, Body::from_stream(frames_of(frames))).into_response()
}

fn frames_of(frames: mpsc::Receiver<Bytes>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold(frames, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((Ok(frame), frames))
    })
}

fn too_late(cancels: bool) -> Problem {
    let detail = match cancels {
        true => {
            "the run did not end in the time that this gateway waits for one, and is cancelled; POST \
             /v1/runs starts runs that may take longer"
        }
        false => {
            "the run did not end in the time that this gateway waits for one, and goes on; ask again"
        }
    };
    Problem::new(504, "timeout", detail)
}

fn stopping() -> ApiError {
    ApiError::unavailable("stopping", "the gateway stops; ask again")
}

fn diverged() -> Problem {
    let detail = "the model was called again and gives another answer than the one that was begun; \
                  ask again";
    Problem::new(503, "answer_restarted", detail)
}
