//! Tools: those that ship with the platform, and those that the tenant registered.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use nexus_events::command::{
    Budget, DeprecateTool, ImportTools, RegisterTool, RemoveTool, ResolveTool, RetireTool, StartRun,
};

use nexus_events::run::Resolution;
use nexus_events::tool::registry::{ToolState, default_version, digest_of};
use nexus_events::{Command, Problem, RunId, Tenant, tool};
use nexus_projections::query::{ToolCallRow, ToolRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::Reason;
use super::lists;
use super::runs::{StartQuery, launch, take_key};
use crate::app::App;
use crate::commands::{Order, Outcome, RunDone, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, MaybeJson, Params, path_id};
use crate::identity::Caller;

/// Which tools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Every version, the deprecated and removed ones too; what a run gets by name when absent.
    #[serde(default)]
    all: bool,
    /// Wait until the read models have applied this sequence: that of a command's outcome.
    min_seq: Option<u64>,
}

/// Tools.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tools {
    /// Those that ship with the platform first; the first 2,048.
    items: Vec<ToolRow>,
}

/// A tool with all its versions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Versions {
    /// The tool.
    name: String,
    /// What a run gets that names no version; null where none can be had.
    default_version: Option<String>,
    /// All of them, in the order of their registration.
    versions: Vec<ToolRow>,
}

/// The outcome of a command on the registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ToolDone {
    /// The tool.
    name: String,
    /// Its version.
    version: String,
    /// Digest of its definition; null while no role has answered.
    digest: Option<String>,
    /// Sequence up to which the registry was read or written: give it as `min_seq`. Null while no
    /// role has answered; the command is accepted all the same.
    seq: Option<u64>,
}

/// What became of an import.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ImportDone {
    /// The server.
    server: String,
    /// Tools that can be had; empty while no role has answered.
    tools: Vec<ImportedTool>,
    /// Tools that cannot.
    refused: Vec<RefusedTool>,
    /// Sequence up to which the registry was read or written: give it as `min_seq`. Null while no
    /// role has answered; the command is accepted all the same.
    seq: Option<u64>,
}

/// A tool that was imported, now or before.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ImportedTool {
    /// Its name with the server.
    tool: String,
    /// Its name here.
    name: String,
    /// Its version here.
    version: String,
    /// Digest of its definition.
    digest: String,
    /// Whether this import registered it.
    new: bool,
}

/// A tool that is not taken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RefusedTool {
    /// Its name with the server.
    tool: String,
    /// Why.
    reason: String,
}

/// Which calls.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallsQuery {
    /// As far as this; those of one run are part of the run.
    status: CallStatus,
    /// Wait until the read models have applied this sequence.
    min_seq: Option<u64>,
}

/// How far calls are that can be asked for across runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallStatus {
    /// They may have taken effect, or not.
    InDoubt,
}

/// Calls.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Calls {
    /// The newest doubt first; the first 1,000.
    items: Vec<ToolCallRow>,
}

/// What became of a call that is in doubt.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Word {
    /// What became of it.
    #[serde(rename = "as")]
    resolution: Resolution,
    /// With `done`: its result, which the model is told.
    #[serde(default)]
    output: Option<Value>,
    /// Why, for the log; with `failed`, for the model too.
    #[serde(default)]
    reason: Option<String>,
    /// `attempts` of what you saw: refused where another start is in doubt by now.
    #[serde(default)]
    attempt: Option<u32>,
}

/// One call of a tool, without a model.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invocation {
    /// The arguments, an object; none when absent.
    #[serde(default)]
    arguments: Option<Value>,
    /// What the call may spend.
    #[serde(default)]
    budget: Option<Budget>,
    /// The run that it works for: it spends from that one's budgets too.
    #[serde(default)]
    parent_run_id: Option<RunId>,
    /// The caller's own labels: at most 32 keys.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

type Answer = Result<(StatusCode, Json<ToolDone>), ApiError>;

/// The tools.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Tools>, ApiError> {
    lists::caught_up(&app, query.min_seq).await?;
    if !query.all {
        let items = offered(&app, &caller.tenant).await?;
        return Ok(Json(Tools { items }));
    }
    let mut items: Vec<_> = tool::all().iter().map(builtin).collect();
    items.extend(app.projections().tools(&caller.tenant, None).await?);
    Ok(Json(Tools { items }))
}

/// Of each tool what a run gets that names no version; those that ship with the platform first.
pub(crate) async fn offered(app: &App, tenant: &Tenant) -> Result<Vec<ToolRow>, ApiError> {
    let registered = app.projections().tools(tenant, None).await?;
    let built_in = tool::all().iter().map(builtin);
    Ok(built_in.chain(defaults(registered)).collect())
}

/// One tool with all its versions.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Params(query): Params<lists::At>,
) -> Result<Json<Versions>, ApiError> {
    lists::caught_up(&app, query.min_seq).await?;
    let versions = versions(&app, &caller.tenant, &name).await?;
    let states = versions
        .iter()
        .map(|row| (row.definition.version.as_str(), row.state));
    Ok(Json(Versions {
        default_version: default_version(states).map(str::to_owned),
        name,
        versions,
    }))
}

/// One version of a tool.
pub(crate) async fn version(
    State(app): State<App>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    Params(query): Params<lists::At>,
) -> Result<Json<ToolRow>, ApiError> {
    lists::caught_up(&app, query.min_seq).await?;
    let versions = versions(&app, &caller.tenant, &name).await?;
    let found = versions
        .into_iter()
        .find(|row| row.definition.version == version);
    found.map(Json).ok_or_else(|| missing(&name))
}

/// Registers a version.
pub(crate) async fn register(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<RegisterTool>,
) -> Answer {
    let definition = &command.definition;
    let (name, version) = (definition.name.clone(), definition.version.clone());
    order(&app, &caller, trace, command, name, version).await
}

