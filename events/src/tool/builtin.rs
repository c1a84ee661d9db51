//! The tools that ship with the platform, as data: what the model is told, what policy judges.
//! The code behind them is the tool role's.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;

use super::registry::digest_of;
use super::{Permissions, ToolDefinition, ToolKind, ToolLimits, ToolPin, host_tools};
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
    pub(super) parameters: fn() -> serde_json::Value,
    pub(super) permissions: fn() -> Permissions,
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
            permissions: self.permissions(),
            limits: ToolLimits::default(),
        }
    }

    /// What it may touch unless an operator says otherwise.
    pub fn permissions(&self) -> Permissions {
        (self.permissions)()
    }

    /// Whether executing it twice with these arguments does what executing it once does.
    pub fn is_idempotent_with(&self, arguments: &serde_json::Value) -> bool {
        if self.name != host_tools::HTTP_REQUEST.name {
            return self.idempotent;
        }
        let method = arguments.get("method").and_then(serde_json::Value::as_str);
        (["GET", "HEAD", "OPTIONS"].iter())
            .any(|safe| method.unwrap_or("GET").eq_ignore_ascii_case(safe))
    }
}

const CALCULATOR: BuiltinTool = BuiltinTool {
    name: "calculator",
    version: "1.0.0",
    description: "Evaluates an arithmetic expression exactly, e.g. (12.5 + 3) * 4 / 7. \
                  Knows + - * / % ^, parentheses, sqrt, abs, round, floor, ceil, min, max, pi, e.",
    category: "data_analysis",
    idempotent: true,
    permissions: Permissions::none,
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
};

const TOOLS: &[BuiltinTool] = &[
    CALCULATOR,
    host_tools::HTTP_REQUEST,
    host_tools::FILE_READ,
    host_tools::FILE_WRITE,
    host_tools::FILE_LIST,
    host_tools::JSON_QUERY,
    host_tools::TEXT_SEARCH,
    host_tools::EXECUTE_CODE,
];

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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_that_only_asks_may_be_made_again() {
        let http = get("http_request").unwrap();
        assert!(!http.idempotent);
        for (arguments, again) in [
            (json!({}), true),
            (json!({ "method": "head" }), true),
            (json!({ "method": "POST" }), false),
            (json!({ "method": "DELETE" }), false),
        ] {
            assert_eq!(http.is_idempotent_with(&arguments), again, "{arguments}");
        }
    }

    #[test]
    fn defaults_reach_no_host_and_only_files_of_the_workspace() {
        for tool in all() {
            let permissions = tool.permissions();
            assert_eq!(permissions.check(), Ok(()), "{}", tool.name);
            assert!(permissions.network.is_none());
            let reads = permissions
                .paths
                .is_some_and(|paths| !paths.read.is_empty());
            assert!(
                !(reads && tool.name == "file_write"),
                "writing is not reading"
            );
        }
    }
}
