//! The tools that ship with the platform, as data: what the model is told, what policy judges.
//! The code behind them is the tool role's.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;

use super::registry::digest_of;
use super::{Permissions, ToolDefinition, ToolKind, ToolLimits, ToolPin};
use crate::model::ToolSpec;

/// A tool that ships with the platform.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinTool {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it does, for the model.
    pub description: &'static str,
    /// What policy sorts it under.
    pub category: &'static str,
    /// True when executing it twice does what executing it once does.
    pub idempotent: bool,
    parameters: fn() -> serde_json::Value,
}

impl BuiltinTool {
    /// As a model is told of it.
    pub fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            parameters: (self.parameters)(),
        }
    }

    /// As registered tools are defined.
    pub fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            description: self.description.to_owned(),
            category: self.category.to_owned(),
            kind: ToolKind::Builtin,
            idempotent: self.idempotent,
            reuse_results: false,
            input_schema: (self.parameters)(),
            output_schema: None,
            permissions: Permissions::default(),
            limits: ToolLimits::default(),
        }
    }
}

const TOOLS: &[BuiltinTool] = &[BuiltinTool {
    name: "calculator",
    version: "1.0.0",
    description: "Evaluates an arithmetic expression exactly, e.g. (12.5 + 3) * 4 / 7. \
                  Knows + - * / % ^, parentheses, sqrt, abs, round, floor, ceil, min, max, pi, e.",
    category: "data_analysis",
    idempotent: true,
    parameters: || {
        json!({
            "type": "object",
            "properties": {
                "expression": { "type": "string", "description": "The expression" }
            },
            "required": ["expression"],
            "additionalProperties": false
        })
    },
}];

/// A tool by name.
pub fn get(name: &str) -> Option<&'static BuiltinTool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// All of them.
pub fn all() -> &'static [BuiltinTool] {
    TOOLS
}

/// Digests take a while, and the table is the same for ever.
static PINS: LazyLock<BTreeMap<&'static str, ToolPin>> = LazyLock::new(|| {
    let pin = |tool: &BuiltinTool| {
        let definition = tool.definition();
        let digest = digest_of(&definition);
        (tool.name, ToolPin::of(&definition, digest))
    };
    TOOLS.iter().map(pin).collect()
});

/// What a run keeps of one of them.
pub(super) fn pin(name: &str) -> Option<&'static ToolPin> {
    PINS.get(name)
}
