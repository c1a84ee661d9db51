//! A message that is asked for, and the run that it becomes.

use std::collections::BTreeMap;

use nexus_events::catalog::Catalog;
use nexus_events::command::StartRun;
use nexus_events::model::{Message, Sampling, ToolSpec, ToolUse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::blocks::{InMessage, Text, conversation};
use crate::http::ApiError;
use crate::openai::request::{TOOLS_LABEL, USER_LABEL, named, platform_tools};

/// A message that is asked for. Fields that are not listed are accepted and ignored.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MessageRequest {
    /// A model of `/v1/models`, or an agent as `agent:NAME`.
    pub(crate) model: String,
    /// Most tokens of the answer.
    max_tokens: u64,
    /// The whole conversation, the oldest message first.
    messages: Vec<InMessage>,
    /// Instructions.
    #[serde(default)]
    system: Option<Text>,
    /// Tools that the client executes itself.
    #[serde(default)]
    tools: Option<Vec<InTool>>,
    /// `auto`, `any`, `none`, or the one tool that must be called.
    #[serde(default)]
    tool_choice: Option<ToolChoice>,
    /// As server-sent events.
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    /// What ends the answer: at most four texts.
    #[serde(default)]
    stop_sequences: Option<Vec<String>>,
    /// 0 to 2.
    #[serde(default)]
    temperature: Option<f32>,
    /// 0 to 1.
    #[serde(default)]
    top_p: Option<f32>,
    /// How the answer is to look.
    #[serde(default)]
    output_config: Option<OutputConfig>,
    /// Labels of the run.
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// A tool that the client executes.
#[derive(Debug, Deserialize, JsonSchema)]
struct InTool {
    /// `custom`, or nothing.
    #[serde(default)]
    r#type: Option<String>,
    /// Its name.
    name: String,
    /// What it does, for the model.
    #[serde(default)]
    description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(default)]
    input_schema: Option<Value>,
}

/// Whether tools are called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolChoice {
    /// As the model sees fit.
    Auto,
    /// At least one.
    Any,
    /// This one.
    Tool {
        /// Its name.
        name: String,
    },
    /// Not at all.
    None,
}

/// How an answer is to look.
#[derive(Debug, Deserialize, JsonSchema)]
struct OutputConfig {
    /// Its form.
    #[serde(default)]
    format: Option<Format>,
}

/// A form that the answer must have.
#[derive(Debug, Deserialize, JsonSchema)]
struct Format {
    /// `json_schema`.
    r#type: String,
    /// The schema.
    #[serde(default)]
    schema: Option<Value>,
}

/// Labels of a request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Metadata {
    /// Who of the client's users asks: the run's label `user`, and nobody's identity.
    #[serde(default)]
    user_id: Option<String>,
    /// Tools of the platform that the model may call, separated by commas.
    #[serde(default)]
    nexus_tools: Option<String>,
}

