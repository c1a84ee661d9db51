//! A response as it is given.

use std::collections::BTreeMap;

use nexus_events::model::{FinishReason, Sampling, ToolSpec, ToolUse, Usage};
use nexus_events::run::RunStarted;
use nexus_events::{RunId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::openai::collect::{Collected, End};
use crate::openai::errors::{OpenAiError, of_end};

/// What the id of a response begins with.
const PREFIX: &str = "resp_";

/// The id of a run's response.
pub(crate) fn id_of(run: RunId) -> String {
    format!("{PREFIX}{run}")
}

/// The run of a response.
pub(crate) fn run_of(id: &str) -> Option<RunId> {
    id.strip_prefix(PREFIX)?.parse().ok()
}

/// A response.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ResponseObject {
    /// `resp_` and the run's id.
    id: String,
    /// Always `response`.
    object: &'static str,
    /// When its run began, in seconds since the epoch.
    created_at: i64,
    /// When it ended.
    completed_at: Option<i64>,
    /// `queued`, `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`.
    pub(crate) status: &'static str,
    /// Why it failed.
    error: Option<Failure>,
    /// Why it is incomplete.
    incomplete_details: Option<Incomplete>,
    /// The model that its run began with.
    model: String,
    /// The response that it goes on with.
    previous_response_id: Option<String>,
    /// What the model says, and what the client is to execute.
    output: Vec<OutItem>,
    /// Tools that the client executes.
    tools: Vec<Value>,
    /// `auto`, `none`, `required`, or the one function.
    tool_choice: Value,
    /// Always true.
    parallel_tool_calls: bool,
    /// As it was asked for.
    temperature: Option<f32>,
    /// As it was asked for.
    top_p: Option<f32>,
    /// As it was asked for.
    max_output_tokens: Option<u64>,
    /// The form of the text.
    text: Value,
    /// Labels of the run.
    metadata: BTreeMap<String, String>,
    /// Tokens of all model calls of the run; null until it has ended.
    usage: Option<OutUsage>,
}

/// Why a response failed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Failure {
    /// Stable code.
    code: String,
    /// In words.
    message: String,
}

/// Why a response is incomplete.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Incomplete {
    /// `max_output_tokens` or `content_filter`.
    reason: &'static str,
}

/// A part of the output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutItem {
    /// What the model says in one turn.
    Message {
        /// Its id.
        id: String,
        /// Always `assistant`.
        role: &'static str,
        /// `completed`, or `in_progress` in a stream.
        status: &'static str,
        /// One text.
        content: Vec<Part>,
    },
    /// A call that the client is to execute.
    FunctionCall {
        /// Its id in the output.
        id: String,
        /// What its result names.
        call_id: String,
        /// The function.
        name: String,
        /// Arguments as JSON text.
        arguments: String,
        /// `completed`, or `in_progress` in a stream.
        status: &'static str,
    },
}

/// A text.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Part {
    /// Always `output_text`.
    r#type: &'static str,
    /// The text.
    text: String,
    /// Always empty.
    annotations: Vec<Value>,
    /// Always empty.
    logprobs: Vec<Value>,
}

impl Part {
    pub(crate) fn of(text: &str) -> Self {
        Self {
            r#type: "output_text",
            text: text.to_owned(),
            annotations: vec![],
            logprobs: vec![],
        }
    }
}

/// Tokens.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct OutUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

/// Of the prompts' tokens.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct InputDetails {
    /// Those that the provider served from its cache.
    cached_tokens: u64,
    /// Those that it wrote into its cache.
    cache_write_tokens: u64,
}

/// Of the answers' tokens.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct OutputDetails {
    /// Always 0: they are not counted apart.
    reasoning_tokens: u64,
}

impl From<Usage> for OutUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_input_tokens,
                cache_write_tokens: usage.cache_write_tokens,
            },
            output_tokens: usage.output_tokens,
            output_tokens_details: OutputDetails {
                reasoning_tokens: 0,
            },
            total_tokens: usage.total_tokens(),
        }
    }
}

