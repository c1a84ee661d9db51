//! The conversation as Anthropic's clients send it, and as a run takes it.

use std::collections::BTreeMap;

use nexus_events::model::{Message, ToolCall};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::http::ApiError;
use crate::openai::messages::said_last;

/// What stands between two blocks of text in one message.
const BETWEEN_BLOCKS: &str = "\n";

/// One message.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct InMessage {
    /// Whose it is.
    role: Role,
    /// The text, or blocks.
    content: Text,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Role {
    /// A person, or tools of the client's.
    User,
    /// The model.
    Assistant,
    /// Instructions in the middle of a conversation.
    System,
}

/// One text, or blocks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Text {
    /// As one text.
    Whole(String),
    /// In blocks.
    Blocks(Vec<Block>),
}

/// A block. What it holds depends on its type.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Block {
    /// `text`, `tool_use` or `tool_result`; `thinking` is accepted and left out.
    r#type: String,
    /// Of a text.
    #[serde(default)]
    text: Option<String>,
    /// Of a call: its id.
    #[serde(default)]
    id: Option<String>,
    /// Of a call: the tool.
    #[serde(default)]
    name: Option<String>,
    /// Of a call: its arguments.
    #[serde(default)]
    input: Option<Value>,
    /// Of a result: the call.
    #[serde(default)]
    tool_use_id: Option<String>,
    /// Of a result: what came of it.
    #[serde(default)]
    #[schemars(with = "Option<Value>")]
    content: Option<Text>,
    /// Of a result: it is an error.
    #[serde(default)]
    is_error: Option<bool>,
}

impl Text {
    /// The text, where nothing but texts may be.
    pub(crate) fn whole(self, field: &str) -> Result<String, ApiError> {
        let blocks = match self {
            Self::Whole(text) => return Ok(text),
            Self::Blocks(blocks) => blocks,
        };
        let mut texts = Vec::with_capacity(blocks.len());
        for block in blocks {
            match block.r#type.as_str() {
                "text" => texts.push(block.text.unwrap_or_default()),
                other => return Err(not_taken(other, field)),
            }
        }
        Ok(texts.join(BETWEEN_BLOCKS))
    }

    fn into_blocks(self) -> Vec<Block> {
        match self {
            Self::Blocks(blocks) => blocks,
            Self::Whole(text) => vec![Block {
                r#type: "text".to_owned(),
                text: Some(text),
                id: None,
                name: None,
                input: None,
                tool_use_id: None,
                content: None,
                is_error: None,
            }],
        }
    }
}

/// The conversation before the input, and the input: what the person says last. It is empty where
/// somebody else had the last word, such as a tool.
pub(crate) fn conversation(messages: Vec<InMessage>) -> Result<(Vec<Message>, String), ApiError> {
    let mut names = BTreeMap::new();
    let mut said = Vec::with_capacity(messages.len());
    for (message, index) in messages.into_iter().zip(0..) {
        let field = format!("messages[{index}].content");
        match message.role {
            Role::User => of_user(message.content, &field, &names, &mut said)?,
            Role::Assistant => said.push(of_model(message.content, &field, &mut names)?),
            Role::System => {
                let text = message.content.whole(&field)?;
                said.push(Message::System { text });
            }
        }
    }
    said_last(said)
}

/// Texts become a message of the person's, and each result one of its tool's.
fn of_user(
    content: Text,
    field: &str,
    names: &BTreeMap<String, String>,
    said: &mut Vec<Message>,
) -> Result<(), ApiError> {
    let mut texts: Vec<String> = vec![];
    let flush = |texts: &mut Vec<String>, said: &mut Vec<Message>| {
        if !texts.is_empty() {
            let text = std::mem::take(texts).join(BETWEEN_BLOCKS);
            said.push(Message::User { text });
        }
    };
    for block in content.into_blocks() {
        match block.r#type.as_str() {
            "text" => texts.push(block.text.unwrap_or_default()),
            "tool_result" => {
                flush(&mut texts, said);
                said.push(result(block, field, names)?);
            }
            other => return Err(not_taken(other, field)),
        }
    }
    flush(&mut texts, said);
    Ok(())
}

