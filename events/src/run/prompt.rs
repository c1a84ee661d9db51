//! What the first prompt of a run has beside the person's words: instructions, tools, and what a chat
//! template writes around it all. Whoever starts a run counts it (`RunStarted.prompt_tokens`); where
//! the model has no known tokenizer, and in runs that began before any was counted, bytes bound it.

use serde::Serialize;

use super::{AgentRef, Given, RunStarted};
use crate::agent::AgentDefinition;
use crate::command::StartRun;
use crate::model::{Message, ToolSpec};
use crate::tool::ToolPin;

/// By OpenAI's rule: three tokens around a message, and its role.
const MESSAGE_TOKENS: u64 = 4;
/// The same where it may have a name, or answer a call.
const NAMED_MESSAGE_TOKENS: u64 = 8;
/// By the same rule: what the answer begins with.
const ANSWER_TOKENS: u64 = 3;
/// Around all tools, and around each: OpenAI writes 12 and 10, and tools themselves tersely, in fewer
/// tokens than the JSON that is counted has.
const TOOLS_TOKENS: u64 = 16;
const TOOL_TOKENS: u64 = 16;
/// OpenAI's own service does not count what it tells every model; servers of its open models do:
/// their preamble has 71 tokens, and two messages' marks and headings more.
const PREAMBLE_TOKENS: u64 = 96;

/// What of a first prompt is known before anybody speaks: the texts to be counted, and what comes to
/// them whatever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Instructions, and each tool as JSON.
    pub texts: Vec<String>,
    /// Bound on the tokens that the template adds, the marks of the person's message included.
    pub template_tokens: u64,
}

/// The first prompt of an agent with these tools, but for the person's words.
pub fn prompt(agent: &AgentDefinition, tools: &[ToolSpec]) -> Prompt {
    let mut texts = vec![agent.instructions.to_owned()];
    let told = tools
        .iter()
        .map(|tool| serde_json::to_string(tool).unwrap_or_default());
    texts.extend(told);
    let tools = match tools.len() as u64 {
        0 => 0,
        tools => TOOLS_TOKENS + tools * TOOL_TOKENS,
    };
    Prompt {
        texts,
        template_tokens: PREAMBLE_TOKENS + 2 * MESSAGE_TOKENS + ANSWER_TOKENS + tools,
    }
}

/// What its caller's conversation, tools and schema add to the first prompt of a run.
pub fn brought(command: &StartRun) -> Prompt {
    let mut texts = vec![];
    let mut template_tokens = 0;
    for message in &command.context {
        template_tokens += NAMED_MESSAGE_TOKENS;
        match message {
            Message::System { text } | Message::User { text } => texts.push(text.clone()),
            Message::Assistant { text, tool_calls } => {
                texts.push(text.clone());
                template_tokens += tool_calls.len() as u64 * TOOL_TOKENS;
                texts.extend(tool_calls.iter().map(to_json));
            }
            Message::Tool {
                call_id,
                name,
                text,
            } => texts.extend([call_id.clone(), name.clone(), text.clone()]),
        }
    }
    if !command.client_tools.is_empty() {
        template_tokens += TOOLS_TOKENS + command.client_tools.len() as u64 * TOOL_TOKENS;
        texts.extend(command.client_tools.iter().map(to_json));
    }
    let schema = (command.sampling.as_ref()).and_then(|wanted| wanted.response_schema.as_ref());
    if let Some(schema) = schema {
        template_tokens += TOOLS_TOKENS;
        texts.push(to_json(schema));
    }
    Prompt {
        texts,
        template_tokens,
    }
}

fn to_json<T: Serialize>(value: &T) -> String {
    // Strings and JSON always encode.
    serde_json::to_string(value).unwrap_or_default()
}

/// Bound on the tokens of a run's first prompt but for what its session said before.
pub(super) fn first_tokens(event: &RunStarted) -> u64 {
    // Roles and separators of the person's message.
    const MESSAGE_BYTES: u64 = 16;
    event.prompt_tokens.unwrap_or_else(|| {
        overhead_bytes(event)
            .saturating_add(event.input.len_bytes())
            .saturating_add(MESSAGE_BYTES)
    })
}

fn overhead_bytes(event: &RunStarted) -> u64 {
    let AgentRef { name, version } = &event.agent;
    let instructions =
        crate::agent::pinned(name, version).map_or(0, |agent| agent.instructions.len());
    // A tool's JSON, and what chat templates write around it.
    let pin = |name: &String| event.pins.get(name).or_else(|| ToolPin::of_builtin(name));
    let told: u64 = (event.tools.iter().filter_map(pin))
        .map(|pin| u64::from(pin.told_bytes) + 64)
        .sum();
    let given = event.given.as_deref();
    let has_tools =
        !event.tools.is_empty() || given.is_some_and(|own| !own.client_tools.is_empty());
    let template = if has_tools { 512 } else { 32 };
    (instructions as u64)
        .saturating_add(given.map_or(0, Given::prompt_bytes))
        .saturating_add(told)
        .saturating_add(template)
}
