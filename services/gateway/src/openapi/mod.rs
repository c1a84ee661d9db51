//! The OpenAPI 3.1 document, made from the list of routes and the types that they take and give.
//! A document written by hand is wrong within a month; a macro on each handler hides the list.

use std::collections::BTreeMap;

use nexus_events::Problem;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::anthropic::errors::AnthropicError;
use crate::http::problem::PROBLEM;
use crate::identity::{Access, GROUPS_HEADER, ROLES_HEADER, TENANT_HEADER, USER_HEADER};
use crate::openai::errors::OpenAiError;
use crate::routes::asked::EVENT_STREAM;
use crate::routes::tongue::Tongue;
use crate::routes::{Content, Route};

/// Problems that every route has.
const ALWAYS: [u16; 2] = [400, 403];
/// Operations that take `Idempotency-Key`.
const TAKE_KEYS: [&str; 9] = [
    "startRun",
    "openSession",
    "signalRun",
    "invokeTool",
    "holdBudget",
    "createChatCompletion",
    "createEmbeddings",
    "createMessage",
    "createResponse",
];

/// The document.
pub(crate) fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = SchemaGenerator::new(settings);
    let problem = schemas.subschema_for::<Problem>().to_value();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let operation = operation(route, &mut schemas, &problem);
        paths
            .entry(route.path)
            .or_default()
            .insert(route.method.to_owned(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Nexus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs AI agents under policy and budget. Errors are \
                application/problem+json (RFC 9457) with a stable `code`; `seq` in an answer may be \
                given as `min_seq` to read what was written.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "parameters": identity_parameters(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`nxk_…`), or a token of an OpenID provider that the \
                        gateway believes. Not needed where it listens on the loopback.",
                },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator, problem: &Value) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters(route, schemas),
        "responses": responses(route, schemas, problem),
    });
    if route.access != Access::Public {
        operation["security"] = json!([{ "key": [] }]);
        operation["description"] = json!(format!("Takes {}.", route.access.demands()));
    }
    if let Some(body) = route.body {
        let schema = (body.schema)(schemas).to_value();
        let mut content = json!({ "application/json": { "schema": schema } });
        let example = route.example.map(serde_json::from_str::<Value>);
        if let Some(Ok(example)) = example {
            content["application/json"]["example"] = example;
        }
        operation["requestBody"] = json!({ "required": body.required, "content": content });
    }
    operation
}

/// The first part of a path that says what it is about.
fn tag(path: &str) -> &str {
    match path.strip_prefix("/v1/") {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => "system",
    }
}

fn parameters(route: &Route, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters: Vec<Value> = path_parameters(route.path)
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": path_schema(name) })
        })
        .collect();
    if let Some(query) = route.query {
        let schema = query(schemas).to_value();
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            let mut schema = without_null(schema.clone());
            let description = schema
                .as_object_mut()
                .and_then(|schema| schema.remove("description"));
            parameters.push(json!({
                "name": name, "in": "query", "required": false,
                "description": description, "schema": schema,
            }));
        }
    }
    if route.path.starts_with("/v1/") {
        for name in ["tenant", "user", "roles", "groups"] {
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        }
    }
    if TAKE_KEYS.contains(&route.operation) {
        let description = "The same key again is the same one, for ever";
        let mut key = header("Idempotency-Key", description);
        key["schema"] = json!({ "type": "string", "pattern": "^[!-~]{1,256}$" });
        parameters.push(key);
    }
    if ["listEvents", "streamEvents", "streamSessionEvents"].contains(&route.operation) {
        parameters.push(header(
            "Last-Event-ID",
            "As a stream: what comes after this `id`",
        ));
    }
    parameters
}

/// What a part of a path may be.
fn path_schema(name: &str) -> Value {
    match name {
        "run_id" | "session_id" | "approval_id" | "reservation_id" | "key_id" => {
            json!({ "type": "string", "format": "uuid" })
        }
        "response_id" => json!({ "type": "string", "pattern": "^resp_[0-9a-f-]{36}$" }),
        "scope" => {
            json!({ "type": "string", "enum": ["tenant", "user", "agent", "session", "run"] })
        }
        _ => json!({ "type": "string", "minLength": 1 }),
    }
}

/// A parameter that may be absent is never null.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").filter(|types| types.is_array()) {
        *types = types
            .as_array()
            .and_then(|types| types.first())
            .cloned()
            .unwrap_or_default();
    }
    let real = schema
        .get("anyOf")
        .and_then(Value::as_array)
        .and_then(|any| any.first())
        .cloned();
    if let (Some(mut real), Some(description)) = (real, schema.get("description").cloned()) {
        real["description"] = description;
        return real;
    }
    schema
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn header(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": false,
        "description": description, "schema": { "type": "string" },
    })
}

fn identity_parameters() -> Value {
    let description = "Where the gateway listens on the loopback without credentials";
    json!({
        "tenant": header(TENANT_HEADER, description),
        "user": header(USER_HEADER, description),
        "roles": header(ROLES_HEADER, description),
        "groups": header(GROUPS_HEADER, description),
    })
}

fn responses(route: &Route, schemas: &mut SchemaGenerator, problem: &Value) -> Map<String, Value> {
    let mut responses = Map::new();
    for answer in &route.answers {
        let response = responses
            .entry(answer.status.to_string())
            .or_insert_with(|| json!({ "description": answer.description }));
        match answer.content {
            Content::Empty => {}
            Content::Json(schema) => add_json(response, schema(schemas).to_value()),
            Content::Page(row) => add_json(response, page_of(&row(schemas).to_value())),
            // What of it a schema would describe, the whole or one event, is not settled in 3.1.
            Content::Media(media) if media == EVENT_STREAM => {
                response["content"][media] = json!({});
            }
            Content::Media(media) => {
                response["content"][media] = json!({ "schema": { "type": "string" } });
            }
        }
    }
    let known: &[u16] = match route.access {
        Access::Public => &[],
        Access::Operate => &[401],
        _ => &[401, 429, 503],
    };
    let (media, shape) = match Tongue::of(route.path) {
        Tongue::Own => (PROBLEM, problem.clone()),
        Tongue::OpenAi | Tongue::Responses => {
            let shape = schemas.subschema_for::<OpenAiError>();
            ("application/json", shape.to_value())
        }
        Tongue::Anthropic => {
            let shape = schemas.subschema_for::<AnthropicError>();
            ("application/json", shape.to_value())
        }
    };
    for status in ALWAYS.iter().chain(known).chain(route.problems) {
        let refused = json!({
            "description": Problem::new(*status, "", "").title,
            "content": { media: { "schema": shape } },
        });
        // What says so in words of its own may be refused by the layers around it too.
        let response = responses.entry(status.to_string()).or_insert(refused);
        if response["content"].get(media).is_none() {
            response["content"][media] = json!({ "schema": shape });
        }
    }
    responses
}

/// Adds a form that the JSON of a response may have.
fn add_json(response: &mut Value, schema: Value) {
    let place = &mut response["content"]["application/json"]["schema"];
    *place = match place.take() {
        Value::Null => schema,
        other => json!({ "anyOf": [other, schema] }),
    };
}

fn page_of(row: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": { "type": "array", "items": row },
            "next_cursor": {
                "type": "string",
                "description": "What `cursor` takes for the next page; absent on the last one.",
            },
        },
    })
}

#[cfg(test)]
mod tests;
