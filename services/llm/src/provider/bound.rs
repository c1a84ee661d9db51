//! Bounds from above for calls that never said what they used.
//!
//! The tokenizers in use cover at least one byte with each token, so bytes bound tokens; framing adds
//! some for every message and tool. That is about four times the truth for English. An estimate
//! nearer the truth would sometimes be below it, and what is below is billed to nobody.

use nexus_events::model::{Message, ToolSpec};

use super::ChatRequest;

const TOKENS_A_REQUEST: u64 = 64;
const TOKENS_A_MESSAGE: u64 = 16;
const TOKENS_A_CALL: u64 = 32;
const TOKENS_A_TOOL: u64 = 64;

/// Most tokens that a text can have.
pub(super) fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Most tokens that the prompt can have.
pub(super) fn input(request: &ChatRequest) -> u64 {
    let messages: u64 = request.messages.iter().map(message).sum();
    let tools: u64 = request.tools.iter().map(tool).sum();
    let schema = request.response_schema.as_ref().map_or(0, json);
    let bound = TOKENS_A_REQUEST + messages + tools + schema;
    request.input_bound.map_or(bound, |own| own.min(bound))
}

fn message(message: &Message) -> u64 {
    let content = match message {
        Message::System { text } | Message::User { text } => tokens(text.len()),
        Message::Tool {
            call_id,
            name,
            text,
        } => tokens(call_id.len()) + tokens(name.len()) + tokens(text.len()),
        Message::Assistant { text, tool_calls } => {
            let call = |c: &nexus_events::model::ToolCall| {
                TOKENS_A_CALL + tokens(c.id.len()) + tokens(c.name.len()) + json(&c.arguments)
            };
            tokens(text.len()) + tool_calls.iter().map(call).sum::<u64>()
        }
    };
    TOKENS_A_MESSAGE + content
}

fn tool(tool: &ToolSpec) -> u64 {
    let words = tokens(tool.name.len()) + tokens(tool.description.len());
    TOKENS_A_TOOL + words + json(&tool.parameters)
}

fn json(value: &serde_json::Value) -> u64 {
    tokens(value.to_string().len())
}
