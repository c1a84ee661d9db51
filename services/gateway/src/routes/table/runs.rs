//! Runs, conversations, and what they record.

use nexus_events::command::{OpenSession, StartRun};
use nexus_projections::query::{MessageRow, RunRow, SessionRow};

use crate::commands::RunDone;
use crate::identity::Access;
use crate::routes::asked::EVENT_STREAM;
use crate::routes::control::{self, Reason, Signal};
use crate::routes::route::{Route, get, post};
use crate::routes::{events, lists, runs, sessions, wide};
use crate::runs::view::RunView;

/// The other form of a stream.
const SOCKET: &str =
    "With `Upgrade: websocket`: the same, as texts `{\"id\", \"event\", \"data\"}`";

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/v1/runs", runs::start, "startRun", "Start an agent run")
            .query::<runs::StartQuery>()
            .body::<StartRun>()
            .example(r#"{"input":"What is 6*7?","agent":"default","metadata":{"order":"42"}}"#)
            .answer::<RunView>(200, "With `wait`: the run, which has ended")
            .answer::<runs::Started>(202, "Accepted; it reaches an end whatever dies in between")
            .answer::<RunView>(202, "With `wait`, when time is up: the run as it is")
            .problems(&[404, 409, 413, 415, 422, 503]),
        get("/v1/runs", runs::list, "listRuns", "Runs, the newest first")
            .query::<runs::ListQuery>()
            .page::<RunRow>("A page; long texts are cut")
            .problems(&[503]),
        get(
            "/v1/runs/{run_id}",
            runs::get,
            "getRun",
            "One run with all that it did",
        )
        .query::<runs::GetQuery>()
        .answer::<RunView>(
            200,
            "The run; with `wait`, as it is when it ended or time was up",
        )
        .answer::<runs::Started>(202, "It is accepted and has not begun")
        .problems(&[404, 503]),
        get(
            "/v1/runs/{run_id}/events",
            events::events,
            "listEvents",
            "What a run recorded, as a list or as a stream",
        )
        .query::<events::EventsQuery>()
        .answer::<events::EventPage>(200, "A page of events, the oldest first")
        .media(200, EVENT_STREAM)
        .empty(101, SOCKET)
        .empty(
            204,
            "As a stream: it has ended, and there is nothing after `Last-Event-ID`",
        )
        .problems(&[404, 503]),
        get(
            "/v1/events",
            wide::of_tenant,
            "streamEvents",
            "Everything that is recorded for the tenant, as a stream",
        )
        .demands(Access::Audit)
        .query::<wide::WideQuery>()
        .media(200, EVENT_STREAM)
        .empty(101, SOCKET)
        .problems(&[406, 503]),
        get(
            "/v1/sessions/{session_id}/events",
            wide::of_session,
            "streamSessionEvents",
            "What a conversation and its runs record, as a stream",
        )
        .query::<wide::WideQuery>()
        .media(200, EVENT_STREAM)
        .empty(101, SOCKET)
        .problems(&[404, 406, 503]),
        post(
            "/v1/runs/{run_id}/cancel",
            control::cancel,
            "cancelRun",
            "Stop a run",
        )
        .maybe_body::<Reason>()
        .answer::<RunDone>(200, "It is stopped")
        .answer::<RunDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 503]),
        post(
            "/v1/runs/{run_id}/pause",
            control::pause,
            "pauseRun",
            "Take no further step",
        )
        .maybe_body::<Reason>()
        .answer::<RunDone>(200, "It is paused")
        .answer::<RunDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 503]),
        post(
            "/v1/runs/{run_id}/resume",
            control::resume,
            "resumeRun",
            "Go on",
        )
        .maybe_body::<Reason>()
        .answer::<RunDone>(200, "It goes on")
        .answer::<RunDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 503]),
        post(
            "/v1/runs/{run_id}/signal",
            control::signal,
            "signalRun",
            "Tell a running run something",
        )
        .body::<Signal>()
        .example(r#"{"input":"Be brief."}"#)
        .answer::<RunDone>(200, "The model sees it at its next turn")
        .answer::<RunDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 422, 503]),
        post(
            "/v1/sessions",
            sessions::open,
            "openSession",
            "Open a conversation",
        )
        .maybe_body::<OpenSession>()
        .example(r#"{"metadata":{"channel":"web"}}"#)
        .answer::<sessions::SessionDone>(201, "It is open")
        .answer::<sessions::SessionDone>(202, "Accepted; `seq` is null")
        .problems(&[413, 415, 422, 503]),
        get(
            "/v1/sessions",
            sessions::list,
            "listSessions",
            "Conversations, the newest first",
        )
        .query::<sessions::ListQuery>()
        .page::<SessionRow>("A page")
        .problems(&[503]),
        get(
            "/v1/sessions/{session_id}",
            sessions::get,
            "getSession",
            "One conversation",
        )
        .query::<lists::At>()
        .answer::<SessionRow>(200, "The conversation")
        .problems(&[404, 503]),
        get(
            "/v1/sessions/{session_id}/messages",
            sessions::messages,
            "listMessages",
            "What was said, the oldest first",
        )
        .query::<sessions::MessagesQuery>()
        .page::<MessageRow>("A page")
        .problems(&[404, 503]),
        get(
            "/v1/sessions/{session_id}/runs",
            sessions::runs,
            "listSessionRuns",
            "The runs of a conversation, the newest first",
        )
        .query::<lists::Paging>()
        .page::<RunRow>("A page; long texts are cut")
        .problems(&[404, 503]),
        post(
            "/v1/sessions/{session_id}/close",
            sessions::close,
            "closeSession",
            "Take no further runs",
        )
        .answer::<sessions::SessionDone>(200, "It is closed")
        .answer::<sessions::SessionDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 503]),
    ]
}
