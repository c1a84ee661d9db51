//! What is configured of a provider.

use std::fmt;
use std::path::PathBuf;

use nexus_events::catalog::{Price, Tokenizer};
use serde::Deserialize;

use super::capability::Capabilities;

/// One provider, as a table of the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name; models are also known as `name/model`.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is, up to and with `/v1`; without it `https://api.openai.com/v1`, or
    /// `https://api.anthropic.com` for that kind, which may be written with `/v1` or without.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The key itself. Prefer `api_key_file` or `api_key_env`.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// The environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// The file that holds the key, read again whenever it changes.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// What it serves.
    #[serde(default)]
    pub models: Vec<ModelConfig>,
    /// Recognise tool calls that the model writes into its text, as small models behind llama.cpp
    /// do. By default only for the local model.
    #[serde(default)]
    pub tool_calls_in_text: Option<bool>,
    /// How often the local model may ask for tools before it must answer the question; once by
    /// default, for small models do not find an end. Other providers have no such limit here.
    #[serde(default)]
    pub tool_rounds: Option<u32>,
    /// Milliseconds until a connection must stand.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Milliseconds without a byte after which a call has failed. Models that think before they
    /// speak are silent for long.
    #[serde(default = "idle_timeout_ms")]
    pub idle_timeout_ms: u64,
    /// Most bytes of an answer's text and arguments.
    #[serde(default = "max_answer_bytes")]
    pub max_answer_bytes: usize,
}

impl ProviderConfig {
    /// A provider with defaults for all but its name and kind.
    pub fn new(name: impl Into<String>, kind: ProviderKind) -> Self {
        Self {
            name: name.into(),
            kind,
            base_url: None,
            api_key: None,
            api_key_env: None,
            api_key_file: None,
            models: Vec::new(),
            tool_calls_in_text: None,
            tool_rounds: None,
            connect_timeout_ms: connect_timeout_ms(),
            idle_timeout_ms: idle_timeout_ms(),
            max_answer_bytes: max_answer_bytes(),
        }
    }
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn idle_timeout_ms() -> u64 {
    120_000
}

fn max_answer_bytes() -> usize {
    4 << 20
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// The OpenAI chat-completions protocol, at OpenAI or any server that speaks it.
    Openai,
    /// Anthropic's messages protocol, at Anthropic or any server that speaks it.
    Anthropic,
    /// The embedded model, which the program starts when it is first needed.
    Local,
}

impl ProviderKind {
    /// Bound on the tokens that a vendor adds to a prompt that offers tools. Of Anthropic's models the
    /// published figures are 159 to 530, by model and by whether a call is forced; newer ones may be
    /// told a little more. The others count no more than what was sent.
    pub(super) fn tool_overhead_tokens(self) -> u64 {
        match self {
            Self::Anthropic => 600,
            Self::Openai | Self::Local => 0,
        }
    }
}

/// One model of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name that callers use.
    pub name: String,
    /// The name at the provider, where it is another.
    #[serde(default)]
    pub wire_name: Option<String>,
    /// Tokens of prompt and answer together.
    #[serde(default)]
    pub context_tokens: Option<u64>,
    /// Most tokens of an answer.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    /// What it costs, in micro-dollars per million tokens. Without it the built-in table decides, and then the ceiling.
    #[serde(default)]
    pub price: Option<Price>,
    /// It bills tokens that it does not show.
    #[serde(default)]
    pub reasoning: Option<bool>,
    /// How its prompts are counted. Without it the built-in table decides; a model that is not in it
    /// has none, and each byte of its prompts is reserved as a token.
    #[serde(default)]
    pub tokenizer: Option<Tokenizer>,
    /// Most tokens that its provider tells it of tools by itself, and bills; they are reserved where
    /// tools are offered. Without it what the protocol's vendor is known for.
    #[serde(default)]
    pub tool_overhead_tokens: Option<u64>,
    /// All that it can do. Without it the built-in table decides, and then what most models can.
    #[serde(default)]
    pub capabilities: Option<Capabilities>,
}

impl ModelConfig {
    /// A model of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            wire_name: None,
            context_tokens: None,
            max_output_tokens: None,
            price: None,
            reasoning: None,
            tokenizer: None,
            tool_overhead_tokens: None,
            capabilities: None,
        }
    }
}

/// A key. It is never printed: not by `Debug`, not by an error, not by a log line.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The key itself, for the header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
