//! What the first prompt of a run has beside the person's words: instructions, tools, and what a chat
//! template writes around it all. Whoever starts a run counts it (`RunStarted.prompt_tokens`); where
//! the model has no known tokenizer, and in runs that began before any was counted, bytes bound it.

use super::{AgentRef, RunStarted};
use crate::agent::AgentDefinition;
use crate::tool;

/// By OpenAI's rule: three tokens around a message, and its role.
const MESSAGE_TOKENS: u64 = 4;
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
pub fn prompt(agent: &AgentDefinition, tools: &[String]) -> Prompt {
    let mut texts = vec![agent.instructions.to_owned()];
    texts.extend(described(tools));
    let described = texts.len() as u64 - 1;
    let tools = match described {
        0 => 0,
        tools => TOOLS_TOKENS + tools * TOOL_TOKENS,
    };
    Prompt {
        texts,
        template_tokens: PREAMBLE_TOKENS + 2 * MESSAGE_TOKENS + ANSWER_TOKENS + tools,
    }
}

/// Bound on the tokens of a run's first prompt but for what its session said before.
pub(super) fn first_tokens(event: &RunStarted) -> u64 {
    // Roles and separators of the person's message.
    const MESSAGE_BYTES: u64 = 16;
    event.prompt_tokens.unwrap_or_else(|| {
        overhead_bytes(&event.agent, &event.tools)
            .saturating_add(event.input.len_bytes())
            .saturating_add(MESSAGE_BYTES)
    })
}

fn overhead_bytes(agent: &AgentRef, tools: &[String]) -> u64 {
    let instructions = crate::agent::pinned(&agent.name, &agent.version)
        .map_or(0, |agent| agent.instructions.len());
    // A tool's JSON, and what chat templates write around it.
    let described: usize = described(tools).map(|json| json.len() + 64).sum();
    let template = if tools.is_empty() { 32 } else { 512 };
    (instructions + described + template) as u64
}

fn described(tools: &[String]) -> impl Iterator<Item = String> {
    tools
        .iter()
        .filter_map(|name| tool::get(name))
        .map(|tool| serde_json::to_string(&tool.spec()).unwrap_or_default())
}
