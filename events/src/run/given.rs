//! What a caller may bring that keeps the conversation itself, as clients of model APIs do: what was
//! said before, tools that it executes, how the model is to answer. All of it is written by whoever
//! calls, so that its number, size and depth are bounded here.
//!
//! A session that is filled from outside was the alternative: it would be a second truth about what
//! was said, of which each request brings another version.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Embed, Embedding, Given, choose};
use crate::body::Body;
use crate::catalog::Catalog;
use crate::command::StartRun;
use crate::error::DomainError;
use crate::model::{Message, Sampling, ToolSpec, ToolUse};
use crate::tool::ToolRef;

/// Messages of a context.
const MOST_MESSAGES: usize = 2_048;
/// Calls of one message.
const MOST_CALLS: usize = 128;
/// Tools that a caller executes: its model is told of each with every call.
const MOST_CLIENT_TOOLS: usize = 128;
/// Length of a tool's name, and of a call's id.
const MOST_NAME_BYTES: usize = 128;
/// How deep values may be nested: they are read again inside of others.
const MOST_DEPTH: usize = 64;
/// Length of a schema that answers must satisfy: it stands in the event itself.
const MOST_SCHEMA_BYTES: usize = 32 * 1024;

impl Given {
    /// What the command brings; none where it is nothing. `context` and `client_tool_specs` are
    /// [`context_text`] and [`specs_text`]: inline, or in the object store.
    pub fn of(
        command: &StartRun,
        context: Option<Body>,
        client_tool_specs: Option<Body>,
    ) -> Option<Box<Self>> {
        let instructs = command.agent.is_none() && command.context.iter().any(is_system);
        let given = Self {
            context,
            instructs,
            client_tools: (command.client_tools.iter())
                .map(|tool| tool.name.clone())
                .collect(),
            client_tool_specs,
            sampling: command.sampling.clone(),
            embedding: None,
        };
        (given != Self::default()).then(|| Box::new(given))
    }

    /// What a command that wants vectors brings: its texts, inline or in the object store.
    pub fn of_texts(texts: Body, embed: &Embed) -> Box<Self> {
        let embedding = Embedding {
            texts,
            count: u32::try_from(embed.texts.len()).unwrap_or(u32::MAX),
            dimensions: embed.dimensions,
        };
        Box::new(Self {
            embedding: Some(embedding),
            ..Self::default()
        })
    }

    /// Most tokens that each answer may have, where the caller bounds them.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.sampling.as_ref()?.max_output_tokens
    }

    /// Bound on what it comes to in a prompt: its bytes are more than its tokens.
    pub(super) fn prompt_bytes(&self) -> u64 {
        let bodies = [&self.context, &self.client_tool_specs];
        let texts: u64 = bodies.into_iter().flatten().map(Body::len_bytes).sum();
        let schema = (self.sampling.as_ref()).and_then(|wanted| wanted.response_schema.as_ref());
        let schema = schema.map_or(0, |schema| schema.to_string().len() as u64);
        let tools = self.client_tools.len() as u64 * 64;
        texts.saturating_add(schema).saturating_add(tools)
    }
}

/// The messages that a command brings, as an event holds them.
pub fn context_text(command: &StartRun) -> Option<String> {
    text_of(&command.context)
}

/// The tools that a command brings, as an event holds them.
pub fn specs_text(command: &StartRun) -> Option<String> {
    text_of(&command.client_tools)
}

fn text_of<T: serde::Serialize>(list: &[T]) -> Option<String> {
    // Strings and JSON always encode.
    (!list.is_empty()).then(|| serde_json::to_string(list).unwrap_or_default())
}

/// Checks what a command brings.
pub(super) fn check(
    command: &StartRun,
    catalog: &Catalog,
    most_bytes: usize,
) -> Result<(), DomainError> {
    check_context(command)?;
    check_tools(command, catalog)?;
    let texts = [context_text(command), specs_text(command)];
    let bytes: usize = texts.iter().flatten().map(String::len).sum();
    if bytes > most_bytes {
        let reason = format!(
            "with client_tools it has {bytes} bytes, more than the {most_bytes} that this \
             installation takes"
        );
        return Err(DomainError::invalid("context", reason));
    }
    command.sampling.as_ref().map_or(Ok(()), check_sampling)
}