impl Metadata {
    fn labels(self) -> BTreeMap<String, String> {
        let labels = [(USER_LABEL, self.user_id), (TOOLS_LABEL, self.nexus_tools)];
        (labels.into_iter())
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

impl MessageRequest {
    /// The run that it becomes, but for the run's id.
    pub(crate) fn into_command(self, catalog: &Catalog) -> Result<StartRun, ApiError> {
        let (agent, model) = named(&self.model, catalog)?;
        let agents_own = agent.is_some() && self.tools.is_none();
        let client_tools = specs(self.tools.unwrap_or_default())?;
        let (tool_use, tool_name) = chosen(self.tool_choice, &client_tools)?;
        let metadata = self.metadata.unwrap_or_default().labels();
        let tools = platform_tools(&metadata, agents_own);
        let (mut context, input) = conversation(self.messages)?;
        if let Some(system) = self.system {
            let text = system.whole("system")?;
            context.insert(0, Message::System { text });
        }
        let sampling = Sampling {
            max_output_tokens: Some(self.max_tokens),
            temperature: self.temperature,
            top_p: self.top_p,
            stop: self.stop_sequences.unwrap_or_default(),
            tool_use,
            tool_name,
            response_schema: (self.output_config)
                .and_then(|config| config.format)
                .filter(|format| format.r#type == "json_schema")
                .and_then(|format| format.schema),
            ..Sampling::default()
        };
        Ok(StartRun {
            input,
            agent,
            model,
            tools,
            context,
            client_tools,
            sampling: Some(sampling),
            metadata,
            ..StartRun::default()
        })
    }
}

fn specs(tools: Vec<InTool>) -> Result<Vec<ToolSpec>, ApiError> {
    let spec = |(tool, index): (InTool, usize)| {
        let of_client = matches!(tool.r#type.as_deref(), None | Some("custom"));
        let (true, Some(parameters)) = (of_client, tool.input_schema) else {
            let detail = "only tools that the client executes are taken here, with their \
                          `input_schema`; `metadata.nexus_tools` names those of the platform";
            return Err(ApiError::invalid(&format!("tools[{index}]"), detail));
        };
        Ok(ToolSpec {
            name: tool.name,
            description: tool.description.unwrap_or_default(),
            parameters,
        })
    };
    tools.into_iter().zip(0..).map(spec).collect()
}

fn chosen(
    choice: Option<ToolChoice>,
    tools: &[ToolSpec],
) -> Result<(Option<ToolUse>, Option<String>), ApiError> {
    Ok(match choice {
        None => (None, None),
        Some(ToolChoice::Auto) => (Some(ToolUse::Auto), None),
        Some(ToolChoice::None) => (Some(ToolUse::None), None),
        Some(ToolChoice::Any) => (Some(ToolUse::Required), None),
        Some(ToolChoice::Tool { name }) if tools.iter().any(|tool| tool.name == name) => {
            (Some(ToolUse::Required), Some(name))
        }
        Some(ToolChoice::Tool { .. }) => {
            let detail = "it names a tool that `tools` does not have";
            return Err(ApiError::invalid("tool_choice", detail));
        }
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::catalog::{ModelInfo, Price};
    use serde_json::json;

    use super::*;

    fn command(change: impl FnOnce(&mut Value)) -> Result<StartRun, ApiError> {
        let mut request = json!({
            "model": "small", "max_tokens": 9, "novel": 1,
            "messages": [{ "role": "user", "content": "hello" }],
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
        let request: MessageRequest = serde_json::from_value(request).unwrap();
        request.into_command(&catalog)
    }

    fn weather() -> Value {
        json!({ "name": "weather", "input_schema": { "type": "object" } })
    }

    #[test]
    fn a_plain_request_brings_nothing_but_its_words_and_its_bound() {
        let expected = StartRun {
            input: "hello".into(),
            model: Some("small".into()),
            tools: Some(vec![]),
            sampling: Some(Sampling {
                max_output_tokens: Some(9),
                ..Sampling::default()
            }),
            ..StartRun::default()
        };
        assert_eq!(command(|_| ()).unwrap(), expected);
    }

    #[test]
    fn what_is_asked_of_the_model_is_passed_on() {
        let asked = command(|r| {
            r["system"] = json!([{ "type": "text", "text": "Be brief." }]);
            r["temperature"] = 0.5.into();
            r["stop_sequences"] = json!(["x"]);
            r["metadata"] = json!({ "user_id": "u1", "nexus_tools": "calculator" });
            r["tools"] = json!([weather()]);
            r["tool_choice"] = json!({ "type": "tool", "name": "weather" });
        })
        .unwrap();
        let sampling = asked.sampling.unwrap();
        assert_eq!(sampling.stop, ["x"]);
        assert_eq!(sampling.temperature, Some(0.5));
        assert_eq!(sampling.tool_use, Some(ToolUse::Required));
        assert_eq!(sampling.tool_name.as_deref(), Some("weather"));
        assert_eq!(asked.client_tools.len(), 1);
        assert_eq!(asked.metadata["user"], "u1");
        assert_eq!(asked.tools, Some(vec!["calculator".to_owned()]));
        let text = "Be brief.".to_owned();
        assert_eq!(asked.context, [Message::System { text }]);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let code = |change: fn(&mut Value)| command(change).unwrap_err().code().to_owned();
        assert_eq!(code(|r| r["model"] = "huge".into()), "model_not_found");
        let search = json!([{ "type": "web_search_20250305", "name": "web_search" }]);
        let refused = command(|r| r["tools"] = search).unwrap_err();
        assert_eq!(refused.code(), "invalid");
        let absent = |r: &mut Value| r["tool_choice"] = json!({ "type": "tool", "name": "a" });
        assert_eq!(code(absent), "invalid");
    }
}
