//! Anthropic's messages protocol: a request as the one that the rest of the server knows, and the
//! pieces of an answer.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::behaviour::Content;
use crate::dialect::{Ending, Part, Piece, Wire};
use crate::script::{ScriptedCall, WireTokens};
use crate::wire::{ChatRequest, call_id};

/// What is read of a request; the rest is accepted and ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct MessagesRequest {
    model: String,
    max_tokens: u64,
    messages: Vec<AnthropicMessage>,
    #[serde(default)]
    system: Value,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct AnthropicMessage {
    role: String,
    content: Value,
}

impl MessagesRequest {
    /// The request as a chat completion would say it.
    pub(crate) fn chat(self) -> Result<ChatRequest, String> {
        let mut messages = Vec::new();
        if !self.system.is_null() {
            messages.push(json!({ "role": "system", "content": self.system }));
        }
        for message in self.messages {
            if !matches!(message.role.as_str(), "user" | "assistant") {
                return Err(format!("messages: unexpected role {:?}", message.role));
            }
            of_message(message, &mut messages)?;
        }
        let tool = |tool: Value| {
            json!({ "type": "function", "function": { "name": tool["name"],
                "description": tool["description"], "parameters": tool["input_schema"] } })
        };
        let tools: Vec<Value> = self.tools.into_iter().flatten().map(tool).collect();
        let chat = json!({ "model": self.model, "messages": messages, "tools": tools,
            "max_tokens": self.max_tokens, "stream": self.stream });
        let mut chat: ChatRequest = serde_json::from_value(chat).map_err(|e| e.to_string())?;
        chat.wire = Wire::Messages;
        Ok(chat)
    }
}

/// One message as those that a chat would have: results of tools are messages of their own there.
fn of_message(message: AnthropicMessage, messages: &mut Vec<Value>) -> Result<(), String> {
    let Value::Array(blocks) = message.content else {
        messages.push(json!({ "role": message.role, "content": message.content }));
        return Ok(());
    };
    let (mut said, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("text") if block["text"].as_str().is_some_and(str::is_empty) => {
                return Err("messages: text content blocks must be non-empty".to_owned());
            }
            Some("text") => said.push(block),
            Some("tool_use") if block["input"].is_object() => calls.push(block),
            Some("tool_result") => messages.push(json!({ "role": "tool",
                "tool_call_id": block["tool_use_id"], "content": block["content"] })),
            other => return Err(format!("messages: unexpected block {other:?}")),
        }
    }
    if !said.is_empty() || !calls.is_empty() {
        let calls = if calls.is_empty() {
            Value::Null
        } else {
            calls.into()
        };
        messages.push(json!({ "role": message.role, "content": said, "tool_calls": calls }));
    }
    Ok(())
}

/// What is said at the beginning of an answer.
#[derive(Clone, Debug)]
pub(crate) struct MessagesHead {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) unknown_enums: bool,
}

impl MessagesHead {
    pub(crate) fn stream(&self, parts: &[(Part<'_>, u64)], ending: Ending<'_>) -> Vec<Piece> {
        let mut pieces = vec![(self.start(ending.usage), 0), event("ping", json!({}))];
        if self.unknown_enums {
            pieces.push(event("aura", json!({ "colour": ["blue", null] })));
        }
        let mut open: Option<(usize, Option<usize>)> = None;
        for (part, tokens) in parts {
            let call = match part {
                Part::Text(_) => None,
                Part::Call(index, _) | Part::Arguments(index, _) => Some(*index),
            };
            let index = match open {
                Some((index, of)) if of == call => index,
                _ => {
                    pieces.extend(open.map(|(index, _)| stop(index)));
                    let index = open.map_or(0, |(index, _)| index + 1);
                    if call.is_none() {
                        pieces.push(begin(index, json!({ "type": "text", "text": "" })));
                    }
                    open = Some((index, call));
                    index
                }
            };
            let (text, _) = match part {
                Part::Text(text) => delta(index, json!({ "type": "text_delta", "text": text })),
                Part::Call(number, call) => begin(
                    index,
                    json!({ "type": "tool_use", "id": call_id(*number, call),
                        "name": call.name, "input": {} }),
                ),
                Part::Arguments(_, json) => delta(
                    index,
                    json!({ "type": "input_json_delta", "partial_json": json }),
                ),
            };
            pieces.push((text, *tokens));
        }
        pieces.extend(open.map(|(index, _)| stop(index)));
        pieces.extend(self.end(ending));
        pieces.push(event("message_stop", json!({})));
        pieces
    }

    fn start(&self, usage: Option<WireTokens>) -> String {
        let mut message = json!({ "id": self.id, "type": "message", "role": "assistant",
            "model": self.model, "content": [], "stop_reason": null, "stop_sequence": null });
        if let Some(usage) = usage {
            message["usage"] = usage_json(WireTokens { output: 1, ..usage });
        }
        event("message_start", json!({ "message": message })).0
    }

    fn end(&self, ending: Ending<'_>) -> Option<Piece> {
        let reason = ending.finish?;
        let mut end = json!({ "delta": { "stop_reason": stop_reason(reason),
            "stop_sequence": null } });
        if let Some(usage) = ending.usage {
            end["usage"] = json!({ "output_tokens": usage.output });
        }
        Some(event("message_delta", end))
    }

    pub(crate) fn whole(&self, content: &Content, text: &str, ending: Ending<'_>) -> String {
        let mut blocks = Vec::new();
        if !text.is_empty() {
            blocks.push(json!({ "type": "text", "text": text }));
        }
        blocks.extend(content.calls.iter().enumerate().map(tool_use));
        let mut body = json!({ "id": self.id, "type": "message", "role": "assistant",
            "model": self.model, "content": blocks, "stop_sequence": null,
            "stop_reason": ending.finish.map(stop_reason) });
        if let Some(usage) = ending.usage {
            body["usage"] = usage_json(usage);
        }
        body.to_string()
    }
}

fn tool_use((index, call): (usize, &ScriptedCall)) -> Value {
    let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    json!({ "type": "tool_use", "id": call_id(index, call), "name": call.name, "input": input })
}

fn event(kind: &str, mut data: Value) -> Piece {
    data["type"] = kind.into();
    (format!("event: {kind}\ndata: {data}\n\n"), 0)
}

fn begin(index: usize, block: Value) -> Piece {
    event(
        "content_block_start",
        json!({ "index": index, "content_block": block }),
    )
}

fn delta(index: usize, delta: Value) -> Piece {
    event(
        "content_block_delta",
        json!({ "index": index, "delta": delta }),
    )
}

fn stop(index: usize) -> Piece {
    event("content_block_stop", json!({ "index": index }))
}

fn stop_reason(finish: &str) -> &str {
    match finish {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        other => other,
    }
}

/// Here the three kinds of prompt tokens are told apart, and none counts twice.
fn usage_json(usage: WireTokens) -> Value {
    let fresh = (usage.input)
        .saturating_sub(usage.cached)
        .saturating_sub(usage.cache_write);
    json!({ "input_tokens": fresh, "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": usage.cache_write, "output_tokens": usage.output })
}

/// Anthropic's error body.
pub(crate) fn error_body(status: u16, kind: Option<&str>, message: &str) -> String {
    let usual = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let kind = kind.unwrap_or(usual);
    json!({ "type": "error", "error": { "type": kind, "message": message } }).to_string()
}
