//! The agents that ship with the platform. A run pins name and version, so a changed definition is
//! a new version here and runs in flight keep the one they began with.

/// A definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentDefinition {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What the model is told first.
    pub instructions: &'static str,
    /// Tools that it may use when the caller names none.
    pub tools: &'static [&'static str],
    /// Model calls that a run may make.
    pub max_turns: u32,
}

/// Every definition, the newest version of a name last.
const AGENTS: &[AgentDefinition] = &[AgentDefinition {
    name: "default",
    version: "1",
    instructions: "You are a helpful assistant. Answer briefly and to the point.",
    tools: &["calculator"],
    max_turns: 16,
}];

/// The agent of a run that names none.
pub const DEFAULT_AGENT: &str = "default";

/// The newest version of an agent.
pub fn newest(name: &str) -> Option<&'static AgentDefinition> {
    AGENTS.iter().rev().find(|agent| agent.name == name)
}

/// The version that a run pinned.
pub fn pinned(name: &str, version: &str) -> Option<&'static AgentDefinition> {
    AGENTS
        .iter()
        .find(|agent| agent.name == name && agent.version == version)
}

/// All of them.
pub fn all() -> &'static [AgentDefinition] {
    AGENTS
}
