//! The bodies of Anthropic's messages protocol. What is not known of an answer is skipped, never a
//! reason to lose the rest.

use nexus_events::model::{FinishReason, Message, ToolCall, ToolSpec, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::Failure;
use super::wire::ErrorBody;
use super::{ChatRequest, ToolChoice};

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Content<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    stream: bool,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

/// All that one side says before the other does: the protocol wants turns to alternate, and all
/// results of one turn's calls in one message.
#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Content<'a>>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind<'a> {
    Text {
        text: &'a str,
    },
    ToolUse {
        id: String,
        name: &'a str,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        content: &'a str,
    },
}

/// Up to here a prompt is kept for five minutes.
#[derive(Clone, Copy, Serialize)]
struct CacheControl {
    r#type: &'static str,
}

const CACHED: Option<CacheControl> = Some(CacheControl {
    r#type: "ephemeral",
});

impl<'a> Body<'a> {
    pub(super) fn new(request: &'a ChatRequest) -> Self {
        let mut system: Vec<_> = request.messages.iter().filter_map(system).collect();
        let mut messages = turns(&request.messages);
        let mut tools: Vec<_> = request.tools.iter().map(tool).collect();
        // A prompt is tools, then system, then messages: a mark covers all that is before it.
        match (system.last_mut(), tools.last_mut()) {
            (Some(last), _) => last.cache_control = CACHED,
            (None, Some(last)) => last.cache_control = CACHED,
            (None, None) => {}
        }
        if let Some(last) = messages.last_mut().and_then(|turn| turn.content.last_mut()) {
            last.cache_control = CACHED;
        }
        let has_tools = !tools.is_empty();
        Self {
            model: &request.model,
            max_tokens: request.max_tokens,
            system,
            messages,
            tools,
            tool_choice: tool_choice(&request.tool_choice).filter(|_| has_tools),
            temperature: request.temperature,
            top_p: request.top_p,
            stop_sequences: &request.stop,
            output_config: (request.response_schema.as_ref())
                .map(|schema| json!({ "format": { "type": "json_schema", "schema": schema } })),
            stream: true,
        }
    }
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    Some(match choice {
        ToolChoice::Auto => return None,
        ToolChoice::Required => json!({ "type": "any" }),
        ToolChoice::None => json!({ "type": "none" }),
        ToolChoice::Named(name) => json!({ "type": "tool", "name": name }),
    })
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    Tool {
        name: &spec.name,
        description: &spec.description,
        input_schema: &spec.parameters,
        cache_control: None,
    }
}

/// What is no message here but a field of its own.
fn system(message: &Message) -> Option<Content<'_>> {
    match message {
        Message::System { text } => said(text),
        _ => None,
    }
}

/// The protocol refuses texts without a word.
fn said(text: &str) -> Option<Content<'_>> {
    (!text.trim().is_empty()).then_some(content(Kind::Text { text }))
}

fn content(kind: Kind<'_>) -> Content<'_> {
    Content {
        kind,
        cache_control: None,
    }
}

fn turns(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for message in messages {
        let (role, contents) = match message {
            Message::System { .. } => continue,
            Message::User { text } => ("user", said(text).into_iter().collect()),
            Message::Tool { call_id, text, .. } => ("user", vec![result(call_id, text)]),
            Message::Assistant { text, tool_calls } => {
                let calls = tool_calls.iter().map(tool_use);
                ("assistant", said(text).into_iter().chain(calls).collect())
            }
        };
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(contents),
            _ if contents.is_empty() => {}
            _ => turns.push(Turn {
                role,
                content: contents,
            }),
        }
    }
    turns
}

fn result<'a>(call_id: &str, text: &'a str) -> Content<'a> {
    content(Kind::ToolResult {
        tool_use_id: id(call_id),
        content: text,
    })
}

fn tool_use(call: &ToolCall) -> Content<'_> {
    // Arguments that were no JSON are a text here; the protocol takes objects only.
    let input = match &call.arguments {
        Value::Object(_) => call.arguments.clone(),
        other => json!({ "arguments": other }),
    };
    content(Kind::ToolUse {
        id: id(&call.id),
        name: &call.name,
        input,
    })
}

/// An id that another provider gave may have characters that are refused here.
fn id(id: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    id.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

/// One event of a stream.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: u32,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta,
    },
    MessageDelta {
        delta: End,
        #[serde(default)]
        usage: Option<WireUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub(super) struct Start {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct End {
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Option<Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(other)]
    Other,
}

/// Cumulative figures. What was read from the cache and written into it does not count in
/// `input_tokens` here.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl WireUsage {
    /// The usage, with what was said `before` where this report is silent. Some servers say zero at
    /// the beginning and the truth at the end, Anthropic leaves the prompt out at the end.
    pub(super) fn of(&self, before: Option<Usage>) -> Usage {
        let before = before.unwrap_or_default();
        let cached = (self.cache_read_input_tokens).unwrap_or(before.cached_input_tokens);
        let written = (self.cache_creation_input_tokens).unwrap_or(before.cache_write_tokens);
        let fresh_before = (before.input_tokens)
            .saturating_sub(before.cached_input_tokens)
            .saturating_sub(before.cache_write_tokens);
        let fresh = self.input_tokens.unwrap_or(fresh_before).max(fresh_before);
        Usage {
            input_tokens: fresh.saturating_add(cached).saturating_add(written),
            output_tokens: self.output_tokens.unwrap_or(before.output_tokens),
            cached_input_tokens: cached,
            cache_write_tokens: written,
            estimated: false,
        }
    }
}

/// A reason that nobody knows is an ordinary end: the model did stop.
pub(super) fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

/// An error in the middle of a stream.
pub(super) fn failure(error: &Value) -> Failure {
    let ErrorBody { code, message } = ErrorBody::of(error);
    match code {
        Some(code)
            if matches!(
                code.as_str(),
                "invalid_request_error"
                    | "authentication_error"
                    | "billing_error"
                    | "permission_error"
                    | "not_found_error"
                    | "request_too_large"
            ) =>
        {
            Failure::Permanent {
                status: None,
                code,
                message,
            }
        }
        _ => Failure::transient(message),
    }
}
