//! What a tool is: a name and a version, what the model is told of it, what it may touch, and how it
//! is executed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Permissions, Span};
use crate::body::Body;
use crate::model::ToolSpec;

/// One version of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolDefinition {
    /// `[a-z0-9_-]{1,64}`: what models call it by.
    #[schemars(regex(pattern = "^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// What it does, for the model.
    pub description: String,
    /// What policy sorts it under.
    pub category: String,
    /// How it is executed.
    #[serde(flatten)]
    pub kind: ToolKind,
    /// True when executing it twice does what executing it once does.
    #[serde(default)]
    pub idempotent: bool,
    /// Whether one run's identical calls may be answered by the first one's result.
    #[serde(default)]
    pub reuse_results: bool,
    /// JSON Schema of its arguments.
    pub input_schema: serde_json::Value,
    /// JSON Schema of its result; anything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Value>,
    /// What it may touch; absent means nothing.
    #[serde(default, skip_serializing_if = "Permissions::is_none")]
    pub permissions: Permissions,
    /// What one call may take.
    #[serde(default)]
    pub limits: ToolLimits,
}

impl ToolDefinition {
    /// Names of the fields that a tool of a kind may have.
    pub fn fields(kind: &str) -> Vec<&'static str> {
        let own: &[&str] = match kind {
            "wasm" => &["module"],
            "javascript" | "python" => &["source"],
            "mcp" => &["server", "tool"],
            _ => &[],
        };
        let common = [
            "name",
            "version",
            "description",
            "category",
            "kind",
            "idempotent",
            "reuse_results",
            "input_schema",
            "output_schema",
            "permissions",
            "limits",
        ];
        [&common, own].concat()
    }

    /// As a model is told of it.
    pub fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name.clone(),
            description: self.description.clone(),
            parameters: self.input_schema.clone(),
        }
    }
}

/// How a tool is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolKind {
    /// By code of the tool role.
    Builtin,
    /// A WebAssembly component, or a WASI preview 1 command that reads JSON on stdin and writes it
    /// on stdout.
    Wasm {
        /// The module, by content address.
        module: Body,
    },
    /// JavaScript: the source is the tool.
    Javascript {
        /// The source.
        source: Body,
    },
    /// Python: the source is the tool.
    Python {
        /// The source.
        source: Body,
    },
    /// A tool of an MCP server.
    Mcp {
        /// The server, as configuration names it.
        server: String,
        /// Its name there.
        tool: String,
    },
    /// A NATS client that answers on the tool's subject.
    Nats,
}

impl ToolKind {
    /// As it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Wasm { .. } => "wasm",
            Self::Javascript { .. } => "javascript",
            Self::Python { .. } => "python",
            Self::Mcp { .. } => "mcp",
            Self::Nats => "nats",
        }
    }
}

/// What one call may take, beside its permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolLimits {
    /// From start to result, waiting included.
    pub timeout: Span,
    /// Of the result.
    pub max_output_bytes: u64,
    /// Calls of the tenant at once, in one process of the role.
    pub concurrency: u32,
}

impl Default for ToolLimits {
    fn default() -> Self {
        Self {
            timeout: Span::from_millis(30_000),
            max_output_bytes: 1024 * 1024,
            concurrency: 16,
        }
    }
}