fn check_context(command: &StartRun) -> Result<(), DomainError> {
    let refuse = |reason: &str| Err(DomainError::invalid("context", reason));
    let messages = &command.context;
    if messages.len() > MOST_MESSAGES {
        return refuse("it has more than 2048 messages");
    }
    // What was said before is the session's to know, but for results that it waits for.
    let in_session = command.session_id.is_some();
    let mut asked = BTreeSet::new();
    for message in messages {
        match message {
            Message::System { .. } | Message::User { .. } => {}
            Message::Assistant { .. } if in_session => {
                return refuse(
                    "a session keeps its own conversation: with session_id, only instructions, words \
                     and results of tools are taken",
                );
            }
            Message::Assistant { tool_calls, .. } => {
                if tool_calls.len() > MOST_CALLS {
                    return refuse("a message has more than 128 tool calls");
                }
                for call in tool_calls {
                    if !is_name(&call.id) || !is_name(&call.name) {
                        return refuse("ids and names of calls have 1 to 128 visible characters");
                    }
                    if is_deep(&call.arguments, MOST_DEPTH) {
                        return refuse("arguments of a call are nested more than 64 deep");
                    }
                    asked.insert(call.id.as_str());
                }
            }
            Message::Tool { call_id, name, .. } => {
                if !in_session && !asked.contains(call_id.as_str()) {
                    return refuse("a tool's result answers no call of a message before it");
                }
                if !is_name(call_id) || !is_name(name) {
                    return refuse(
                        "a tool's name and the id of its call have 1 to 128 visible characters",
                    );
                }
            }
        }
    }
    Ok(())
}

fn check_tools(command: &StartRun, catalog: &Catalog) -> Result<(), DomainError> {
    let refuse = |reason: String| Err(DomainError::invalid("client_tools", reason));
    let tools = &command.client_tools;
    if tools.len() > MOST_CLIENT_TOOLS {
        return refuse(format!("they are more than {MOST_CLIENT_TOOLS}"));
    }
    let named = choose(command, catalog)?.named;
    let mut taken: BTreeSet<&str> = named.iter().map(|text| ToolRef::parse(text).name).collect();
    for ToolSpec {
        name, parameters, ..
    } in tools
    {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
        if !is_name(name) || !name.bytes().all(plain) {
            return refuse("names have 1 to 128 letters, digits, _ and -".to_owned());
        }
        if !parameters.is_object() || is_deep(parameters, MOST_DEPTH) {
            return refuse(format!(
                "parameters of {name} must be a JSON Schema: an object, not deeper than {MOST_DEPTH}"
            ));
        }
        if !taken.insert(name) {
            return refuse(format!("there are two tools {name}"));
        }
    }
    Ok(())
}

fn check_sampling(wanted: &Sampling) -> Result<(), DomainError> {
    let refuse = |field: &str, reason| Err(DomainError::invalid(field, reason));
    let within = |value: Option<f32>, most: f32| value.is_none_or(|x| (0.0..=most).contains(&x));
    if wanted.max_output_tokens == Some(0) {
        return refuse("sampling.max_output_tokens", "it must be at least 1");
    }
    if !within(wanted.temperature, 2.0) {
        return refuse("sampling.temperature", "it must be from 0 to 2");
    }
    if !within(wanted.top_p, 1.0) {
        return refuse("sampling.top_p", "it must be from 0 to 1");
    }
    let fits = |text: &String| (1..=256).contains(&text.len());
    if wanted.stop.len() > 4 || !wanted.stop.iter().all(fits) {
        return refuse("sampling.stop", "at most 4 texts of 1 to 256 bytes");
    }
    if let Some(name) = &wanted.tool_name
        && (wanted.tool_use != Some(ToolUse::Required) || !is_name(name))
    {
        let reason = "a tool that must be called is named with `tool_use` as `required`";
        return refuse("sampling.tool_name", reason);
    }
    let Some(schema) = &wanted.response_schema else {
        return Ok(());
    };
    if is_deep(schema, MOST_DEPTH) || schema.to_string().len() > MOST_SCHEMA_BYTES {
        let reason = "it may have 32 KiB, nested at most 64 deep";
        return refuse("sampling.response_schema", reason);
    }
    Ok(())
}

fn is_system(message: &Message) -> bool {
    matches!(message, Message::System { .. })
}

fn is_name(text: &str) -> bool {
    (1..=MOST_NAME_BYTES).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic())
}

/// Whether values are nested deeper than this. Whoever parsed them has bounded the recursion.
pub(super) fn is_deep(value: &Value, most: usize) -> bool {
    let Some(rest) = most.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deep(item, rest)),
        Value::Object(fields) => fields.values().any(|field| is_deep(field, rest)),
        _ => false,
    }
}
