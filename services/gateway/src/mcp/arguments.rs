//! A call as it was asked for: of what, with what. It makes the run's command, and knows that run
//! again: whoever comes back for a run has to ask for what it does.

use nexus_events::agent::AgentDefinition;
use nexus_events::command::StartRun;
use nexus_events::run::RunStarted;
use nexus_events::tool::ToolRef;
use serde_json::{Map, Value, json};

use super::wire::{Message, RpcError};

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// What was named.
    pub(super) name: String,
    pub(super) target: Target,
    /// Who asks.
    pub(super) user: String,
}

/// What is called.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// A tool, with its arguments.
    Tool(Value),
    /// An agent, with what it is to do.
    Agent { name: &'static str, input: String },
}

/// The name and the arguments of a call.
///
/// # Errors
/// They are not what the protocol has.
pub(super) fn named(message: &Message) -> Result<(String, Map<String, Value>), RpcError> {
    let name = message.param("name").and_then(Value::as_str);
    let name = name.filter(|name| (1..=128).contains(&name.len()));
    let Some(name) = name else {
        return Err(RpcError::params("`name` must name a tool"));
    };
    let arguments = match message.param("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(_) => return Err(RpcError::params("`arguments` must be an object")),
    };
    Ok((name.to_owned(), arguments))
}

/// What an agent is to do.
///
/// # Errors
/// What is wrong with the arguments, for the model that made them.
pub(super) fn for_agent(
    agent: &AgentDefinition,
    mut arguments: Map<String, Value>,
) -> Result<Target, String> {
    let input = arguments.remove("input");
    match (input, arguments.keys().next()) {
        (Some(Value::String(input)), None) => Ok(Target::Agent {
            name: agent.name,
            input,
        }),
        (_, Some(other)) => {
            let other: String = other.chars().take(64).collect();
            Err(format!(
                "there is no argument {other:?}; say in `input` what is to be done"
            ))
        }
        _ => Err("say in `input`, a text, what is to be done".to_owned()),
    }
}

impl Asked {
    /// The run that does it.
    pub(super) fn command(&self) -> StartRun {
        match &self.target {
            Target::Tool(arguments) => StartRun {
                tools: Some(vec![self.name.clone()]),
                invoke: Some(arguments.clone()),
                ..StartRun::default()
            },
            Target::Agent { name, input } => StartRun {
                agent: Some((*name).to_owned()),
                input: input.clone(),
                ..StartRun::default()
            },
        }
    }

    /// Whether it is one call of a tool, without a model.
    pub(super) fn is_tool(&self) -> bool {
        matches!(self.target, Target::Tool(_))
    }

    /// Whether a run is the one that does this, for the same person.
    pub(super) fn is_done_by(&self, run: &RunStarted) -> bool {
        let same = match &self.target {
            Target::Tool(arguments) => {
                let tool = run.tools.first().map(|tool| ToolRef::parse(tool).name);
                run.invoke.as_ref() == Some(arguments) && tool == Some(self.name.as_str())
            }
            Target::Agent { name, input } => {
                let said = match run.input.inline() {
                    Some(text) => text == input,
                    // Too long to stand in the event: the length is all that is at hand.
                    None => run.input.len_bytes() == input.len() as u64,
                };
                run.invoke.is_none() && run.agent.name == *name && said
            }
        };
        same && run.user.user == self.user
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match &self.target {
            Target::Tool(arguments) => format!("{} {}", self.name, short(arguments)),
            Target::Agent { name, .. } => format!("agent {name}"),
        }
    }
}

/// Arguments as far as a person reads them.
pub(super) fn short(arguments: &Value) -> String {
    const MOST_CHARS: usize = 400;
    let text = match arguments {
        Value::Null => json!({}).to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
