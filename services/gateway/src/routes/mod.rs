//! Every route, in one list: the router and the OpenAPI document are both made from it, so that
//! neither can have what the other lacks.

mod approvals;
mod audit;
mod budgets;
mod catalog;
mod chat;
mod control;
mod events;
mod index;
mod keys;
mod lists;
mod mcp;
mod messages;
mod policies;
mod reservations;
mod responses;
mod route;
pub(crate) mod runs;
mod sessions;
mod spend;
mod system;
pub(crate) mod tongue;
pub(crate) mod tools;
mod wide;

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use nexus_events::command::{
    BacktestPolicy, ExplainPolicy, ImportTools, OpenSession, PublishBundle, RegisterTool,
    RollBackBundle, ShadowBundle, StartRun, TryPolicy,
};
use nexus_events::policy::{BacktestReport, DryDecision, Explanation};
use nexus_projections::query::{
    AlertRow, ApprovalRow, AuditRow, BudgetRow, BudgetStanding, MessageRow, ReservationRow, RunRow,
    SessionRow, SpendPage, ToolRow,
};

use crate::anthropic::answer::OutMessage;
use crate::anthropic::request::MessageRequest;
use crate::app::App;
use crate::commands::RunDone;
use crate::http::ApiError;
use crate::http::observe::observe;
use crate::http::{compression, cors};
use crate::identity::{Access, authorize};
use crate::openai::answer::ChatCompletion;
use crate::openai::request::ChatRequest;
use crate::responses::object::ResponseObject;
use crate::responses::request::ResponseRequest;
use crate::runs::view::RunView;
use control::{Reason, Signal};
pub(crate) use route::{Content, Route};
use route::{get, post, put};

