//! Model providers: one trait, the wires of OpenAI and Anthropic and the local model behind it, and
//! the registry that turns a model's name into a provider, its limits and its price.
//!
//! A provider makes one attempt. Retries, failover and budgets belong to the caller, who alone knows
//! what was reserved; that is why every failure says what was generated and used until then. An
//! interface that hides retries was the alternative: it spends tokens that nobody reserved.

pub mod capability;
pub mod config;
pub mod embed;
pub mod error;
pub mod models;
pub mod price;
pub mod quota;

mod answer;
mod anthropic;
mod anthropic_wire;
mod bound;
mod content_calls;
mod credential;
mod environment;
mod guard;
mod http;
mod local;
mod openai;
mod openai_embed;
mod remote;
mod sse;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::future::BoxFuture;
use nexus_events::model::{FinishReason, Message, ToolCall, ToolSpec, Usage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use capability::{Capabilities, Capability};
pub use config::{ModelConfig, ProviderConfig, ProviderKind, Secret};
pub use embed::{EmbedRequest, Embeddings};
pub use error::{Failure, Partial, ProviderError};
pub use local::{EndpointResolver, LocalProvider};
pub use models::{ConfigError, ModelInfo, Models, Resolved, Settings, UnknownModel};
pub use price::PriceSource;
pub use quota::{Quota, QuotaSlot};

/// Something that completes conversations.
pub trait Provider: Send + Sync {
    /// The provider's configured name.
    fn name(&self) -> &str;

    /// Makes one call and streams it: fragments go to `sink` as they come, the whole answer is
    /// returned. The sink is called on the call's own task and must not block.
    fn complete<'a>(
        &'a self,
        request: &'a ChatRequest,
        limits: &'a CallLimits,
        sink: &'a mut Sink<'_>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>>;

    /// Makes vectors of texts, in one call. A provider that makes none fails for good.
    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        limits: &'a CallLimits,
    ) -> BoxFuture<'a, Result<Embeddings, ProviderError>>;
}

/// Where fragments of an answer go.
pub type Sink<'a> = dyn FnMut(Delta<'_>) + Send + 'a;

/// What is asked of a model.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    /// The model's name at the provider, [`ModelInfo::wire_name`].
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Tools that the model may ask for.
    pub tools: Vec<ToolSpec>,
    /// Whether it may, must or must not ask for them.
    pub tool_choice: ToolChoice,
    /// Most tokens of the answer; what the provider is told, and what bounds the bill of a call that
    /// never said what it used.
    pub max_tokens: u32,
    /// Sampling temperature; the provider's default without it.
    pub temperature: Option<f32>,
    /// Share of the likeliest tokens that are sampled from; the provider's default without it.
    pub top_p: Option<f32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The same seed gives the same answer, where the provider can do so.
    pub seed: Option<i64>,
    /// JSON Schema that the text of the answer must satisfy.
    pub response_schema: Option<serde_json::Value>,
    /// The model bills tokens that it never shows ([`ModelInfo::reasoning`]): a call that was cut is
    /// then bounded by `max_tokens`, not by what was seen.
    pub hidden_output: bool,
    /// The caller's own bound on the prompt's tokens, what was reserved for it; used where it is
    /// tighter than the bound that is computed from the bytes of all that is sent.
    pub input_bound: Option<u64>,
}

/// Whether the model may ask for tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// It must; the local model then generates under a grammar made of the tools' schemas.
    Required,
    /// It must not.
    None,
    /// It must ask for this one.
    Named(String),
}

/// What ends a call from outside.
#[derive(Clone, Debug, Default)]
pub struct CallLimits {
    /// Ends the call as soon as it is cancelled.
    pub cancel: CancellationToken,
    /// The latest moment at which the call may still go on.
    pub deadline: Option<Instant>,
    /// Where the provider's word on what it will still take goes.
    pub quota: QuotaSlot,
}

/// A fragment of an answer, in the order of its arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta<'a> {
    /// Text.
    Text(&'a str),
    /// Part of a tool call; the first fragment of an index may have no arguments yet.
    ToolCall {
        /// Which call of this answer.
        index: usize,
        /// The call's id.
        id: &'a str,
        /// The tool's name.
        name: &'a str,
        /// The next part of the arguments' JSON.
        arguments: &'a str,
    },
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The text, empty where there are only tool calls.
    pub text: String,
    /// The tools that the model asks for.
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish: FinishReason,
    /// What it used, as reported, or bounded where the provider said nothing.
    pub usage: Usage,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// The model that answered, where it was told.
    pub response_model: Option<String>,
    /// From the call to the first generated fragment.
    pub time_to_first_token: Option<Duration>,
}
