//! What a model is asked and what it answers, as far as events hold it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tool call that a model asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// The provider's id of the call; unique within its turn.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Arguments as the model wrote them. What was not JSON arrives as a JSON string, so that the
    /// tool's schema refuses it and the model is told.
    pub arguments: serde_json::Value,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// It wants tools to be called.
    ToolCalls,
    /// The provider withheld the answer.
    ContentFilter,
}

/// Tokens of one model call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// The part of `input_tokens` that the provider served from its cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_input_tokens: u64,
    /// True when the provider did not report usage (a cut stream, a cancelled call) and these are
    /// bounds from above by our own count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl Usage {
    /// Input and output together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// A tool as the model is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSpec {
    /// The tool's name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: serde_json::Value,
}

/// One message of the conversation that a model sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions of the agent.
    System {
        /// The text.
        text: String,
    },
    /// What the person said.
    User {
        /// The text.
        text: String,
    },
    /// What the model said.
    Assistant {
        /// The text, empty where there are only tool calls.
        text: String,
        /// The tools it asked for.
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool gave back.
    Tool {
        /// The call that it answers.
        call_id: String,
        /// The tool's name.
        name: String,
        /// The result, or the error that the model is told.
        text: String,
    },
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
