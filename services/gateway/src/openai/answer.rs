//! A chat completion as it is given, whole or in chunks.

use nexus_events::RunId;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::collect::Collected;

/// What all forms of one answer begin with.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) run: RunId,
    /// As the request named it.
    pub(crate) model: String,
    /// Seconds since the epoch.
    pub(crate) created: u64,
}

impl Head {
    pub(crate) fn id(&self) -> String {
        format!("chatcmpl-{}", self.run)
    }
}

/// A chat completion.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatCompletion {
    /// `chatcmpl-` and the run's id.
    id: String,
    /// Always `chat.completion`.
    object: &'static str,
    /// When it was asked for, in seconds since the epoch.
    created: u64,
    /// As the request named it.
    model: String,
    /// The one answer.
    choices: Vec<Choice>,
    /// Tokens of all model calls of the run.
    usage: WireUsage,
}

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Choice {
    /// Always 0.
    index: u32,
    /// What the model says.
    message: AnswerMessage,
    /// `stop`, `length`, `tool_calls` or `content_filter`.
    finish_reason: &'static str,
    /// Always null.
    logprobs: Option<Value>,
}

/// What the model says.
#[derive(Debug, Serialize, JsonSchema)]
struct AnswerMessage {
    /// Always `assistant`.
    role: &'static str,
    /// The text; null where there are calls alone.
    content: Option<String>,
    /// Always null.
    refusal: Option<String>,
    /// What the client is to execute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<AnswerCall>,
}

/// A call that the client is to execute.
#[derive(Debug, Serialize, JsonSchema)]
struct AnswerCall {
    /// Its id.
    id: String,
    /// Always `function`.
    r#type: &'static str,
    /// What is called.
    function: AnswerFunction,
}

/// What is called.
#[derive(Debug, Serialize, JsonSchema)]
struct AnswerFunction {
    /// The tool.
    name: String,
    /// Arguments as JSON text.
    arguments: String,
}

/// Tokens.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
}

/// Of the prompt's tokens.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct PromptDetails {
    /// Those that the provider served from its cache.
    cached_tokens: u64,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_input_tokens,
            },
        }
    }
}

impl ChatCompletion {
    pub(crate) fn new(head: &Head, collected: Collected) -> Self {
        let finish_reason = finish(&collected);
        let content = collected.content();
        Self {
            id: head.id(),
            object: "chat.completion",
            created: head.created,
            model: head.model.clone(),
            usage: collected.usage.into(),
            choices: vec![Choice {
                index: 0,
                message: AnswerMessage {
                    role: "assistant",
                    content,
                    refusal: None,
                    tool_calls: collected.calls.into_iter().map(call).collect(),
                },
                finish_reason,
                logprobs: None,
            }],
        }
    }
}

fn call(call: ToolCall) -> AnswerCall {
    AnswerCall {
        function: AnswerFunction {
            arguments: arguments(&call.arguments),
            name: call.name,
        },
        id: call.id,
        r#type: "function",
    }
}

/// Arguments as text; what was not JSON as the model wrote it.
pub(crate) fn arguments(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Why the answer ends, in the protocol's words.
pub(crate) fn finish(collected: &Collected) -> &'static str {
    match collected.finish {
        _ if !collected.calls.is_empty() => "tool_calls",
        Some(FinishReason::Length) => "length",
        Some(FinishReason::ContentFilter) => "content_filter",
        _ => "stop",
    }
}

/// A chunk of a stream.
#[derive(Debug, Serialize)]
pub(crate) struct Chunk<'a> {
    pub(crate) id: &'a str,
    pub(crate) object: &'static str,
    pub(crate) created: u64,
    pub(crate) model: &'a str,
    pub(crate) choices: Vec<ChunkChoice>,
    /// Where usage is asked for: null but in the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Option<WireUsage>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChunkChoice {
    pub(crate) index: u32,
    pub(crate) delta: ChunkDelta,
    pub(crate) logprobs: Option<Value>,
    pub(crate) finish_reason: Option<&'static str>,
}

/// What a chunk adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ChunkDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<CallDelta>,
}

/// What a chunk adds to a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct CallDelta {
    pub(crate) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#type: Option<&'static str>,
    pub(crate) function: FunctionDelta,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct FunctionDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) arguments: String,
}
