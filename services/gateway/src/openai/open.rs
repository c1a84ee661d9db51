//! Begins a run for an answer, and to listen to it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use nexus_events::RunId;
use nexus_events::command::StartRun;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::abandon::Abandon;
use super::follow::Follow;
use super::stream::Answering;
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::ApiError;
use crate::http::trace::Trace;
use crate::identity::Caller;
use crate::routes::runs::{Started, name, take_key};
use crate::stream::history::begin_of;

/// The run behind an answer.
const RUN_ID: HeaderName = HeaderName::from_static("nexus-run-id");

/// What of a request has nothing to do with its protocol.
pub(crate) struct Request<'a> {
    pub(crate) app: &'a App,
    pub(crate) caller: &'a Caller,
    pub(crate) trace: Trace,
    pub(crate) headers: &'a HeaderMap,
    /// The answer is wanted in pieces.
    pub(crate) streams: bool,
}

/// Starts the run of an answer, which the teller tells: it is made with the run, and whether nobody can
/// have begun it before.
pub(crate) async fn open<T>(
    request: Request<'_>,
    mut command: StartRun,
    teller: impl FnOnce(RunId, bool) -> T,
) -> Result<(RunId, Answering<T>), ApiError> {
    let Request {
        app, caller, trace, ..
    } = request;
    take_key(&mut command, request.headers)?;
    let (run, fresh) = name(&mut command, &caller.tenant);
    let permit = listener(app)?;
    // First the subscription, then the command: in between nothing is missed.
    let mut follow = Follow::open(app, &caller.tenant, run, request.streams).await?;
    let mut abandon = Abandon::new(app, caller, trace, run);
    if !fresh {
        abandon.disarm();
    }
    match begin(app, caller, trace, run, command).await {
        Ok(()) => {}
        Err(refused) => {
            abandon.disarm();
            return Err(refused);
        }
    }
    let from = match fresh {
        true => None,
        false => Some(begin_of(app, &caller.tenant, run).await),
    };
    follow.begin(from);
    let answering = Answering::new(app, teller(run, fresh), follow, abandon, permit);
    Ok((run, answering))
}

/// Room for one who waits for an answer.
pub(crate) fn listener(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(app.listeners())
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable("overloaded", "too many answers are waited for here"))
}

impl<T> Answering<T> {
    pub(crate) fn new(
        app: &App,
        teller: T,
        follow: Follow,
        abandon: Abandon,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let config = app.config();
        Self {
            teller,
            follow,
            abandon,
            deadline: Instant::now() + Duration::from_millis(config.max_wait_ms),
            heartbeat: Duration::from_millis(config.heartbeat_ms),
            stall: Duration::from_millis(config.stall_timeout_ms),
            _permit: permit,
        }
    }
}

/// Starts a run.
pub(crate) async fn begin(
    app: &App,
    caller: &Caller,
    trace: Trace,
    run: RunId,
    command: StartRun,
) -> Result<(), ApiError> {
    let session = command.session_id.unwrap_or_else(|| run.own_session());
    let order = Order {
        caller,
        trace,
        command: command.into(),
        run: Some(run),
        key: None,
    };
    match send::<Started>(app, order).await? {
        Outcome::Done(Started {
            seq: Some(first), ..
        }) => app.known().begun(&caller.tenant, run, first),
        _ => (app.known()).queued(&caller.tenant, run, session),
    }
    Ok(())
}

/// Names the run in the response.
pub(crate) fn naming(run: RunId, mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::from_str(&run.to_string()) {
        response.headers_mut().insert(RUN_ID, id);
    }
    response
}
