//! The protocol's bodies: what is read of a request, and the pieces of an answer.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialect::{Ending, Part, Piece, Wire};
use crate::script::{ScriptedCall, WireTokens};

/// Tokens of framing that a message and a request cost.
const TOKENS_A_MESSAGE: u64 = 4;
const TOKENS_A_REQUEST: u64 = 3;

#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(flatten)]
    pub(crate) mode: Mode,
    /// Which protocol it came in.
    #[serde(skip)]
    pub(crate) wire: Wire,
}

/// The only part of a request that the instant mode looks at.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Mode {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Mode {
    pub(crate) fn streams(self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(crate) fn wants_usage(self) -> bool {
        self.stream_options
            .and_then(|o| o.include_usage)
            .unwrap_or(false)
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Value,
}

impl Message {
    /// The text, whether it came as a string or as parts.
    pub(crate) fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts
                .iter()
                .filter_map(|p| p.get("text")?.as_str())
                .collect::<Vec<_>>()
                .join(""),
            _ => String::new(),
        }
    }

    fn tokens(&self) -> u64 {
        let calls = if self.tool_calls.is_null() {
            0
        } else {
            of_json(&self.tool_calls)
        };
        TOKENS_A_MESSAGE + tokens(&self.text()) + calls
    }
}

impl ChatRequest {
    pub(crate) fn offers(&self, tool: &str) -> bool {
        let name = |t: &'_ Value| t.get("function")?.get("name")?.as_str().map(|n| n == tool);
        self.tools.iter().flatten().any(|t| name(t) == Some(true))
    }

    pub(crate) fn max_output(&self) -> u64 {
        self.max_completion_tokens
            .or(self.max_tokens)
            .unwrap_or(u64::MAX)
    }

    /// The prompt's tokens, by this server's own count.
    pub(crate) fn tokens(&self) -> u64 {
        let messages: u64 = self.messages.iter().map(Message::tokens).sum();
        let tools: u64 = self.tools.iter().flatten().map(of_json).sum();
        TOKENS_A_REQUEST + messages + tools
    }
}

/// Tokens of a text: one for every four bytes begun. A piece of a stream is counted by itself.
pub(crate) fn tokens(text: &str) -> u64 {
    u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX)
}

fn of_json(value: &Value) -> u64 {
    tokens(&value.to_string())
}

/// What every piece of one answer repeats.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) created: u64,
    /// Every piece but the last says `"usage":null` when usage was asked for.
    pub(crate) wants_usage: bool,
    pub(crate) unknown_enums: bool,
}

impl Head {
    /// All pieces of a stream, `[DONE]` included.
    pub(crate) fn stream(&self, parts: &[(Part<'_>, u64)], ending: Ending<'_>) -> Vec<Piece> {
        let role = if self.unknown_enums {
            "narrator"
        } else {
            "assistant"
        };
        let first = json!({ "role": role, "content": "", "refusal": null });
        let mut pieces = vec![(self.delta(&first, None), 0)];
        pieces.extend((parts.iter()).map(|(part, n)| (self.delta(&of_part(part), None), *n)));
        let finish = ending.finish;
        pieces.extend(finish.map(|finish| (self.delta(&json!({}), Some(finish)), 0)));
        let usage = ending.usage.filter(|_| self.wants_usage);
        pieces.extend(usage.map(|usage| (self.usage(usage), 0)));
        pieces.push(("data: [DONE]\n\n".into(), 0));
        pieces
    }

    /// A piece with one choice.
    pub(crate) fn delta(&self, delta: &Value, finish: Option<&str>) -> String {
        let choices = json!([{ "index": 0, "delta": delta, "logprobs": null,
            "finish_reason": finish }]);
        self.event(&choices, None)
    }

    /// The last piece, which has no choices.
    pub(crate) fn usage(&self, usage: WireTokens) -> String {
        self.event(&json!([]), Some(usage))
    }

    fn event(&self, choices: &Value, usage: Option<WireTokens>) -> String {
        let object = if self.unknown_enums {
            "chat.completion.shard"
        } else {
            "chat.completion.chunk"
        };
        let mut event = format!(
            r#"data: {{"id":"{}","object":"{object}","created":{},"model":{},"choices":{choices}"#,
            self.id,
            self.created,
            Value::from(self.model.as_str()),
        );
        // Writing to a string does not fail.
        let _ = match usage {
            Some(usage) => write!(event, r#","usage":{}"#, usage_json(usage)),
            None if self.wants_usage => write!(event, r#","usage":null"#),
            None => Ok(()),
        };
        if self.unknown_enums {
            event.push_str(r#","service_tier":"warp","x_novel":{"depth":[1,null]}"#);
        }
        event.push_str("}\n\n");
        event
    }

    /// A whole answer, not streamed.
    pub(crate) fn whole(
        &self,
        text: &str,
        calls: &[ScriptedCall],
        finish: &str,
        usage: Option<WireTokens>,
    ) -> String {
        let mut message = json!({ "role": "assistant", "refusal": null, "content": text });
        if !calls.is_empty() {
            message["tool_calls"] = calls.iter().enumerate().map(|(i, c)| call(i, c)).collect();
        }
        let mut body = json!({
            "id": self.id, "object": "chat.completion", "created": self.created,
            "model": self.model,
            "choices": [{ "index": 0, "message": message, "logprobs": null,
                "finish_reason": finish }],
        });
        if let Some(usage) = usage {
            body["usage"] = usage_json(usage);
        }
        body.to_string()
    }
}

fn of_part(part: &Part<'_>) -> Value {
    match part {
        Part::Text(text) => json!({ "content": text }),
        Part::Call(index, call) => json!({ "tool_calls": [{
            "index": index, "id": call_id(*index, call), "type": "function",
            "function": { "name": call.name, "arguments": "" } }] }),
        Part::Arguments(index, arguments) => json!({ "tool_calls": [{
            "index": index, "function": { "arguments": arguments } }] }),
    }
}

/// A whole tool call.
fn call(index: usize, call: &ScriptedCall) -> Value {
    json!({ "id": call_id(index, call), "type": "function",
        "function": { "name": call.name, "arguments": call.arguments } })
}

pub(crate) fn call_id(index: usize, call: &ScriptedCall) -> String {
    if call.id.is_empty() {
        format!("call_{index}")
    } else {
        call.id.clone()
    }
}

fn usage_json(usage: WireTokens) -> Value {
    json!({
        "prompt_tokens": usage.input, "completion_tokens": usage.output,
        "total_tokens": usage.input.saturating_add(usage.output),
        "prompt_tokens_details": { "cached_tokens": usage.cached, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
    })
}

/// OpenAI's error body.
pub(crate) fn error_body(kind: &str, code: Option<&str>, message: &str) -> String {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
        .to_string()
}
