//! The conversation as OpenAI's clients send it, and as a run takes it.

use std::collections::BTreeMap;

use nexus_events::model::{Message, ToolCall};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::http::ApiError;

/// One message.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatMessage {
    /// Whose it is.
    role: Role,
    /// The text, or parts of it.
    #[serde(default)]
    content: Option<Content>,
    /// Of an assistant: what it asked for.
    #[serde(default)]
    tool_calls: Option<Vec<ChatCall>>,
    /// Of a tool: the call that it answers.
    #[serde(default)]
    tool_call_id: Option<String>,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Role {
    /// Instructions.
    System,
    /// Instructions, as newer clients call them.
    Developer,
    /// A person.
    User,
    /// The model.
    Assistant,
    /// A tool of the client's.
    Tool,
}

/// What a message says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Content {
    /// As one text.
    Text(String),
    /// In parts, which must be texts.
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Deserialize, JsonSchema)]
struct Part {
    /// `text`, or `refusal` of an assistant's.
    r#type: String,
    /// The text.
    #[serde(default)]
    text: Option<String>,
    /// What the model said instead of an answer.
    #[serde(default)]
    refusal: Option<String>,
}

/// A call that the model asked for.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChatCall {
    /// Its id.
    id: String,
    /// What is called.
    function: ChatFunction,
}

/// What is called.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChatFunction {
    /// The tool.
    name: String,
    /// The arguments as JSON text.
    arguments: String,
}

/// The conversation before the input, and the input: what the person says last. It is empty where
/// somebody else had the last word, such as a tool.
pub(crate) fn conversation(messages: Vec<ChatMessage>) -> Result<(Vec<Message>, String), ApiError> {
    let mut names = BTreeMap::new();
    let mut context = Vec::with_capacity(messages.len());
    for (message, index) in messages.into_iter().zip(0..) {
        context.push(one(message, index, &mut names)?);
    }
    said_last(context)
}

/// A conversation and its input: what the person says last.
pub(crate) fn said_last(mut context: Vec<Message>) -> Result<(Vec<Message>, String), ApiError> {
    match context.pop() {
        Some(Message::User { text }) => Ok((context, text)),
        Some(last) => {
            context.push(last);
            Ok((context, String::new()))
        }
        None => Err(ApiError::invalid(
            "messages",
            "there is none; say something",
        )),
    }
}

fn one(
    message: ChatMessage,
    index: usize,
    names: &mut BTreeMap<String, String>,
) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let text = text(message.content, &at("content"))?;
    Ok(match message.role {
        Role::System | Role::Developer => Message::System { text },
        Role::User => Message::User { text },
        Role::Assistant => {
            let tool_calls: Vec<ToolCall> = (message.tool_calls.unwrap_or_default())
                .into_iter()
                .map(call)
                .collect();
            for call in &tool_calls {
                names.insert(call.id.clone(), call.name.clone());
            }
            Message::Assistant { text, tool_calls }
        }
        Role::Tool => {
            let call_id = (message.tool_call_id).ok_or_else(|| {
                ApiError::invalid(&at("tool_call_id"), "it must say which call it answers")
            })?;
            let name = names.get(&call_id).cloned().ok_or_else(|| {
                let detail = "a message of a tool must answer a call of a message before it";
                ApiError::invalid(&at("tool_call_id"), detail)
            })?;
            Message::Tool {
                call_id,
                name,
                text,
            }
        }
    })
}

fn call(call: ChatCall) -> ToolCall {
    let ChatFunction { name, arguments } = call.function;
    let arguments = match arguments.trim() {
        "" => Value::Object(serde_json::Map::new()),
        // What the model wrote is told to it again as it was.
        text => serde_json::from_str(text).unwrap_or(Value::String(arguments)),
    };
    ToolCall {
        id: call.id,
        name,
        arguments,
    }
}

fn text(content: Option<Content>, field: &str) -> Result<String, ApiError> {
    let parts = match content {
        None => return Ok(String::new()),
        Some(Content::Text(text)) => return Ok(text),
        Some(Content::Parts(parts)) => parts,
    };
    let mut whole = String::new();
    for part in parts {
        match part.r#type.as_str() {
            "text" => whole.push_str(part.text.as_deref().unwrap_or_default()),
            "refusal" => whole.push_str(part.refusal.as_deref().unwrap_or_default()),
            other => {
                let other: String = other.chars().take(64).collect();
                let detail = format!("parts must be texts here, and one is {other:?}");
                return Err(ApiError::invalid(field, detail));
            }
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::json;

    use super::*;

    fn read(messages: Value) -> Result<(Vec<Message>, String), ApiError> {
        conversation(serde_json::from_value(messages).unwrap())
    }

    #[test]
    fn what_the_person_says_last_is_the_input() {
        let (context, input) = read(json!([
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
        ]))
        .unwrap();
        assert_eq!(input, "ab");
        let text = "Be brief.".to_owned();
        assert_eq!(context, [Message::System { text }]);
    }

    #[test]
    fn a_result_knows_the_tool_that_it_is_of() {
        let function = json!({ "name": "weather", "arguments": "{\"city\":\"Rome\"}" });
        let (context, input) = read(json!([
            { "role": "user", "content": "warm?" },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": function }] },
            { "role": "tool", "tool_call_id": "c1", "content": "31" },
        ]))
        .unwrap();
        assert_eq!((context.len(), input.as_str()), (3, ""));
        let Some(Message::Assistant { tool_calls, .. }) = context.get(1) else {
            unreachable!("{context:?}")
        };
        assert_eq!(tool_calls[0].arguments, json!({ "city": "Rome" }));
        let last = Message::Tool {
            call_id: "c1".into(),
            name: "weather".into(),
            text: "31".into(),
        };
        assert_eq!(context.last(), Some(&last));
    }

    #[test]
    fn what_cannot_be_taken_is_refused() {
        for bad in [
            json!([]),
            json!([{ "role": "tool", "content": "31" }]),
            json!([{ "role": "tool", "tool_call_id": "c1", "content": "31" }]),
            json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().code(), "invalid", "{bad}");
        }
    }
}
