//! The bodies of the OpenAI protocol, ours instead of the client crate's: its types refuse enum
//! values that they do not know, and every other compatible server has one.

use nexus_events::model::{Message, ToolCall, ToolSpec, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ChatRequest, ToolChoice};

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: &'a ToolSpec,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: &'a str,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    /// JSON in a string. Arguments that were no JSON go back as a JSON string: servers that parse
    /// the history for their template refuse anything else.
    arguments: String,
}

impl<'a> Body<'a> {
    /// The body of a streaming call. OpenAI's own models refuse `max_tokens`, compatible servers
    /// do not know its successor.
    pub(super) fn new(request: &'a ChatRequest, at_openai: bool) -> Self {
        let has_tools = !request.tools.is_empty();
        let choice = match &request.tool_choice {
            ToolChoice::Auto => None,
            ToolChoice::Required => Some("required".into()),
            ToolChoice::None => Some("none".into()),
            ToolChoice::Named(name) => {
                Some(json!({ "type": "function", "function": { "name": name } }))
            }
        };
        Self {
            model: &request.model,
            messages: request.messages.iter().map(message).collect(),
            tools: request.tools.iter().map(tool).collect(),
            tool_choice: choice.filter(|_| has_tools),
            max_tokens: (!at_openai).then_some(request.max_tokens),
            max_completion_tokens: at_openai.then_some(request.max_tokens),
            temperature: request.temperature,
            top_p: request.top_p,
            stop: &request.stop,
            seed: request.seed,
            response_format: request
                .response_schema
                .as_ref()
                .map(|schema| ResponseFormat {
                    r#type: "json_schema",
                    json_schema: JsonSchema {
                        name: "answer",
                        strict: true,
                        schema,
                    },
                }),
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
        }
    }
}

fn tool(spec: &ToolSpec) -> WireTool<'_> {
    WireTool {
        r#type: "function",
        function: spec,
    }
}

fn message(message: &Message) -> WireMessage<'_> {
    match message {
        Message::System { text } => WireMessage::System { content: text },
        Message::User { text } => WireMessage::User { content: text },
        Message::Tool { call_id, text, .. } => WireMessage::Tool {
            tool_call_id: call_id,
            content: text,
        },
        Message::Assistant { text, tool_calls } => WireMessage::Assistant {
            content: (!text.is_empty() || tool_calls.is_empty()).then_some(text),
            tool_calls: tool_calls.iter().map(call).collect(),
        },
    }
}

fn call(call: &ToolCall) -> WireCall<'_> {
    let function = WireFunction {
        name: &call.name,
        arguments: call.arguments.to_string(),
    };
    WireCall {
        id: &call.id,
        r#type: "function",
        function,
    }
}

/// A piece of a stream. Everything is optional: what a server leaves out is no reason to lose the
/// rest.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) delta: Option<ChoiceDelta>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ChoiceDelta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    /// Shown thoughts: billed, and no part of the answer.
    #[serde(default, alias = "reasoning")]
    pub(super) reasoning_content: Option<Value>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CallDelta {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<FunctionDelta>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta {
    #[serde(default)]
    pub(super) name: Option<String>,
    /// A string by the protocol; some servers send the object itself.
    #[serde(default)]
    pub(super) arguments: Option<Value>,
}

impl Chunk {
    /// The usage report, whatever else the server puts into it.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage = self.usage.as_ref()?;
        let input = usage.get("prompt_tokens")?.as_u64()?;
        let cached = usage
            .pointer("/prompt_tokens_details/cached_tokens")
            .and_then(Value::as_u64);
        Some(Usage {
            input_tokens: input,
            output_tokens: usage.get("completion_tokens")?.as_u64()?,
            cached_input_tokens: cached.unwrap_or(0).min(input),
            ..Usage::default()
        })
    }
}

/// An error as its body tells it: OpenAI's form, or what others make of it.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl ErrorBody {
    pub(super) fn parse(body: &str) -> Self {
        match serde_json::from_str::<Value>(body) {
            Ok(value) => Self::of(value.get("error").unwrap_or(&value)),
            Err(_) => Self {
                code: None,
                message: body.to_owned(),
            },
        }
    }

    pub(super) fn of(error: &Value) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let message = text("message").or_else(|| text("detail"));
        Self {
            code: text("code").or_else(|| text("type")),
            message: message.unwrap_or_else(|| match error {
                Value::String(message) => message.clone(),
                other => other.to_string(),
            }),
        }
    }
}
