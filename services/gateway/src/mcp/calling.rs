//! One call: its run is begun or found again, followed, and its end told, whole or as a stream. A
//! client that goes away takes its run with it, as far as nothing has happened yet that could not be
//! taken back, and unless it named a key to come back by.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use nexus_events::command::StartRun;
use nexus_events::{Problem, RunId};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::arguments::Asked;
use super::question::{self, Back};
use super::reply::{Came, Reply, frame, of_problem, refused};
use super::tale::{Open, Tale, doubtful, matters};
use super::wire::{INTERNAL, RpcError, notification};
use crate::app::App;
use crate::http::ApiError;
use crate::http::trace::Trace;
use crate::identity::Caller;
use crate::openai::abandon::Abandon;
use crate::openai::follow::{Follow, Happened, Heard};
use crate::openai::open::{begin, listener, naming};
use crate::openai::stream::event_stream;
use crate::routes::runs::{name, take_key};
use crate::stream::history::begin_of;

/// How long somebody who came back for an approval waits before he is told the same again.
const LOOK: Duration = Duration::from_secs(20);
/// How long the log of a run that may have begun before is read before what is open there counts.
const SETTLE: Duration = Duration::from_secs(1);
/// Frames on their way to the connection.
const CHANNEL: usize = 16;
/// Signs of life after which the log is looked at even though nothing seems to be missing.
const LOOK_AGAIN_EVERY: u32 = 20;

/// What a call is made with.
pub(super) struct Request<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    pub(super) trace: Trace,
    pub(super) headers: &'a HeaderMap,
    pub(super) reply: Reply,
    /// The run that it is, where the request has a name of its own.
    pub(super) run: Option<RunId>,
    /// What the client wants to be told progress by.
    pub(super) token: Option<Value>,
    /// Its person can be asked.
    pub(super) asks: bool,
    pub(super) streams: bool,
}

/// A call whose end is waited for.
struct Calling {
    reply: Reply,
    run: RunId,
    tale: Tale,
    follow: Follow,
    abandon: Abandon,
    token: Option<Value>,
    told: u64,
    asks: bool,
    /// Until when what only people can do is waited for in silence.
    settles: Instant,
    deadline: Instant,
    heartbeat: Duration,
    stall: Duration,
    _permit: OwnedSemaphorePermit,
}

/// What came of listening for a while.
enum Step {
    Progress(Vec<String>),
    Done(Result<Value, RpcError>),
    Silence,
}

/// Makes a call, or goes on with one.
pub(super) async fn call(request: Request<'_>, asked: Asked, back: Option<Back>) -> Response {
    let reply = request.reply.clone();
    let (called, streams) = (asked.name.clone(), request.streams);
    let opened = match back {
        None => Calling::begin(request, asked).await,
        Some(back) => Calling::again(request, asked, back).await,
    };
    match opened {
        Ok(calling) => {
            let run = calling.run;
            naming(run, calling.answer(streams).await)
        }
        Err(problem) => reply.response(refused(&called, &problem.into_problem())),
    }
}

impl Calling {
    async fn begin(request: Request<'_>, asked: Asked) -> Result<Self, ApiError> {
        let (app, caller, trace) = (request.app, request.caller, request.trace);
        let mut command: StartRun = asked.command();
        take_key(&mut command, request.headers)?;
        let has_key = command.idempotency_key.is_some();
        if !has_key {
            command.run_id = request.run;
        }
        let (run, fresh) = name(&mut command, &caller.tenant);
        let mut calling = Self::open(&request, asked, run).await?;
        // Whoever has a key can ask again.
        if has_key {
            calling.abandon.disarm();
        }
        if let Err(refused) = begin(app, caller, trace, run, command).await {
            calling.abandon.disarm();
            return Err(refused);
        }
        if fresh {
            calling.follow.begin(None);
        } else {
            let from = begin_of(app, &caller.tenant, run).await;
            calling.follow.begin(Some(from));
            calling.settles = Instant::now() + SETTLE;
        }
        Ok(calling)
    }

    /// Goes on with a call that was answered by a question.
    async fn again(request: Request<'_>, asked: Asked, back: Back) -> Result<Self, ApiError> {
        let (app, caller) = (request.app, request.caller);
        let mut calling = Self::open(&request, asked, back.run).await?;
        calling.abandon.disarm();
        // Says that there is no such run at once.
        let (row, _) = crate::runs::view::from_log(app, &caller.tenant, back.run).await?;
        let Some(row) = row else {
            return Err(ApiError::new(404, "not_found", STRANGE));
        };
        app.known().begun(&caller.tenant, back.run, row.first_seq);
        calling.follow.begin(Some(row.first_seq));
        calling.settles = Instant::now() + LOOK;
        if !back.waits && row.user_id == caller.actor.user {
            // Dropping it cancels the run; its end is told like any other.
            drop(Abandon::new(app, caller, request.trace, back.run));
        }
        Ok(calling)
    }

    async fn open(request: &Request<'_>, asked: Asked, run: RunId) -> Result<Self, ApiError> {
        let (app, caller) = (request.app, request.caller);
        let permit = listener(app)?;
        // First the subscription, then the command: in between nothing is missed.
        let follow = Follow::open(app, &caller.tenant, run, false).await?;
        let (config, now) = (app.config(), Instant::now());
        Ok(Self {
            reply: request.reply.clone(),
            run,
            tale: Tale::of(asked),
            follow: follow.telling(matters),
            abandon: Abandon::new(app, caller, request.trace, run),
            token: request.token.clone(),
            told: 0,
            asks: request.asks,
            settles: now,
            deadline: now + Duration::from_millis(config.max_wait_ms),
            heartbeat: Duration::from_millis(config.heartbeat_ms),
            stall: Duration::from_millis(config.stall_timeout_ms),
            _permit: permit,
        })
    }

