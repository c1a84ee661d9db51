//! What the server is told to answer, as data that a test builds or posts.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Answer every call with this text from bytes computed once. Nothing is recorded, no script is
    /// consulted: the mode for benchmarks, where the server shares its cores with what is measured.
    pub instant: Option<String>,
    /// What to answer at first.
    pub script: Script,
    /// Names listed by `GET /v1/models`; `test-model` where there are none.
    pub models: Vec<String>,
}

/// Scripted answers. What neither the queue nor a rule decides is left to the model name's faults
/// and the default behaviour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Replies for the next calls, whatever they ask, first in first out.
    pub queue: VecDeque<Reply>,
    /// Consulted in order once the queue is empty; the first that matches answers.
    pub rules: Vec<Rule>,
}

impl Script {
    /// A script whose next answers are `replies`.
    pub fn queue(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            queue: replies.into_iter().collect(),
            rules: Vec::new(),
        }
    }
}

/// A reply for the requests that match every condition that is set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The request's model, exactly.
    pub model: Option<String>,
    /// The request's `Authorization` or `x-api-key`, exactly.
    pub key: Option<String>,
    /// Text that the last message contains.
    pub contains: Option<String>,
    /// Whether the last message is a tool result.
    pub after_tool_result: Option<bool>,
    /// How often the rule still answers; without a number, always.
    pub times: Option<u32>,
    /// The answer.
    pub reply: Reply,
}

/// One answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// The text. Without text and without tool calls, the default behaviour chooses both.
    pub text: Option<String>,
    /// Into how many pieces the text is cut when streaming; by default one a word.
    pub chunks: Option<usize>,
    /// Tools that are asked for, all in this one answer.
    pub tool_calls: Vec<ScriptedCall>,
    /// The finish reason; by default the honest one.
    pub finish_reason: Option<String>,
    /// What is reported as usage.
    pub usage: UsageReport,
    /// Milliseconds before the status line.
    pub first_byte_delay_ms: u64,
    /// Milliseconds before each further piece of a stream.
    pub chunk_delay_ms: u64,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

impl Reply {
    /// An answer of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// An answer that asks for tools.
    pub fn tools(calls: impl IntoIterator<Item = ScriptedCall>) -> Self {
        Self {
            tool_calls: calls.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The default answer, with a fault.
    pub fn fault(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }
}

/// A tool call of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedCall {
    /// The call's id; `call_<n>` where it is empty.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as sent on the wire: a string that should hold JSON.
    pub arguments: String,
    /// Into how many pieces the arguments are cut when streaming; three by default.
    pub chunks: Option<usize>,
}

impl ScriptedCall {
    /// A call of `name` with `arguments` as JSON.
    pub fn new(name: impl Into<String>, arguments: &serde_json::Value) -> Self {
        Self {
            name: name.into(),
            arguments: arguments.to_string(),
            ..Self::default()
        }
    }
}

/// What an answer says about its usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageReport {
    /// What the server counted.
    #[default]
    Honest,
    /// Nothing, even when asked.
    Missing,
    /// These figures, whatever was counted.
    Lie(WireTokens),
}

/// Tokens of a usage report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireTokens {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// Completion tokens.
    pub output: u64,
    /// The cached part of the prompt tokens.
    pub cached: u64,
    /// The part of the prompt tokens that was written into the cache; only `/v1/messages` says it.
    pub cache_write: u64,
}

/// What goes wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An HTTP error with an error body of the protocol that was asked in.
    Status {
        /// The status code.
        status: u16,
        /// Seconds for a `Retry-After` header.
        #[serde(default)]
        retry_after_s: Option<u64>,
        /// The body's `error.code`; for `/v1/messages` its `error.type`.
        #[serde(default)]
        code: Option<String>,
        /// The body's `error.message`.
        #[serde(default)]
        message: Option<String>,
    },
    /// The request is read and never answered.
    Hang,
    /// The stream stops after so many pieces, the connection stays open.
    HangAfter(usize),
    /// The connection is cut after so many pieces, before the end.
    CutAfter(usize),
    /// The connection is cut after so many bytes of the body.
    CutAfterBytes(usize),
    /// After so many pieces comes one that is not JSON.
    Malformed(usize),
    /// After so many pieces comes an error object in the stream.
    ErrorInStream(usize),
    /// The stream ends in order and never gives a finish reason.
    NoFinish,
    /// Enum values that no client knows, and fields that none has seen.
    UnknownEnums,
}
