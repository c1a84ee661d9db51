//! What a model is asked and what it answers, as far as events hold it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::Amounts;

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
    /// The part of `input_tokens` that the provider wrote into its cache, where it bills that apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// True when the provider did not report usage (a cut stream, a cancelled call) and these are
    /// bounds from above by our own count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl Usage {
    /// Both together; an estimate where one of them is.
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cached_input_tokens: (self.cached_input_tokens)
                .saturating_add(other.cached_input_tokens),
            cache_write_tokens: (self.cache_write_tokens).saturating_add(other.cache_write_tokens),
            estimated: self.estimated || other.estimated,
        }
    }

    /// Input and output together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// What a settlement charges for a model call.
pub fn charged(usage: &Usage, cost_usd_micros: u64, time_ms: u64) -> Amounts {
    Amounts {
        tokens: usage.total_tokens(),
        cost_usd_micros,
        time_ms,
        ..Amounts::default()
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

/// How a model is to answer, where its caller says so. What it leaves open is the provider's to choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Most tokens of each answer; policy, budget and model may allow fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// Temperature, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2))]
    pub temperature: Option<f32>,
    /// Share of the likeliest tokens that are sampled from, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub top_p: Option<f32>,
    /// Texts that end the answer, at most four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The same seed gives the same answer, where the provider can do so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Whether the model may, must or must not call tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUse>,
    /// The one tool that must be called where `tool_use` says that tools must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    /// JSON Schema that the text of an answer must satisfy, of at most 32 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<serde_json::Value>,
}

/// Whether a model may call tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolUse {
    /// As it sees fit.
    #[default]
    Auto,
    /// It must in the run's first turn; afterwards as it sees fit, or the run would never end.
    Required,
    /// It must not.
    None,
}

/// One message of the conversation that a model sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "role", rename_all = "snake_case", deny_unknown_fields)]
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
