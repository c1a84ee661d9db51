//! What a definition must be before it is a fact. Whether its schemas are JSON Schema throughout, and
//! whether its code loads, only the tool role can say, and does before it asks for this.

use semver::Version;
use serde_json::Value;

use crate::error::DomainError;
use crate::tool::{ByteSize, Span, ToolDefinition, ToolKind, builtin};

/// Bytes of a definition as JSON, but for what it refers to: every run's model is told of it.
pub const MOST_DEFINITION_BYTES: usize = 64 * 1024;
const MOST_DESCRIPTION_BYTES: usize = 4_096;
const MOST_SCHEMA_DEPTH: usize = 32;
const MOST_TIMEOUT: Span = Span::from_millis(600_000);
const MOST_OUTPUT: ByteSize = ByteSize::bytes(8 << 20);
const MOST_CONCURRENCY: u32 = 1_024;

/// Checks what can be seen of a definition by itself.
///
/// # Errors
/// [`DomainError::Invalid`], naming the field and what would be right.
pub fn validate(definition: &ToolDefinition) -> Result<(), DomainError> {
    let invalid = |field: &str, reason: &str| Err(DomainError::invalid(field, reason));
    if !is_name(&definition.name) {
        return invalid("name", "1 to 64 of a-z, 0-9, _ and -");
    }
    if builtin::get(&definition.name).is_some() {
        return invalid("name", "a tool that ships with the platform has this name");
    }
    match Version::parse(&definition.version) {
        Ok(_) if definition.version.len() > 64 => {
            return invalid("version", "it has more than 64 characters");
        }
        Ok(version) if !version.build.is_empty() => {
            return invalid(
                "version",
                "build metadata (+…) orders nothing; leave it out",
            );
        }
        Ok(_) => {}
        Err(error) => {
            let reason = format!("a semantic version is needed, such as 1.2.0: {error}");
            return Err(DomainError::invalid("version", reason));
        }
    }
    if definition.description.trim().is_empty() {
        return invalid("description", "it is empty; models choose tools by it");
    }
    if definition.description.len() > MOST_DESCRIPTION_BYTES {
        return invalid("description", "it has more than 4096 bytes");
    }
    if !is_name(&definition.category) {
        return invalid("category", "1 to 64 of a-z, 0-9, _ and -");
    }
    kind(&definition.kind)?;
    schema("input_schema", &definition.input_schema)?;
    if definition.input_schema.get("type").and_then(Value::as_str) != Some("object") {
        return invalid(
            "input_schema",
            "arguments are an object: \"type\": \"object\"",
        );
    }
    if let Some(output) = &definition.output_schema {
        schema("output_schema", output)?;
    }
    limits(definition)?;
    let size = serde_json::to_string(definition).map_or(usize::MAX, |text| text.len());
    if size > MOST_DEFINITION_BYTES {
        let reason = format!("the definition has {size} bytes, of at most {MOST_DEFINITION_BYTES}");
        return Err(DomainError::invalid("input_schema", reason));
    }
    Ok(())
}

/// Whether it can be a tool's name.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

fn kind(kind: &ToolKind) -> Result<(), DomainError> {
    let invalid = |field: &str, reason: &str| Err(DomainError::invalid(field, reason));
    match kind {
        ToolKind::Builtin => invalid("kind", "built-in tools come with the platform"),
        ToolKind::Wasm { module } if module.len_bytes() == 0 => invalid("module", "it is empty"),
        ToolKind::Javascript { source } | ToolKind::Python { source }
            if source.len_bytes() == 0 =>
        {
            invalid("source", "it is empty")
        }
        ToolKind::Mcp { server, tool } if server.is_empty() || tool.is_empty() => {
            invalid("server", "name the server and the tool there")
        }
        ToolKind::Wasm { .. }
        | ToolKind::Javascript { .. }
        | ToolKind::Python { .. }
        | ToolKind::Mcp { .. }
        | ToolKind::Nats => Ok(()),
    }
}

fn schema(field: &str, schema: &Value) -> Result<(), DomainError> {
    if !schema.is_object() {
        return Err(DomainError::invalid(field, "a JSON Schema is an object"));
    }
    if depth(schema) > MOST_SCHEMA_DEPTH {
        return Err(DomainError::invalid(
            field,
            "it is nested more than 32 deep",
        ));
    }
    if refers_elsewhere(schema) {
        let reason = "a $ref may only point into the schema itself (#/…)";
        return Err(DomainError::invalid(field, reason));
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

fn refers_elsewhere(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let is_ref = matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef");
            let elsewhere = value.as_str().is_some_and(|to| !to.starts_with('#'));
            is_ref && elsewhere || refers_elsewhere(value)
        }),
        Value::Array(items) => items.iter().any(refers_elsewhere),
        _ => false,
    }
}

fn limits(definition: &ToolDefinition) -> Result<(), DomainError> {
    let limits = &definition.limits;
    let invalid = |field: &str, reason: &str| Err(DomainError::invalid(field, reason));
    if !(1..=MOST_TIMEOUT.millis()).contains(&limits.timeout.millis()) {
        return invalid("limits.timeout", "1ms to 10m");
    }
    if !(1..=MOST_OUTPUT.get()).contains(&limits.max_output_bytes) {
        return invalid("limits.max_output_bytes", "1 to 8388608");
    }
    if !(1..=MOST_CONCURRENCY).contains(&limits.concurrency) {
        return invalid("limits.concurrency", "1 to 1024");
    }
    Ok(())
}
