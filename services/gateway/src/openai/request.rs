//! A chat completion that is asked for, and the run that it becomes.

use std::collections::BTreeMap;

use nexus_events::agent;
use nexus_events::catalog::Catalog;
use nexus_events::command::StartRun;
use nexus_events::model::{Sampling, ToolSpec, ToolUse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::messages::{ChatMessage, conversation};
use crate::http::ApiError;

/// What the name of an agent begins with where a model is named.
pub(crate) const AGENT: &str = "agent:";
/// Label of a request that names tools of the platform, separated by commas.
pub(crate) const TOOLS_LABEL: &str = "nexus_tools";
/// Label that `user` becomes.
pub(crate) const USER_LABEL: &str = "user";

/// A chat completion that is asked for. Fields that are not listed are accepted and ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatRequest {
    /// A model of `/v1/models`, or an agent as `agent:NAME`.
    pub(crate) model: String,
    /// The whole conversation, the oldest message first.
    messages: Vec<ChatMessage>,
    /// Tools that the client executes itself.
    #[serde(default)]
    tools: Option<Vec<ChatTool>>,
    /// `auto`, `none`, `required`, or the one function that must be called.
    #[serde(default)]
    tool_choice: Option<ToolChoice>,
    /// As server-sent events.
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    /// How to stream.
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    /// Most tokens of the answer.
    #[serde(default)]
    max_tokens: Option<u64>,
    /// The same, as newer clients call it; goes before it.
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    /// 0 to 2.
    #[serde(default)]
    temperature: Option<f32>,
    /// 0 to 1.
    #[serde(default)]
    top_p: Option<f32>,
    /// What ends the answer: at most four texts.
    #[serde(default)]
    stop: Option<Stop>,
    /// The same seed gives the same answer, where the provider can do so.
    #[serde(default)]
    seed: Option<i64>,
    /// `json_schema` is kept to, other forms are left to the prompt.
    #[serde(default)]
    response_format: Option<ResponseFormat>,
    /// Answers that are wanted: one.
    #[serde(default)]
    n: Option<u32>,
    /// Who of the client's users asks: a label of the run.
    #[serde(default)]
    user: Option<String>,
    /// Labels of the run. `nexus_tools` names tools of the platform that the model may call,
    /// separated by commas.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// How to stream.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
struct StreamOptions {
    /// End with a chunk that has the usage.
    #[serde(default)]
    include_usage: Option<bool>,
}

/// A tool that the client executes.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChatTool {
    /// `function`.
    r#type: String,
    /// What it is.
    #[serde(default)]
    function: Option<ChatToolFunction>,
}

/// What a tool is.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChatToolFunction {
    /// Its name.
    name: String,
    /// What it does, for the model.
    #[serde(default)]
    description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(default)]
    parameters: Option<Value>,
}

/// Whether tools are called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ToolChoice {
    /// `auto`, `none` or `required`.
    Mode(Mode),
    /// This one.
    Named {
        /// The function.
        function: NamedFunction,
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

/// A function by its name.
#[derive(Debug, Deserialize, JsonSchema)]
struct NamedFunction {
    /// Its name.
    name: String,
}

/// What ends an answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Stop {
    /// One text.
    One(String),
    /// Some.
    Many(Vec<String>),
}

/// A form that the answer must have.
#[derive(Debug, Deserialize, JsonSchema)]
struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    r#type: String,
    /// With `json_schema`.
    #[serde(default)]
    json_schema: Option<NamedSchema>,
}

/// A schema.
#[derive(Debug, Deserialize, JsonSchema)]
struct NamedSchema {
    /// The schema.
    #[serde(default)]
    schema: Option<Value>,
}

impl ChatRequest {
    /// Whether a stream is to end with the usage.
    pub(crate) fn includes_usage(&self) -> bool {
        let options = self.stream_options.unwrap_or_default();
        options.include_usage.unwrap_or(false)
    }

