//! What a policy sees as `input`.
//!
//! Optional parts are left out when absent, so that a policy's `input.tool` is undefined and not
//! null where there is no tool. The names are a contract with every policy in use.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// One question to the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where in a run the question is asked.
    pub point: Point,
    /// The tenant.
    pub tenant: String,
    /// On whose behalf.
    pub user: User,
    /// The conversation and what it may still spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The agent that acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The tool to be called, for `tool.call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Tool>,
    /// The model to be called, for `llm.call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's provider; the first, where several serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// All that serve it: the call may go to any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// What has become of a required approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// When it is asked, RFC 3339: `time.parse_rfc3339_ns(input.time)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// The points at which a run asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Point {
    /// Before a run's first step.
    #[serde(rename = "run.start")]
    RunStart,
    /// Before each model call.
    #[serde(rename = "llm.call")]
    LlmCall,
    /// Before each tool call.
    #[serde(rename = "tool.call")]
    ToolCall,
    /// Before something is looked up in memory.
    #[serde(rename = "memory.read")]
    MemoryRead,
    /// Before something is remembered.
    #[serde(rename = "memory.write")]
    MemoryWrite,
}

/// The person or program on whose behalf the run acts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// Empty for nobody.
    pub id: String,
    /// The chief role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// All roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Groups from the directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// The conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// What is left of its budget; left out where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What the session's owner wants policies to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_context: Option<Json>,
}

/// What remains to be spent, by kind; a kind without a limit is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd_micros: Option<u64>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
}

/// The agent's definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The turn, from 1; left out before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// The run that started it as a sub-agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Tools that its caller brought, and executes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<String>,
    /// The tool that the run is one call of; no model is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invokes: Option<String>,
    /// The run makes vectors of texts, by the one model call that it has; nobody is talked to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub embeds: bool,
}

/// The tool call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tool {
    /// The tool's name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its category: `http`, `text_processing`, `data_analysis`, `system`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What it declares to need.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// The arguments as the model wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Json>,
}

/// The state of an approval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// `pending`, `approved`, `denied` or `expired`.
    pub status: String,
    /// Who decided; the last one where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Everybody who did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
}

impl Input {
    /// A question with nothing but the three parts that are always there.
    pub fn new(point: Point, tenant: impl Into<String>, user: User) -> Self {
        Self {
            point,
            tenant: tenant.into(),
            user,
            session: None,
            agent: None,
            run: None,
            tool: None,
            model: None,
            provider: None,
            providers: vec![],
            approval: None,
            time: None,
        }
    }
}
