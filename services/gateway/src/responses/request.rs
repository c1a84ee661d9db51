//! A response that is asked for, and the run that it becomes.

use std::collections::BTreeMap;

use nexus_events::SessionId;
use nexus_events::catalog::Catalog;
use nexus_events::command::StartRun;
use nexus_events::model::{Message, Sampling, ToolSpec, ToolUse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::items::{Input, conversation};
use super::object::run_of;
use crate::http::ApiError;
use crate::openai::request::{USER_LABEL, named, platform_tools};
use nexus_events::RunId;

/// A response that is asked for. Fields that are not listed are accepted and ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResponseRequest {
    /// A model of `/v1/models`, or an agent as `agent:NAME`.
    model: String,
    /// What is said.
    input: Input,
    /// Instructions; they replace those of earlier responses.
    #[serde(default)]
    instructions: Option<String>,
    /// The response that this one goes on with: the newest one of its conversation.
    #[serde(default)]
    previous_response_id: Option<String>,
    /// Functions that the client executes itself.
    #[serde(default)]
    tools: Option<Vec<InTool>>,
    /// `auto`, `none`, `required`, or the one function that must be called.
    #[serde(default)]
    tool_choice: Option<ToolChoice>,
    /// The form of the text.
    #[serde(default)]
    text: Option<TextConfig>,
    /// Most tokens of the answer.
    #[serde(default)]
    max_output_tokens: Option<u64>,
    /// 0 to 2.
    #[serde(default)]
    temperature: Option<f32>,
    /// 0 to 1.
    #[serde(default)]
    top_p: Option<f32>,
    /// Labels of the run. `nexus_tools` names tools of the platform that the model may call,
    /// separated by commas.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// Who of the client's users asks: a label of the run.
    #[serde(default)]
    user: Option<String>,
    /// As server-sent events.
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    /// It goes on whether anybody waits for it or not.
    #[serde(default)]
    pub(crate) background: Option<bool>,
    /// Accepted: every response can be asked for again, for its run is in the log.
    #[serde(default)]
    #[expect(dead_code, reason = "its type is checked")]
    store: Option<bool>,
    /// Not taken: `previous_response_id` is how a conversation goes on here.
    #[serde(default)]
    conversation: Option<Value>,
    /// Not taken: prompts are not kept here.
    #[serde(default)]
    prompt: Option<Value>,
}

/// A function that the client executes.
#[derive(Debug, Deserialize, JsonSchema)]
struct InTool {
    /// `function`.
    r#type: String,
    /// Its name.
    #[serde(default)]
    name: Option<String>,
    /// What it does, for the model.
    #[serde(default)]
    description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(default)]
    parameters: Option<Value>,
}

/// Whether functions are called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ToolChoice {
    /// `auto`, `none` or `required`.
    Mode(Mode),
    /// This one.
    Named {
        /// The function.
        name: String,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// As the model sees fit.
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
}

/// How a text is to look.
#[derive(Debug, Deserialize, JsonSchema)]
struct TextConfig {
    /// Its form.
    #[serde(default)]
    format: Option<Format>,
}

/// A form.
#[derive(Debug, Deserialize, JsonSchema)]
struct Format {
    /// `json_schema` is kept to, other forms are left to the prompt.
    r#type: String,
    /// With `json_schema`.
    #[serde(default)]
    schema: Option<Value>,
}

/// What is gone on with.
#[derive(Debug)]
pub(crate) struct Previous {
    /// Its conversation.
    pub(crate) session: SessionId,
    /// The functions that it asks for, by the ids of the calls.
    pub(crate) names: BTreeMap<String, String>,
}

impl ResponseRequest {
    /// The run of the response that it goes on with.
    pub(crate) fn goes_on_with(&self) -> Result<Option<RunId>, ApiError> {
        let Some(id) = &self.previous_response_id else {
            return Ok(None);
        };
        let run = run_of(id).ok_or_else(|| {
            let detail = "it is not the id of a response of this platform";
            ApiError::invalid("previous_response_id", detail)
        });
        run.map(Some)
    }

    /// The run that it becomes, but for the run's id.
    pub(crate) fn into_command(
        self,
        catalog: &Catalog,
        previous: Option<Previous>,
    ) -> Result<StartRun, ApiError> {
        for (field, value) in [
            ("conversation", &self.conversation),
            ("prompt", &self.prompt),
        ] {
            if value.as_ref().is_some_and(|value| !value.is_null()) {
                return Err(ApiError::invalid(field, "there are none of those here"));
            }
        }
        let (agent, model) = named(&self.model, catalog)?;
        let agents_own = agent.is_some() && self.tools.is_none();
        let client_tools = specs(self.tools.unwrap_or_default())?;
        let (tool_use, tool_name) = chosen(self.tool_choice, &client_tools)?;
        let mut metadata = self.metadata.unwrap_or_default();
        if let Some(user) = self.user {
            metadata.entry(USER_LABEL.to_owned()).or_insert(user);
        }
        let tools = platform_tools(&metadata, agents_own);
        let (session_id, names) = match previous {
            Some(previous) => (Some(previous.session), previous.names),
            None => (None, BTreeMap::new()),
        };
        let (mut context, input) = conversation(self.input, names)?;
        if let Some(text) = self.instructions {
            context.insert(0, Message::System { text });
        }
        let sampling = Sampling {
            max_output_tokens: self.max_output_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            tool_use,
            tool_name,
            response_schema: (self.text)
                .and_then(|text| text.format)
                .filter(|format| format.r#type == "json_schema")
                .and_then(|format| format.schema),
            ..Sampling::default()
        };
        Ok(StartRun {
            input,
            session_id,
            agent,
            model,
            tools,
            context,
            client_tools,
            sampling: (sampling != Sampling::default()).then_some(sampling),
            metadata,
            ..StartRun::default()
        })
    }
}

fn specs(tools: Vec<InTool>) -> Result<Vec<ToolSpec>, ApiError> {
    let spec = |(tool, index): (InTool, usize)| match (tool.r#type.as_str(), tool.name) {
        ("function", Some(name)) => Ok(ToolSpec {
            name,
            description: tool.description.unwrap_or_default(),
            parameters: (tool.parameters)
                .unwrap_or_else(|| json!({ "type": "object", "properties": {} })),
        }),
        _ => {
            let detail = "only functions are tools here, with their `name`; \
                          `metadata.nexus_tools` names those of the platform";
            Err(ApiError::invalid(&format!("tools[{index}].type"), detail))
        }
    };
    tools.into_iter().zip(0..).map(spec).collect()
}

fn chosen(
    choice: Option<ToolChoice>,
    tools: &[ToolSpec],
) -> Result<(Option<ToolUse>, Option<String>), ApiError> {
    Ok(match choice {
        None => (None, None),
        Some(ToolChoice::Mode(Mode::Auto)) => (Some(ToolUse::Auto), None),
        Some(ToolChoice::Mode(Mode::None)) => (Some(ToolUse::None), None),
        Some(ToolChoice::Mode(Mode::Required)) => (Some(ToolUse::Required), None),
        Some(ToolChoice::Named { name }) if tools.iter().any(|tool| tool.name == name) => {
            (Some(ToolUse::Required), Some(name))
        }
        Some(ToolChoice::Named { .. }) => {
            let detail = "it names a function that `tools` does not have";
            return Err(ApiError::invalid("tool_choice", detail));
        }
    })
}
