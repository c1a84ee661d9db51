//! A message as it is given.

use nexus_events::RunId;
use nexus_events::model::{FinishReason, Usage};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::openai::collect::Collected;

/// A message.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OutMessage {
    /// `msg_` and the run's id.
    id: String,
    /// Always `message`.
    r#type: &'static str,
    /// Always `assistant`.
    role: &'static str,
    /// As the request named it.
    model: String,
    /// What the model says, then what the client is to execute.
    content: Vec<OutBlock>,
    /// `end_turn`, `max_tokens`, `tool_use` or `refusal`; null at the beginning of a stream.
    stop_reason: Option<&'static str>,
    /// Always null: which text ended the answer is not known.
    stop_sequence: Option<String>,
    /// Tokens of all model calls of the run.
    usage: OutUsage,
}

/// A block of a message.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutBlock {
    /// What the model says.
    Text {
        /// The text.
        text: String,
    },
    /// A call that the client is to execute.
    ToolUse {
        /// Its id.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments.
        input: Value,
    },
}

/// Tokens.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct OutUsage {
    /// Of the prompts, but for those of a provider's cache.
    input_tokens: u64,
    /// Of the answers.
    output_tokens: u64,
    /// Of the prompts, served from a provider's cache.
    cache_read_input_tokens: u64,
    /// Of the prompts, written into a provider's cache.
    cache_creation_input_tokens: u64,
}

impl From<Usage> for OutUsage {
    fn from(usage: Usage) -> Self {
        let cached = usage
            .cached_input_tokens
            .saturating_add(usage.cache_write_tokens);
        Self {
            input_tokens: usage.input_tokens.saturating_sub(cached),
            output_tokens: usage.output_tokens,
            cache_read_input_tokens: usage.cached_input_tokens,
            cache_creation_input_tokens: usage.cache_write_tokens,
        }
    }
}

impl OutMessage {
    /// One of which nothing is known yet.
    pub(crate) fn begun(run: RunId, model: &str) -> Self {
        Self {
            id: format!("msg_{run}"),
            r#type: "message",
            role: "assistant",
            model: model.to_owned(),
            content: vec![],
            stop_reason: None,
            stop_sequence: None,
            usage: OutUsage::default(),
        }
    }

    /// A whole one.
    pub(crate) fn whole(run: RunId, model: &str, collected: Collected) -> Self {
        let text = collected.content().filter(|text| !text.is_empty());
        let stop_reason = Some(stop_reason(&collected));
        let calls = collected.calls.into_iter().map(|call| OutBlock::ToolUse {
            id: call.id,
            name: call.name,
            input: call.arguments,
        });
        let text = text.into_iter().map(|text| OutBlock::Text { text });
        Self {
            content: text.chain(calls).collect(),
            stop_reason,
            usage: collected.usage.into(),
            ..Self::begun(run, model)
        }
    }
}

/// Why the answer ends, in the protocol's words.
pub(crate) fn stop_reason(collected: &Collected) -> &'static str {
    match collected.finish {
        _ if !collected.calls.is_empty() => "tool_use",
        Some(FinishReason::Length) => "max_tokens",
        Some(FinishReason::ContentFilter) => "refusal",
        _ => "end_turn",
    }
}
