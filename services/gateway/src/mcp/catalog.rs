//! What can be called: the tools that a run gets by name, and the agents, each as a tool that takes
//! what is to be done. Who may call which is for policy to say, with the arguments of the call.

use std::collections::BTreeMap;

use nexus_events::agent::{self, AgentDefinition};
use nexus_events::tool::{Permissions, ToolDefinition, ToolKind};
use nexus_projections::query::ToolRow;
use serde_json::{Map, Value, json};

use super::wire::{Message, RpcError};
use crate::app::App;
use crate::http::ApiError;
use crate::identity::Caller;
use crate::routes::tools::offered;

/// Tools of a page; each may have 64 KiB.
const PAGE: usize = 100;
/// What an agent's name begins with. A dot, which the protocol allows, is one that most models'
/// providers do not.
const AGENT: &str = "agent-";

/// The agent that a name means. It goes before a tool of that name, which is not listed then.
pub(super) fn agent_named(name: &str) -> Option<&'static AgentDefinition> {
    agent::newest(name.strip_prefix(AGENT)?)
}

/// A page of what can be called, by name.
pub(super) async fn list(
    app: &App,
    caller: &Caller,
    message: &Message,
) -> Result<Result<Map<String, Value>, RpcError>, ApiError> {
    let after = match message.param("cursor") {
        None | Some(Value::Null) => None,
        Some(Value::String(cursor)) if (1..=128).contains(&cursor.len()) => Some(cursor.as_str()),
        Some(_) => {
            return Ok(Err(RpcError::params(
                "`cursor` is not one that was given here",
            )));
        }
    };
    let rows = offered(app, &caller.tenant).await?;
    Ok(Ok(page(all(rows), after)))
}

fn all(rows: Vec<ToolRow>) -> Vec<(String, Value)> {
    let tools =
        (rows.into_iter()).map(|row| (row.definition.name.clone(), of_tool(row.definition)));
    let agents = agent::all().iter().map(|agent| {
        let name = format!("{AGENT}{}", agent.name);
        let told = of_agent(&name, agent);
        (name, told)
    });
    // By name; of two with one name the later one stays, of agents the newest version.
    let all: BTreeMap<String, Value> = tools.chain(agents).collect();
    all.into_iter().collect()
}

/// Pages go by name, so that what is registered meanwhile shifts nothing.
fn page(all: Vec<(String, Value)>, after: Option<&str>) -> Map<String, Value> {
    let rest =
        (all.into_iter()).skip_while(|(name, _)| after.is_some_and(|after| name.as_str() <= after));
    let mut rest: Vec<_> = rest.take(PAGE + 1).collect();
    let is_more = rest.len() > PAGE;
    rest.truncate(PAGE);
    let mut result = Map::new();
    if let Some((last, _)) = rest.last().filter(|_| is_more) {
        result.insert("nextCursor".to_owned(), json!(last));
    }
    let tools: Vec<Value> = rest.into_iter().map(|(_, told)| told).collect();
    result.insert("tools".to_owned(), tools.into());
    result
}

fn of_tool(tool: ToolDefinition) -> Value {
    let annotations = annotations(&tool);
    let mut input_schema = tool.input_schema;
    drop_headers(&mut input_schema);
    json!({
        "name": tool.name,
        "description": tool.description,
        "inputSchema": input_schema,
        "annotations": annotations,
        "_meta": { "nexus/version": tool.version, "nexus/category": tool.category },
    })
}

/// What an agent takes.
fn of_agent(name: &str, agent: &AgentDefinition) -> Value {
    let tools = match agent.tools {
        [] => String::new(),
        tools => format!(" It may use: {}.", tools.join(", ")),
    };
    let description = format!(
        "Has the agent {:?} do something and gives its answer. Its instructions: {}{tools}",
        agent.name, agent.instructions
    );
    json!({
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": {
                "input": { "type": "string", "description": "What the agent is to do" }
            },
            "required": ["input"],
            "additionalProperties": false,
        },
        "_meta": { "nexus/version": agent.version },
    })
}

/// What is known for certain, and nothing where it is not: the protocol's own defaults assume the
/// worst. The platform holds sandboxed code to its permissions; what a remote worker or another
/// server does is its own affair.
fn annotations(tool: &ToolDefinition) -> Value {
    let mut known = json!({ "idempotentHint": tool.idempotent });
    let sandboxed = match &tool.kind {
        ToolKind::Wasm { .. } | ToolKind::Javascript { .. } | ToolKind::Python { .. } => true,
        ToolKind::Builtin | ToolKind::Mcp { .. } | ToolKind::Nats => false,
    };
    if sandboxed && touches_nothing(&tool.permissions) || only_reads(tool) {
        known["readOnlyHint"] = json!(true);
        known["openWorldHint"] = json!(false);
    }
    known
}

fn touches_nothing(permissions: &Permissions) -> bool {
    let writes = |paths: &nexus_events::tool::PathPermissions| !paths.write.is_empty();
    permissions.network.is_none()
        && !permissions.network_access
        && !permissions.paths.as_ref().is_some_and(writes)
}

/// Built-in tools whose code can change nothing, whatever they may touch.
fn only_reads(tool: &ToolDefinition) -> bool {
    let readers = [
        "calculator",
        "file_read",
        "file_list",
        "json_query",
        "text_search",
    ];
    matches!(tool.kind, ToolKind::Builtin) && readers.contains(&tool.name.as_str())
}

/// A schema may ask clients to send arguments as headers too, which whoever takes them has to
/// compare. Nothing here is routed by them, so nobody is asked.
fn drop_headers(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A property of this name has a schema of its own, which is no text.
            if fields.get("x-mcp-header").is_some_and(Value::is_string) {
                fields.remove("x-mcp-header");
            }
            fields.values_mut().for_each(drop_headers);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_headers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn pages_go_by_name_and_lose_nothing() {
        let all: Vec<_> = (0..250)
            .map(|n| {
                (
                    format!("tool{n:03}"),
                    json!({ "name": format!("tool{n:03}") }),
                )
            })
            .collect();
        let (mut after, mut seen) = (None, vec![]);
        loop {
            let page = page(all.clone(), after.as_deref());
            let tools = page["tools"].as_array().unwrap().clone();
            assert!(tools.len() <= PAGE);
            seen.extend(tools);
            after = page
                .get("nextCursor")
                .map(|next| next.as_str().unwrap().to_owned());
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<_> = all.into_iter().map(|(_, tool)| tool).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn nobody_is_asked_for_headers_of_arguments() {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "region": { "type": "string", "x-mcp-header": "Region" },
                "x-mcp-header": { "type": "string" },
            },
        });
        drop_headers(&mut schema);
        let expected = json!({
            "type": "object",
            "properties": { "region": { "type": "string" }, "x-mcp-header": { "type": "string" } },
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn hints_are_what_is_certain() {
        let hints = |name: &str| annotations(&nexus_events::tool::get(name).unwrap().definition());
        let reads = json!({
            "idempotentHint": true, "readOnlyHint": true, "openWorldHint": false,
        });
        assert_eq!(hints("calculator"), reads);
        assert_eq!(hints("http_request"), json!({ "idempotentHint": false }));
        assert_eq!(hints("file_write"), json!({ "idempotentHint": true }));
    }
}