/// What is known of a response from its beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shell {
    pub(crate) created_at: Timestamp,
    pub(crate) model: String,
    pub(crate) previous: Option<RunId>,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) sampling: Sampling,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Shell {
    /// From the run's first event; the tools' definitions are inline.
    pub(crate) fn of(started: &RunStarted, at: Timestamp) -> Self {
        let given = started.given.as_deref();
        let specs = given.and_then(|given| given.client_tool_specs.as_ref()?.inline());
        Self {
            created_at: at,
            model: started.model.clone(),
            previous: started.session.previous.map(|previous| previous.run_id),
            tools: (specs.and_then(|text| serde_json::from_str(text).ok())).unwrap_or_default(),
            sampling: (given.and_then(|given| given.sampling.clone())).unwrap_or_default(),
            metadata: started.metadata.clone(),
        }
    }

    /// The response before anything of its output is there.
    pub(crate) fn begun(&self, run: RunId, status: &'static str) -> ResponseObject {
        let sampling = &self.sampling;
        ResponseObject {
            id: id_of(run),
            object: "response",
            created_at: seconds(self.created_at),
            completed_at: None,
            status,
            error: None,
            incomplete_details: None,
            model: self.model.clone(),
            previous_response_id: self.previous.map(id_of),
            output: vec![],
            tools: self.tools.iter().map(tool).collect(),
            tool_choice: choice(sampling),
            parallel_tool_calls: true,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_output_tokens: sampling.max_output_tokens,
            text: format(sampling),
            metadata: self.metadata.clone(),
            usage: None,
        }
    }

    /// The response as far as its run has come.
    pub(crate) fn with(
        &self,
        run: RunId,
        output: &[OutItem],
        collected: &Collected,
        ended_at: Option<Timestamp>,
    ) -> ResponseObject {
        let mut response = self.begun(run, "in_progress");
        response.output = output.to_vec();
        let Some(end) = &collected.end else {
            return response;
        };
        response.completed_at = ended_at.map(seconds);
        response.usage = Some(collected.usage.into());
        response.status = match (end, incomplete(collected)) {
            (End::Completed, None) => "completed",
            (End::Completed, Some(reason)) => {
                response.incomplete_details = Some(Incomplete { reason });
                "incomplete"
            }
            (End::Failed { .. }, _) => "failed",
            (End::Cancelled, _) => "cancelled",
        };
        if *end != End::Completed {
            let (code, message) = OpenAiError::of(&of_end(end)).error.told();
            response.error = Some(Failure { code, message });
        }
        response
    }
}

fn incomplete(collected: &Collected) -> Option<&'static str> {
    match collected.finish {
        _ if !collected.calls.is_empty() => None,
        Some(FinishReason::Length) => Some("max_output_tokens"),
        Some(FinishReason::ContentFilter) => Some("content_filter"),
        _ => None,
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis() / 1_000
}

fn tool(spec: &ToolSpec) -> Value {
    json!({
        "type": "function", "name": spec.name, "description": spec.description,
        "parameters": spec.parameters, "strict": false,
    })
}

fn choice(sampling: &Sampling) -> Value {
    match (sampling.tool_use, &sampling.tool_name) {
        (_, Some(name)) => json!({ "type": "function", "name": name }),
        (Some(ToolUse::Required), None) => "required".into(),
        (Some(ToolUse::None), None) => "none".into(),
        (Some(ToolUse::Auto) | None, None) => "auto".into(),
    }
}

fn format(sampling: &Sampling) -> Value {
    match &sampling.response_schema {
        None => json!({ "format": { "type": "text" } }),
        Some(schema) => {
            let name = "answer";
            json!({ "format": { "type": "json_schema", "name": name, "schema": schema } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_runs_and_back() {
        let run = RunId::derive(&["x"]);
        assert_eq!(run_of(&id_of(run)), Some(run));
        assert_eq!(run_of(&run.to_string()), None);
        assert_eq!(run_of("resp_x"), None);
    }
}