    /// The run that it becomes, but for the run's id.
    pub(crate) fn into_command(self, catalog: &Catalog) -> Result<StartRun, ApiError> {
        if self.n.unwrap_or(1) != 1 {
            return Err(ApiError::invalid("n", "one answer a request is given here"));
        }
        let (agent, model) = named(&self.model, catalog)?;
        let has_tools = self.tools.is_some();
        let asked = tools(self.tools.unwrap_or_default(), self.tool_choice)?;
        let mut metadata = self.metadata.unwrap_or_default();
        if let Some(user) = self.user {
            metadata.entry(USER_LABEL.to_owned()).or_insert(user);
        }
        let tools = platform_tools(&metadata, agent.is_some() && !has_tools);
        let (context, input) = conversation(self.messages)?;
        let sampling = Sampling {
            max_output_tokens: self.max_completion_tokens.or(self.max_tokens),
            temperature: self.temperature,
            top_p: self.top_p,
            stop: match self.stop {
                None => vec![],
                Some(Stop::One(text)) => vec![text],
                Some(Stop::Many(texts)) => texts,
            },
            seed: self.seed,
            tool_use: asked.tool_use,
            tool_name: asked.tool_name,
            response_schema: (self.response_format)
                .filter(|format| format.r#type == "json_schema")
                .and_then(|format| format.json_schema?.schema),
        };
        Ok(StartRun {
            input,
            agent,
            model,
            tools,
            context,
            client_tools: asked.specs,
            sampling: (sampling != Sampling::default()).then_some(sampling),
            metadata,
            ..StartRun::default()
        })
    }
}

/// The agent or the model that is meant.
pub(crate) fn named(
    name: &str,
    catalog: &Catalog,
) -> Result<(Option<String>, Option<String>), ApiError> {
    if let Some(agent) = name.strip_prefix(AGENT)
        && agent::newest(agent).is_some()
    {
        return Ok((Some(agent.to_owned()), None));
    }
    if catalog.get(name).is_some() {
        return Ok((None, Some(name.to_owned())));
    }
    Err(missing_model(name))
}

/// 404: there is no such model here.
pub(crate) fn missing_model(name: &str) -> ApiError {
    let name: String = name.chars().take(64).collect();
    let detail = format!("the model {name:?} does not exist here; /v1/models lists those that do");
    nexus_events::Problem::new(404, "model_not_found", detail)
        .at("model")
        .into()
}

/// Tools of the platform: those that the request names; else an agent brings its own, and a model,
/// as at OpenAI, has none.
pub(crate) fn platform_tools(
    metadata: &BTreeMap<String, String>,
    agents_own: bool,
) -> Option<Vec<String>> {
    match metadata.get(TOOLS_LABEL) {
        Some(names) => Some(
            (names.split(',').map(str::trim))
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        None if agents_own => None,
        None => Some(vec![]),
    }
}

/// The client's tools, and whether the model must call them.
#[derive(Default)]
struct Tools {
    specs: Vec<ToolSpec>,
    tool_use: Option<ToolUse>,
    tool_name: Option<String>,
}

fn tools(tools: Vec<ChatTool>, choice: Option<ToolChoice>) -> Result<Tools, ApiError> {
    let mut specs = Vec::with_capacity(tools.len());
    for (tool, index) in tools.into_iter().zip(0..) {
        let function = match (tool.r#type.as_str(), tool.function) {
            ("function", Some(function)) => function,
            _ => {
                let detail = "only functions are tools here, with their `function`";
                return Err(ApiError::invalid(&format!("tools[{index}].type"), detail));
            }
        };
        specs.push(ToolSpec {
            name: function.name,
            description: function.description.unwrap_or_default(),
            parameters: function
                .parameters
                .unwrap_or_else(|| json!({ "type": "object", "properties": {} })),
        });
    }
    let tool_use = match &choice {
        None => None,
        Some(ToolChoice::Mode(Mode::Auto)) => Some(ToolUse::Auto),
        Some(ToolChoice::Mode(Mode::None)) => Some(ToolUse::None),
        Some(ToolChoice::Mode(Mode::Required) | ToolChoice::Named { .. }) => {
            Some(ToolUse::Required)
        }
    };
    let tool_name = match choice {
        Some(ToolChoice::Named { function }) => {
            if specs.iter().all(|spec| spec.name != function.name) {
                let detail = "it names a function that `tools` does not have";
                return Err(ApiError::invalid("tool_choice", detail));
            }
            Some(function.name)
        }
        _ => None,
    };
    Ok(Tools {
        specs,
        tool_use,
        tool_name,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::catalog::{ModelInfo, Price};

    use super::*;

    fn command(change: impl FnOnce(&mut Value)) -> Result<StartRun, ApiError> {
        let mut request = json!({
            "model": "small", "messages": [{ "role": "user", "content": "hello" }], "novel": 1,
        });
        change(&mut request);
        let info = ModelInfo {
            provider: "test".to_owned(),
            others: vec![],
            context_tokens: 8_192,
            max_output_tokens: 1_024,
            price: Price::default(),
            tokenizer: None,
        };
        let catalog = Catalog {
            models: [("small".to_owned(), info)].into(),
            ..Catalog::default()
        };
        let request: ChatRequest = serde_json::from_value(request).unwrap();
        request.into_command(&catalog)
    }

    fn weather() -> Value {
        json!({ "type": "function", "function": { "name": "weather" } })
    }

    #[test]
    fn a_plain_request_brings_nothing_but_its_words() {
        let plain = command(|_| ()).unwrap();
        let expected = StartRun {
            input: "hello".into(),
            model: Some("small".into()),
            tools: Some(vec![]),
            ..StartRun::default()
        };
        assert_eq!(plain, expected);
    }

    #[test]
    fn platform_tools_are_an_agents_or_those_that_are_named() {
        let tools = |change: fn(&mut Value)| command(change).unwrap().tools;
        assert_eq!(tools(|r| r["model"] = "agent:default".into()), None);
        let own = |r: &mut Value| {
            r["model"] = "agent:default".into();
            r["tools"] = json!([weather()]);
        };
        assert_eq!(tools(own), Some(vec![]));
        let named = |r: &mut Value| r["metadata"] = json!({ "nexus_tools": "calculator, a" });
        let expected = vec!["calculator".to_owned(), "a".to_owned()];
        assert_eq!(tools(named), Some(expected));
    }

    #[test]
    fn what_is_asked_of_the_model_is_passed_on() {
        let asked = command(|r| {
            r["max_tokens"] = 5.into();
            r["temperature"] = 0.5.into();
            r["stop"] = "x".into();
            r["user"] = "u1".into();
            r["tools"] = json!([weather(), { "type": "function", "function": { "name": "b" } }]);
            r["tool_choice"] = weather();
        })
        .unwrap();
        let sampling = asked.sampling.unwrap();
        assert_eq!(sampling.max_output_tokens, Some(5));
        assert_eq!(sampling.temperature, Some(0.5));
        assert_eq!(sampling.stop, ["x"]);
        assert_eq!(sampling.tool_use, Some(ToolUse::Required));
        let name = asked.client_tools[0].name.clone();
        assert_eq!(
            (asked.client_tools.len(), sampling.tool_name),
            (2, Some(name))
        );
        assert_eq!(asked.metadata["user"], "u1");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let code = |change: fn(&mut Value)| command(change).unwrap_err().code().to_owned();
        assert_eq!(code(|r| r["model"] = "huge".into()), "model_not_found");
        assert_eq!(code(|r| r["model"] = "agent:x".into()), "model_not_found");
        assert_eq!(code(|r| r["n"] = 2.into()), "invalid");
        assert_eq!(code(|r| r["tool_choice"] = weather()), "invalid");
    }
}
