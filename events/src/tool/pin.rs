//! What a run keeps of each of its tools from its start: which version it is, and what the run itself
//! decides by. The whole definition stays where it is, immutable, found by name and version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Permissions, ToolDefinition, ToolKind, ToolLimits, builtin};

/// One of a run's tools, as the run began with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolPin {
    /// Its version.
    pub version: String,
    /// Digest of its definition, `sha256:<hex>`.
    pub digest: String,
    /// What policy sorts it under.
    pub category: String,
    /// It ships with the platform: no registry holds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub builtin: bool,
    /// Executing it twice does what executing it once does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// One run's identical calls may be answered by the first one's result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse_results: bool,
    /// What it may touch, in words that policies test: `network`, `file_read`, `file_write`, `code`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// The longest that one call may take, where that is not what tools take by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Bytes of what the model is told of it, as JSON.
    pub told_bytes: u32,
}

impl ToolPin {
    /// The pin of a definition with this digest.
    pub fn of(definition: &ToolDefinition, digest: String) -> Self {
        let told = serde_json::to_string(&definition.spec()).unwrap_or_default();
        let timeout = definition.limits.timeout;
        let is_default = timeout == ToolLimits::default().timeout;
        Self {
            version: definition.version.clone(),
            digest,
            category: definition.category.clone(),
            builtin: definition.kind == ToolKind::Builtin,
            idempotent: definition.idempotent,
            reuse_results: definition.reuse_results,
            permissions: (definition.permissions.words().into_iter())
                .map(str::to_owned)
                .collect(),
            timeout_ms: (!is_default).then(|| timeout.millis()),
            told_bytes: u32::try_from(told.len()).unwrap_or(u32::MAX),
        }
    }

    /// Whether executing it twice with these arguments does what executing it once does.
    pub fn twice_is_once(&self, name: &str, arguments: &serde_json::Value) -> bool {
        // Some built-in tools only ask, with some arguments.
        let asks = |tool: &builtin::BuiltinTool| {
            self.builtin && !tool.idempotent && tool.is_idempotent_with(arguments)
        };
        self.idempotent || builtin::get(name).is_some_and(asks)
    }

    /// The pin of a tool that ships with the platform, as it is now.
    pub fn of_builtin(name: &str) -> Option<&'static Self> {
        builtin::pin(name)
    }
}

impl Permissions {
    /// What it allows, in words that policies test.
    pub fn words(&self) -> Vec<&'static str> {
        let paths = self.paths.as_ref();
        let code = !self.languages.is_empty();
        let speaks = self
            .network
            .as_ref()
            .is_some_and(|network| !network.allowed_hosts.is_empty());
        [
            (speaks && (!code || self.network_access), "network"),
            (
                paths.is_some_and(|paths| !paths.read.is_empty()),
                "file_read",
            ),
            (
                paths.is_some_and(|paths| !paths.write.is_empty()),
                "file_write",
            ),
            (code, "code"),
        ]
        .into_iter()
        .filter_map(|(allows, word)| allows.then_some(word))
        .collect()
    }
}

/// A tool as callers name it: `name`, or `name@version` for one version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// The version that is wanted; the newest that is not deprecated where absent.
    pub version: Option<&'a str>,
}

impl<'a> ToolRef<'a> {
    /// Reads `name` or `name@version`.
    pub fn parse(text: &'a str) -> Self {
        match text.split_once('@') {
            Some((name, version)) => Self {
                name,
                version: Some(version),
            },
            None => Self {
                name: text,
                version: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{NetworkPermissions, PathPermissions};

    #[test]
    fn a_reference_may_name_a_version() {
        let newest = ToolRef::parse("weather");
        assert_eq!((newest.name, newest.version), ("weather", None));
        let one = ToolRef::parse("weather@1.2.0");
        assert_eq!((one.name, one.version), ("weather", Some("1.2.0")));
    }

    #[test]
    fn permissions_are_told_in_words() {
        let none = Permissions::default();
        assert!(none.words().is_empty());
        let network = NetworkPermissions {
            allowed_hosts: vec!["example.com".into()],
            ..NetworkPermissions::default()
        };
        let paths = PathPermissions {
            read: vec!["/a/*".into()],
            ..PathPermissions::default()
        };
        let files = Permissions {
            paths: Some(paths),
            network: Some(network),
            ..none
        };
        assert_eq!(files.words(), ["network", "file_read"]);
        // Code that has no network does not reach the hosts that are listed.
        let code = Permissions {
            languages: vec!["python".into()],
            ..files
        };
        assert_eq!(code.words(), ["file_read", "code"]);
    }
}
