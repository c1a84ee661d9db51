//! Tools, their calls, and agents.

use nexus_events::command::{ImportTools, RegisterTool};
use nexus_projections::query::ToolRow;

use crate::commands::RunDone;
use crate::identity::Access;
use crate::routes::control::Reason;
use crate::routes::route::{Route, get, post};
use crate::routes::{catalog, lists, runs, tools};
use crate::runs::view::RunView;

pub(super) fn routes() -> Vec<Route> {
    vec![
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
        .example(
            r#"{"name":"book_room","version":"1.0.0","description":"Books a room.","category":"http","kind":"nats","input_schema":{"type":"object","properties":{"room":{"type":"string"}}}}"#,
        )
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
        .example(r#"{"arguments":{"expression":"6*7"}}"#)
        .answer::<RunView>(
            200,
            "With `wait`: the run, which has ended; `tool_calls` has the result",
        )
        .answer::<runs::Started>(202, "Accepted; it reaches an end whatever dies in between")
        .answer::<RunView>(202, "With `wait`, when time is up: the run as it is")
        .problems(&[404, 409, 413, 415, 422, 503]),
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
    ]
}
