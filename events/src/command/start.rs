//! What starts a run, and what it may spend.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{RunId, SessionId};
use crate::ledger::{Limits, OnExhausted};
use crate::model::{Message, Sampling, ToolSpec};
use crate::run::Embed;
use crate::session::OnBusy;

/// A budget as callers write it. Absent means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Tokens, input and output together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost in micro-dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd_micros: Option<u64>,
    /// Time that model calls and tools may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_seconds: Option<u64>,
    /// Tools that may be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Runs that may be in flight at a time: the run itself and its children, or a session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// What happens when it has too little; the run fails when absent.
    #[serde(default, skip_serializing_if = "OnExhausted::is_default")]
    pub on_exhausted: OnExhausted,
}

impl Budget {
    /// As the ledger's limits.
    pub fn limits(&self) -> Limits {
        Limits {
            tokens: self.tokens,
            cost_usd_micros: self.cost_usd_micros,
            time_ms: self
                .time_seconds
                .map(|seconds| seconds.saturating_mul(1000)),
            tool_calls: self.tool_calls,
            runs: self.runs,
        }
    }
}

/// `run.start`: start an agent run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// What the person says.
    pub input: String,
    /// The run's id (a UUID, best a UUIDv7). Starting a run that exists is answered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Instead of an id: a key that names one run of the tenant for ever. 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The conversation that the run continues; without one the run opens its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// What becomes of this run where another of the conversation goes on: as the session says when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_busy: Option<OnBusy>,
    /// Name of the agent; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Name of the model; the agent's or the platform's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Names of the tools that the model may call; the agent's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// What this run may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What was said before, oldest first, where the caller keeps the conversation; perhaps without
    /// input. Its instructions replace the default agent's. With `session_id`, only what the session
    /// cannot know: instructions, words, and results of tools that the caller executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<Message>,
    /// Tools that the caller executes: a turn in which the model calls one ends the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<ToolSpec>,
    /// How the model is to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// No model is called, but the one tool in `tools`, once, with these arguments: an object of at
    /// most 64 KiB. What becomes of the call becomes of the run. `input` is empty then, and
    /// nothing else is said to a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoke: Option<serde_json::Value>,
    /// No conversation: `model` makes vectors of these texts, in one call, and they are the answer.
    /// `input` is empty then, and nothing else is said to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<Embed>,
    /// The run that this one works for: it spends from the parent's budgets too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<RunId>,
    /// The caller's own labels: at most 32 keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}