/// Every route.
pub(crate) fn all() -> Vec<Route> {
    vec![
        post("/v1/runs", runs::start, "startRun", "Start an agent run")
            .query::<runs::StartQuery>()
            .body::<StartRun>()
            .answer::<RunView>(200, "With `wait`: the run, which has ended")
            .answer::<runs::Started>(202, "Accepted; it reaches an end whatever dies in between")
            .answer::<RunView>(202, "With `wait`, when time is up: the run as it is")
            .problems(&[409, 413, 415, 422, 503]),
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
        .media(200, "text/event-stream")
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
        .media(200, "text/event-stream")
        .problems(&[406, 503]),
        get(
            "/v1/sessions/{session_id}/events",
            wide::of_session,
            "streamSessionEvents",
            "What a conversation and its runs record, as a stream",
        )
        .query::<wide::WideQuery>()
        .media(200, "text/event-stream")
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
        .query::<lists::Paging>()
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
        get(
            "/v1/budgets",
            budgets::list,
            "listBudgets",
            "Budgets that have limits",
        )
        .query::<budgets::ListQuery>()
        .page::<BudgetRow>("A page, by scope")
        .problems(&[503]),
        get(
            "/v1/budgets/alerts",
            budgets::alerts,
            "listBudgetAlerts",
            "Limits that are nearly used up, and calls that spent more than was held",
        )
        .query::<budgets::AlertQuery>()
        .page::<AlertRow>("A page, the newest first")
        .problems(&[503]),
        get(
            "/v1/budgets/{scope}",
            budgets::get_whole,
            "getTenantBudget",
            "The tenant's budget (scope `tenant`)",
        )
        .query::<lists::At>()
        .answer::<BudgetStanding>(200, "Limits, reserved, spent, remaining, and who holds it")
        .problems(&[503]),
        put(
            "/v1/budgets/{scope}",
            budgets::put_whole,
            "setTenantBudget",
            "Set the tenant's limits (scope `tenant`)",
        )
        .demands(Access::Manage)
        .body::<budgets::PutBudget>()
        .answer::<BudgetStanding>(200, "As it stands now")
        .answer::<budgets::BudgetSet>(202, "Accepted; the read models have not come to it")
        .problems(&[413, 415, 422, 503]),
        get(
            "/v1/budgets/{scope}/{id}",
            budgets::get,
            "getBudget",
            "The budget of a user, agent, session or run",
        )
        .query::<lists::At>()
        .answer::<BudgetStanding>(200, "Limits, reserved, spent, remaining, and who holds it")
        .problems(&[503]),
        put(
            "/v1/budgets/{scope}/{id}",
            budgets::put,
            "setBudget",
            "Set limits of a user, agent, session or run",
        )
        .demands(Access::Manage)
        .body::<budgets::PutBudget>()
        .answer::<BudgetStanding>(200, "As it stands now")
        .answer::<budgets::BudgetSet>(202, "Accepted; the read models have not come to it")
        .problems(&[413, 415, 422, 503]),
        post(
            "/v1/reservations",
            reservations::hold,
            "holdBudget",
            "Hold budget for spending outside of runs",
        )
        .body::<reservations::NewHold>()
        .answer::<reservations::Hold>(201, "It is held")
        .answer::<reservations::Hold>(202, "Accepted; `seq` is null, and it may not fit")
        .problems(&[409, 413, 415, 422, 429, 503]),
        get(
            "/v1/reservations",
            reservations::list,
            "listReservations",
            "What is held, and who waits for budget",
        )
        .query::<reservations::ListQuery>()
        .page::<ReservationRow>("A page, the oldest first; who waits, in the order of the lines")
        .problems(&[503]),
        get(
            "/v1/reservations/{reservation_id}",
            reservations::get,
            "getReservation",
            "One reservation, until it is settled",
        )
        .query::<lists::At>()
        .answer::<ReservationRow>(200, "The reservation")
        .problems(&[404, 503]),
        post(
            "/v1/reservations/{reservation_id}/grant",
            reservations::grant,
            "grantBudget",
            "Give one who waits what he waits for, by raising the limit",
        )
        .demands(Access::Manage)
        .maybe_body::<reservations::Grant>()
        .answer::<reservations::ReservationDone>(200, "It goes on")
        .answer::<reservations::ReservationDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/reservations/{reservation_id}/refuse",
            reservations::refuse,
            "refuseBudget",
            "Say no to one who waits: its run fails",
        )
        .demands(Access::Manage)
        .maybe_body::<Reason>()
        .answer::<reservations::ReservationDone>(200, "It is refused")
        .answer::<reservations::ReservationDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 413, 415, 503]),
        post(
            "/v1/reservations/{reservation_id}/release",
            reservations::release,
            "releaseBudget",
            "Say what was spent of a hold; the rest goes back",
        )
        .maybe_body::<reservations::Release>()
        .answer::<reservations::ReservationDone>(200, "It is accounted for")
        .answer::<reservations::ReservationDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 413, 415, 503]),
        get(
            "/v1/spend",
            spend::sums,
            "getSpend",
            "What was spent, by any of day, user, agent and model",
        )
        .query::<spend::SpendQuery>()
        .answer::<SpendPage>(200, "A page of sums, and the sum of all pages")
        .problems(&[503]),
        get(
            "/v1/approvals",
            approvals::list,
            "listApprovals",
            "Questions of policy to people, the newest first",
        )
        .query::<approvals::ListQuery>()
        .page::<ApprovalRow>("A page")
        .problems(&[503]),
        get(
            "/v1/approvals/{approval_id}",
            approvals::get,
            "getApproval",
            "One question: what is to be done, who may answer, and who did",
        )
        .query::<lists::At>()
        .answer::<ApprovalRow>(200, "The question")
        .problems(&[404, 503]),
        post(
            "/v1/approvals/{approval_id}/approve",
            approvals::approve,
            "approve",
            "Let it go ahead; policy judges it again with the answer",
        )
        .query::<lists::At>()
        .maybe_body::<approvals::Approval>()
        .answer::<approvals::ApprovalDone>(200, "The caller agrees, now or before")
        .answer::<approvals::ApprovalDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 422, 503]),
        post(
            "/v1/approvals/{approval_id}/deny",
            approvals::deny,
            "deny",
            "Do not let it",
        )
        .query::<lists::At>()
        .maybe_body::<Reason>()
        .answer::<approvals::ApprovalDone>(200, "The caller does not agree, now or before")
        .answer::<approvals::ApprovalDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 503]),
        post(
            "/v1/policies",
            policies::publish,
            "publishPolicy",
            "Publish a bundle of Rego",
        )
        .demands(Access::Manage)
        .body::<PublishBundle>()
        .answer::<policies::PolicyDone>(200, "It compiled, its tests passed, and it is accepted")
        .answer::<policies::PolicyDone>(
            202,
            "Sent; `digest` and `seq` are null until it was compiled",
        )
        .problems(&[413, 415, 422, 503]),
        get(
            "/v1/policies",
            policies::list,
            "listPolicies",
            "Policy bundles, and which one decides",
        )
        .query::<lists::At>()
        .answer::<policies::Bundles>(
            200,
            "The newest first, and the one that ships with the platform",
        )
        .problems(&[503]),
        post(
            "/v1/policies/{digest}/activate",
            policies::activate,
            "activatePolicy",
            "Decide by a bundle from now on",
        )
        .demands(Access::Manage)
        .answer::<policies::PolicyDone>(200, "It decides")
        .answer::<policies::PolicyDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 503]),
        post(
            "/v1/policies/rollback",
            policies::roll_back,
            "rollBackPolicy",
            "Decide by the bundle that was active before this one",
        )
        .demands(Access::Manage)
        .body::<RollBackBundle>()
        .answer::<policies::PolicyDone>(200, "`digest` decides again")
        .answer::<policies::PolicyDone>(202, "Accepted; `digest` and `seq` are null")
        .problems(&[409, 415, 503]),
        put(
            "/v1/policies/shadow",
            policies::shadow,
            "shadowPolicy",
            "Ask a bundle beside the active one, without effect; or none",
        )
        .demands(Access::Manage)
        .body::<ShadowBundle>()
        .answer::<policies::PolicyDone>(200, "It is asked from now on")
        .answer::<policies::PolicyDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 415, 422, 503]),
        post(
            "/v1/policies/evaluate",
            policies::evaluate,
            "evaluatePolicy",
            "Decide on an input by any bundle, without effect",
        )
        .demands(Access::Read)
        .body::<TryPolicy>()
        .answer::<DryDecision>(200, "The decision")
        .problems(&[404, 409, 413, 415, 422, 429, 503]),
        post(
            "/v1/policies/explain",
            policies::explain,
            "explainPolicy",
            "Why a run's steps were judged as they were, and what the same bundle says now",
        )
        .demands(Access::Read)
        .body::<ExplainPolicy>()
        .answer::<Explanation>(200, "The judgements, in order")
        .problems(&[404, 415, 422, 429, 503]),
        post(
            "/v1/policies/backtest",
            policies::backtest,
            "backtestPolicy",
            "What a bundle would have changed in a stretch of history",
        )
        .demands(Access::Read)
        .body::<BacktestPolicy>()
        .answer::<BacktestReport>(200, "With `next_seq` there is more: give it as `from_seq`")
        .problems(&[404, 413, 415, 422, 429, 503]),
        get(
            "/v1/tools",
            tools::list,
            "listTools",
            "Tools that a model may call",
        )
        .query::<tools::ListQuery>()
        .answer::<tools::Tools>(200, "All of them")
        .problems(&[503]),
        post(
            "/v1/tools",
            tools::register,
            "registerTool",
            "Register a version of a tool, which never changes",
        )
        .demands(Access::Manage)
        .body::<RegisterTool>()
        .answer::<tools::ToolDone>(
            200,
            "It is registered, now or before with the same definition",
        )
        .answer::<tools::ToolDone>(202, "Accepted; `digest` and `seq` are null")
        .problems(&[409, 413, 415, 422, 503]),
        post(
            "/v1/tools/import",
            tools::import,
            "importTools",
            "Register tools of an MCP server that configuration names",
        )
        .demands(Access::Manage)
        .body::<ImportTools>()
        .answer::<tools::ImportDone>(200, "What can be had of the server, and what cannot")
        .answer::<tools::ImportDone>(202, "Accepted; `tools` is empty and `seq` null")
        .problems(&[409, 413, 415, 422, 503]),
        get(
            "/v1/tools/{name}",
            tools::get,
            "getTool",
            "A tool with all its versions",
        )
        .query::<lists::At>()
        .answer::<tools::Versions>(200, "The tool")
        .problems(&[404, 503]),
        get(
            "/v1/tools/{name}/versions/{version}",
            tools::version,
            "getToolVersion",
            "One version of a tool",
        )
        .query::<lists::At>()
        .answer::<ToolRow>(200, "The version")
        .problems(&[404, 503]),
        post(
            "/v1/tools/{name}/versions/{version}/deprecate",
            tools::deprecate,
            "deprecateTool",
            "Give a version only to those who name it",
        )
        .demands(Access::Manage)
        .maybe_body::<Reason>()
        .answer::<tools::ToolDone>(200, "It is deprecated")
        .answer::<tools::ToolDone>(202, "Accepted; `digest` and `seq` are null")
        .problems(&[404, 409, 413, 415, 503]),
        post(
            "/v1/tools/{name}/versions/{version}/remove",
            tools::remove,
            "removeTool",
            "Give a version to no further run; those that have it keep it",
        )
        .demands(Access::Manage)
        .maybe_body::<Reason>()
        .answer::<tools::ToolDone>(200, "It is removed")
        .answer::<tools::ToolDone>(202, "Accepted; `digest` and `seq` are null")
        .problems(&[404, 413, 415, 503]),
        post(
            "/v1/tools/{name}/versions/{version}/invoke",
            tools::invoke,
            "invokeTool",
            "Call a tool once, as a run of its own without a model",
        )
        .query::<runs::StartQuery>()
        .body::<tools::Invocation>()
        .answer::<RunView>(
            200,
            "With `wait`: the run, which has ended; `tool_calls` has the result",
        )
        .answer::<runs::Started>(202, "Accepted; it reaches an end whatever dies in between")
        .answer::<RunView>(202, "With `wait`, when time is up: the run as it is")
        .problems(&[409, 413, 415, 422, 503]),
        get(
            "/v1/tool-calls",
            tools::calls,
            "listToolCalls",
            "Tool calls that wait for a word on what became of them",
        )
        .query::<tools::CallsQuery>()
        .answer::<tools::Calls>(200, "The calls")
        .problems(&[503]),
        post(
            "/v1/runs/{run_id}/tool-calls/{call_id}/resolve",
            tools::resolve,
            "resolveToolCall",
            "Say what became of a tool call that is in doubt",
        )
        .body::<tools::Word>()
        .answer::<RunDone>(200, "The run goes on")
        .answer::<RunDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 422, 503]),
        get(
            "/v1/agents",
            catalog::agents,
            "listAgents",
            "Agents that a run may name",
        )
        .answer::<catalog::Agents>(200, "All of them"),
        post(
            tongue::CHAT,
            chat::complete,
            "createChatCompletion",
            "Answer a conversation by a run, as OpenAI's clients ask for it",
        )
        .body::<ChatRequest>()
        .answer::<ChatCompletion>(200, "The answer; `nexus-run-id` names the run behind it")
        .media(200, "text/event-stream")
        .problems(&[404, 409, 413, 415, 429, 500, 503, 504]),
        get(
            tongue::MODELS,
            catalog::models,
            "listModels",
            "Models and agents that a chat completion may name, in OpenAI's form",
        )
        .answer::<catalog::Models>(200, "All of them"),
        get(tongue::MODEL, catalog::model, "getModel", "One of them")
            .answer::<catalog::Model>(200, "The model or agent")
            .problems(&[404]),
        post(
            tongue::MESSAGES,
            messages::create,
            "createMessage",
            "Answer a conversation by a run, as Anthropic's clients ask for it",
        )
        .body::<MessageRequest>()
        .answer::<OutMessage>(200, "The answer; `nexus-run-id` names the run behind it")
        .media(200, "text/event-stream")
        .problems(&[404, 409, 413, 415, 429, 500, 504, 529]),
        post(
            tongue::RESPONSES,
            responses::create,
            "createResponse",
            "Answer by a run, whole, as a stream or later, as OpenAI's clients ask for it",
        )
        .body::<ResponseRequest>()
        .answer::<ResponseObject>(200, "The response; with `background`, as far as it is")
        .media(200, "text/event-stream")
        .problems(&[404, 409, 413, 415, 429, 500, 503, 504]),
        get(
            tongue::RESPONSE,
            responses::get,
            "getResponse",
            "A response as it is, or what comes of it",
        )
        .query::<responses::GetQuery>()
        .answer::<ResponseObject>(200, "The response")
        .media(200, "text/event-stream")
        .problems(&[404, 503]),
        post(
            tongue::CANCEL,
            responses::cancel,
            "cancelResponse",
            "Stop a response",
        )
        .answer::<ResponseObject>(200, "The response as it is then")
        .problems(&[404, 503]),
        mcp::route(),
        post("/v1/keys", keys::create, "createKey", "Make an API key")
            .demands(Access::Manage)
            .body::<keys::NewKey>()
            .answer::<keys::KeyMade>(201, "The key, shown once")
            .problems(&[413, 415, 422, 503]),
        get(
            "/v1/keys",
            keys::list,
            "listKeys",
            "API keys, the newest first",
        )
        .demands(Access::Manage)
        .query::<lists::At>()
        .answer::<keys::KeyList>(200, "All keys but for their secrets")
        .problems(&[503]),
        post(
            "/v1/keys/{key_id}/rotate",
            keys::rotate,
            "rotateKey",
            "Give a key another secret",
        )
        .demands(Access::Manage)
        .maybe_body::<keys::Rotation>()
        .answer::<keys::KeyMade>(200, "The key as it is from now on, shown once")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/keys/{key_id}/revoke",
            keys::revoke,
            "revokeKey",
            "Let a key be used no more",
        )
        .demands(Access::Manage)
        .maybe_body::<keys::Revocation>()
        .answer::<keys::KeyDone>(200, "It is refused within a second")
        .problems(&[404, 413, 415, 503]),
        get(
            "/v1/audit",
            audit::list,
            "listAudit",
            "Who did what, when, to what, and why it was allowed",
        )
        .demands(Access::Audit)
        .query::<audit::ListQuery>()
        .page::<AuditRow>("A page, the newest first")
        .problems(&[503]),
        get(
            "/v1/audit/export",
            audit::export,
            "exportAudit",
            "All entries that there are now, the oldest first, with their hashes",
        )
        .demands(Access::Audit)
        .query::<audit::ExportQuery>()
        .media(200, audit::LINES)
        .problems(&[503]),
        get(
            "/healthz",
            system::healthz,
            "health",
            "Whether the process lives",
        )
        .demands(Access::Public)
        .answer::<system::Health>(200, "It does"),
        get(
            "/readyz",
            system::readyz,
            "ready",
            "Whether it can serve, and why not",
        )
        .demands(Access::Public)
        .answer::<system::Readiness>(200, "It can")
        .answer::<system::Readiness>(503, "It cannot; the checks say why"),
        get(
            "/metrics",
            system::metrics,
            "metrics",
            "Metrics, as Prometheus and OpenMetrics scrape them",
        )
        .demands(Access::Operate)
        .media(200, "application/openmetrics-text"),
        get("/openapi.json", system::openapi, "openapi", "This document")
            .demands(Access::Public)
            .media(200, "application/json"),
        get("/", index::page, "index", "A page for people")
            .demands(Access::Public)
            .media(200, "text/html"),
    ]
}

/// The router.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in all() {
        let demands = from_fn_with_state((app.clone(), route.access), authorize);
        router = router.route(route.path, route.handler.layer(demands));
    }
    let router = router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), observe))
        .layer(compression::layer(app.config().compression))
        .with_state(app.clone());
    match app.config().cors.origins.is_empty() {
        true => router,
        false => router.layer(cors::layer(&app.config().cors)),
    }
}

async fn unknown(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(128).collect();
    let detail = format!("there is nothing at {path}; /openapi.json says what there is");
    ApiError::new(404, "unknown_route", detail)
}

async fn wrong_method() -> ApiError {
    let detail = "the route does not take this method; the Allow header says which it takes";
    ApiError::new(405, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests;