fn result(
    block: Block,
    field: &str,
    names: &BTreeMap<String, String>,
) -> Result<Message, ApiError> {
    let call_id = block.tool_use_id.unwrap_or_default();
    let name = names.get(&call_id).cloned().ok_or_else(|| {
        let detail = "a tool_result must answer a tool_use of a message before it";
        ApiError::invalid(field, detail)
    })?;
    let text = match block.content {
        Some(content) => content.whole(field)?,
        None => String::new(),
    };
    let text = match block.is_error {
        Some(true) => format!("error: {text}"),
        _ => text,
    };
    Ok(Message::Tool {
        call_id,
        name,
        text,
    })
}

fn of_model(
    content: Text,
    field: &str,
    names: &mut BTreeMap<String, String>,
) -> Result<Message, ApiError> {
    let (mut texts, mut tool_calls) = (vec![], vec![]);
    for block in content.into_blocks() {
        match block.r#type.as_str() {
            "text" => texts.push(block.text.unwrap_or_default()),
            "tool_use" => {
                let (Some(id), Some(name)) = (block.id, block.name) else {
                    let detail = "a tool_use must have an `id` and a `name`";
                    return Err(ApiError::invalid(field, detail));
                };
                names.insert(id.clone(), name.clone());
                let arguments = (block.input).unwrap_or_else(|| Value::Object(Default::default()));
                tool_calls.push(ToolCall {
                    id,
                    name,
                    arguments,
                });
            }
            // What a model thought is its own provider's to read.
            "thinking" | "redacted_thinking" => {}
            other => return Err(not_taken(other, field)),
        }
    }
    Ok(Message::Assistant {
        text: texts.join(BETWEEN_BLOCKS),
        tool_calls,
    })
}

fn not_taken(found: &str, field: &str) -> ApiError {
    let found: String = found.chars().take(64).collect();
    let detail = match found.as_str() {
        "image" | "document" => {
            format!("only text is taken here, and one block is of type {found}")
        }
        _ => format!("a block of type {found:?} cannot stand here"),
    };
    ApiError::invalid(field, detail)
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
    fn results_are_messages_of_their_tools_and_words_beside_them_the_input() {
        let (context, input) = read(json!([
            { "role": "user", "content": "warm?" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "s" },
                { "type": "text", "text": "Let me see." },
                { "type": "tool_use", "id": "c1", "name": "weather", "input": { "city": "Rome" } } ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c1", "is_error": true,
                  "content": [{ "type": "text", "text": "31" }] },
                { "type": "text", "text": "and now?", "cache_control": { "type": "ephemeral" } } ] },
        ]))
        .unwrap();
        assert_eq!(input, "and now?");
        let Some(Message::Assistant { text, tool_calls }) = context.get(1) else {
            unreachable!("{context:?}")
        };
        assert_eq!(text, "Let me see.");
        assert_eq!(tool_calls[0].arguments, json!({ "city": "Rome" }));
        let last = Message::Tool {
            call_id: "c1".into(),
            name: "weather".into(),
            text: "error: 31".into(),
        };
        assert_eq!((context.len(), context.last()), (3, Some(&last)));
    }

    #[test]
    fn what_cannot_be_taken_is_refused() {
        let image = json!({ "type": "image", "source": { "type": "url", "url": "http://x" } });
        for bad in [
            json!([]),
            json!([{ "role": "user", "content": [image] }]),
            json!([{ "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c1", "content": "31" }] }]),
            json!([{ "role": "assistant", "content": [{ "type": "tool_use", "name": "a" }] }]),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().code(), "invalid", "{bad}");
        }
    }
}