/// Registers tools of an MCP server.
pub(crate) async fn import(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(command): JsonBody<ImportTools>,
) -> Result<(StatusCode, Json<ImportDone>), ApiError> {
    let server = command.server.clone();
    let order = Order {
        caller: &caller,
        trace,
        command: command.into(),
        run: None,
        key: None,
    };
    Ok(match send::<ImportDone>(&app, order).await? {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => {
            let done = ImportDone {
                server,
                tools: vec![],
                refused: vec![],
                seq: None,
            };
            (StatusCode::ACCEPTED, Json(done))
        }
    })
}

/// Gives a version only to those who name it.
pub(crate) async fn deprecate(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(version): Path<Version>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let make = |retire| DeprecateTool(retire).into();
    retire(&app, &caller, trace, version, reason, make).await
}

/// Gives a version to no further run.
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(version): Path<Version>,
    MaybeJson(reason): MaybeJson<Reason>,
) -> Answer {
    let make = |retire| RemoveTool(retire).into();
    retire(&app, &caller, trace, version, reason, make).await
}

/// Name and version of a tool.
type Version = (String, String);

async fn retire(
    app: &App,
    caller: &Caller,
    trace: Trace,
    (name, version): Version,
    reason: Reason,
    make: fn(RetireTool) -> Command,
) -> Answer {
    let command = make(RetireTool {
        name: name.clone(),
        version: version.clone(),
        reason: reason.checked()?,
    });
    order(app, caller, trace, command, name, version).await
}

/// Calls a tool once, as a run of its own: judged, reserved for, recorded and audited like any other.
pub(crate) async fn invoke(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    headers: HeaderMap,
    Path((name, version)): Path<Version>,
    Params(query): Params<StartQuery>,
    JsonBody(wanted): JsonBody<Invocation>,
) -> Result<Response, ApiError> {
    let mut command = StartRun {
        tools: Some(vec![format!("{name}@{version}")]),
        invoke: Some(wanted.arguments.unwrap_or_else(|| json!({}))),
        budget: wanted.budget,
        parent_run_id: wanted.parent_run_id,
        metadata: wanted.metadata,
        ..StartRun::default()
    };
    take_key(&mut command, &headers)?;
    launch(&app, &caller, trace, query, command).await
}

/// Calls that wait for a word on what became of them.
pub(crate) async fn calls(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<CallsQuery>,
) -> Result<Json<Calls>, ApiError> {
    lists::caught_up(&app, query.min_seq).await?;
    let items = match query.status {
        CallStatus::InDoubt => {
            app.projections()
                .tool_calls_in_doubt(&caller.tenant)
                .await?
        }
    };
    Ok(Json(Calls { items }))
}

/// Says what became of a call that is in doubt.
pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path((run_id, call_id)): Path<(String, String)>,
    JsonBody(word): JsonBody<Word>,
) -> Result<(StatusCode, Json<RunDone>), ApiError> {
    let run_id = path_id(&run_id, "run_id")?;
    let command = ResolveTool {
        run_id,
        call_id,
        resolution: word.resolution,
        output: word.output,
        reason: Reason::from(word.reason).checked()?,
        attempt: word.attempt,
    };
    let order = Order {
        caller: &caller,
        trace,
        command: command.into(),
        run: Some(run_id),
        key: None,
    };
    Ok(match send::<RunDone>(&app, order).await? {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => (StatusCode::ACCEPTED, Json(RunDone { run_id, seq: None })),
    })
}

async fn order(
    app: &App,
    caller: &Caller,
    trace: Trace,
    command: impl Into<Command>,
    name: String,
    version: String,
) -> Answer {
    let order = Order {
        caller,
        trace,
        command: command.into(),
        run: None,
        key: None,
    };
    Ok(match send::<ToolDone>(app, order).await? {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => {
            let (digest, seq) = (None, None);
            let done = ToolDone {
                name,
                version,
                digest,
                seq,
            };
            (StatusCode::ACCEPTED, Json(done))
        }
    })
}

/// The versions of a tool; at least one.
async fn versions(app: &App, tenant: &Tenant, name: &str) -> Result<Vec<ToolRow>, ApiError> {
    if let Some(found) = tool::get(name) {
        return Ok(vec![builtin(found)]);
    }
    let rows = app.projections().tools(tenant, Some(name)).await?;
    match rows.is_empty() {
        true => Err(missing(name)),
        false => Ok(rows),
    }
}

fn missing(name: &str) -> ApiError {
    let name: String = name.chars().take(64).collect();
    Problem::new(
        404,
        "not_found",
        format!("there is no such version of a tool {name:?}"),
    )
    .into()
}

/// Of each tool what a run gets that names no version.
fn defaults(rows: Vec<ToolRow>) -> Vec<ToolRow> {
    let mut by_name: BTreeMap<String, Vec<ToolRow>> = BTreeMap::new();
    for row in rows {
        by_name
            .entry(row.definition.name.clone())
            .or_default()
            .push(row);
    }
    let default = |rows: Vec<ToolRow>| {
        let states = rows
            .iter()
            .map(|row| (row.definition.version.as_str(), row.state));
        let version = default_version(states)?.to_owned();
        rows.into_iter()
            .find(|row| row.definition.version == version)
    };
    by_name.into_values().filter_map(default).collect()
}

fn builtin(tool: &tool::BuiltinTool) -> ToolRow {
    let definition = tool.definition();
    ToolRow {
        digest: digest_of(&definition),
        definition,
        state: ToolState::Active,
        reason: None,
        registered_at: None,
        registered_by: None,
        changed_at: None,
        changed_by: None,
        seq: 0,
    }
}