    /// The answer: a stream where progress is wanted or it takes long, for whoever takes one.
    async fn answer(mut self, streams: bool) -> Response {
        let begins = match &self.token {
            Some(_) => Instant::now(),
            None => Instant::now() + self.heartbeat,
        };
        loop {
            if streams && Instant::now() >= begins {
                let (out, frames) = mpsc::channel(CHANNEL);
                tokio::spawn(self.pump(out));
                return event_stream(frames);
            }
            let until = if streams {
                begins
            } else {
                Instant::now() + self.heartbeat
            };
            match self.step(until).await {
                Step::Done(outcome) => {
                    self.abandon.disarm();
                    return self.reply.response(outcome);
                }
                Step::Silence if !streams => self.follow.look_again(),
                Step::Silence | Step::Progress(_) => {}
            }
        }
    }

    /// Sends what comes until the call has its answer, or its reader is gone.
    async fn pump(mut self, out: mpsc::Sender<Bytes>) {
        let mut silences = 0_u32;
        loop {
            let beat = Instant::now() + self.heartbeat;
            let step = tokio::select! {
                () = out.closed() => return,
                step = self.step(beat) => step,
            };
            let (frames, is_done) = match step {
                Step::Progress(words) => (self.progress(words), false),
                Step::Done(outcome) => (vec![frame(&self.reply.answer(outcome).text())], true),
                Step::Silence => {
                    silences = silences.wrapping_add(1);
                    if silences.is_multiple_of(LOOK_AGAIN_EVERY) {
                        self.follow.look_again();
                    }
                    (vec![Bytes::from_static(b":\n\n")], false)
                }
            };
            if is_done {
                self.abandon.disarm();
            }
            for frame in frames {
                // A reader that takes nothing is gone.
                if !matches!(timeout(self.stall, out.send(frame)).await, Ok(Ok(()))) {
                    return;
                }
            }
            if is_done {
                return;
            }
        }
    }

    fn progress(&mut self, words: Vec<String>) -> Vec<Bytes> {
        let Some(token) = self.token.clone() else {
            return vec![];
        };
        let mut frames = vec![];
        for message in words {
            self.told += 1;
            let params =
                json!({ "progressToken": token, "progress": self.told, "message": message });
            frames.push(frame(&notification("notifications/progress", &params)));
        }
        frames
    }

    /// Listens until there is something to say, or for so long.
    async fn step(&mut self, until: Instant) -> Step {
        if let Some(done) = self.waits_for_people() {
            return Step::Done(done);
        }
        let mut until = until.min(self.deadline);
        if self.tale.open().is_some() && Instant::now() < self.settles {
            until = until.min(self.settles);
        }
        match timeout_at(until, self.follow.next()).await {
            Err(_) if Instant::now() >= self.deadline => Step::Done(self.too_late()),
            Err(_) => Step::Silence,
            Ok(Err(error)) => Step::Done(Err(of_problem(INTERNAL, &error.into_problem()))),
            Ok(Ok(Heard::Live(_))) => Step::Progress(vec![]),
            Ok(Ok(Heard::Stopping)) => {
                let problem = Problem::new(503, "stopping", "the gateway stops; ask again");
                Step::Done(Err(of_problem(INTERNAL, &problem)))
            }
            Ok(Ok(Heard::End)) => {
                let came = self.tale.end().unwrap_or_default();
                Step::Done(Ok(self.reply.result(self.run, came)))
            }
            Ok(Ok(Heard::Events(events))) => self.events(&events),
        }
    }

    fn events(&mut self, events: &[Happened]) -> Step {
        let words = events
            .iter()
            .filter_map(|happened| self.tale.take(&happened.event));
        let words = words.collect();
        if self.tale.is_strange {
            return Step::Done(Err(RpcError::params(STRANGE)));
        }
        if self.tale.has_effect && self.tale.is_tool() {
            self.abandon.disarm();
        }
        Step::Progress(words)
    }

    /// The answer, where the call waits for people and whoever called can be told so.
    fn waits_for_people(&self) -> Option<Result<Value, RpcError>> {
        let open = self
            .tale
            .open()
            .filter(|_| Instant::now() >= self.settles)?;
        match open {
            Open::Question(asked) if self.asks => Some(Ok(question::required(self.run, asked))),
            Open::Question(_) => None,
            Open::Doubt(doubt) => Some(Ok(self.reply.result(self.run, doubtful(self.run, doubt)))),
        }
    }

    /// Time is up. What can still be taken back is, unless somebody can come back for it.
    fn too_late(&mut self) -> Result<Value, RpcError> {
        let waits = match self.tale.open() {
            Some(Open::Question(asked)) => format!(" {}", question::words(asked)),
            _ => String::new(),
        };
        let run = self.run;
        let then = match self.abandon.is_armed() {
            true => "It is cancelled; to be able to come back, send an Idempotency-Key.".to_owned(),
            false => format!("It goes on: ask again with the same key, or see /v1/runs/{run}."),
        };
        let text = format!("timeout: the call took longer than is waited for here.{waits} {then}");
        self.abandon.fire();
        Ok(self.reply.result(run, Came::failed(text)))
    }
}

const STRANGE: &str =
    "the key, the request's id or `requestState` belongs to another call than this";
