//! What an installation decides about its tools.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use nexus_events::tool::path::WORKSPACE;
use nexus_events::tool::{NetworkPermissions, PathPermissions, Permissions, ToolPermissions};
use nexus_events::tool::{ToolDefinition, ToolKind};
use nexus_mcp::Servers;
use nexus_sandbox::SandboxConfig;

use crate::builtin::files::{Quota, Workspaces};
use crate::validate::OnSecret;

/// The entry of a permissions document that bounds every registered tool that has none of its own.
const EVERY_TOOL: &str = "*";

/// Finds CPython for WASI, and fetches it where it is not there. The error is for people.
pub type FindPython =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<PathBuf, String>> + Send>> + Send + Sync>;

/// What an installation decides about its tools.
#[derive(Clone)]
pub struct ToolsSettings {
    /// Where runs keep their files.
    pub workspaces: Workspaces,
    /// What built-in tools may touch beyond their defaults, and registered ones at most.
    pub permissions: ToolPermissions,
    /// What is done where a result holds what looks like a secret.
    pub secrets: OnSecret,
    /// Whether e-mail addresses are secrets.
    pub emails: bool,
    /// How code is run.
    pub sandbox: SandboxConfig,
    /// Where Python comes from.
    pub python: FindPython,
    /// MCP servers whose tools may be imported.
    pub servers: Arc<Servers>,
}

impl ToolsSettings {
    /// The defaults, with workspaces and compiled code in this folder, and without Python.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn within(folder: &Path, quota: Quota) -> io::Result<Self> {
        Ok(Self {
            workspaces: Workspaces::open(&folder.join("workspaces"), quota)?,
            permissions: ToolPermissions::default(),
            secrets: OnSecret::default(),
            emails: false,
            sandbox: SandboxConfig::new(folder.join("compiled")),
            python: Arc::new(|| {
                Box::pin(async { Err("this installation has no Python".to_owned()) })
            }),
            servers: Arc::default(),
        })
    }

    /// What a tool may touch, before policy narrows it: a built-in one what the installation says of
    /// it, else its default; any other what its definition says, within what the installation says.
    pub(crate) fn permissions_of(&self, definition: &ToolDefinition) -> Permissions {
        let said = [&definition.name, &definition.category]
            .into_iter()
            .find_map(|name| self.permissions.tools.get(name));
        match (&definition.kind, said) {
            (ToolKind::Builtin, Some(said)) => said.permissions.clone(),
            (ToolKind::Builtin, None) => definition.permissions.clone(),
            (_, Some(said)) => definition.permissions.narrow(&said.permissions),
            (_, None) => match self.permissions.tools.get(EVERY_TOOL) {
                Some(most) => definition.permissions.narrow(&most.permissions),
                None => definition.permissions.narrow(&usual_bounds()),
            },
        }
    }
}

/// What registered tools may touch at most where the installation says nothing: every name, but no
/// address by its number, so that nobody who may register a tool reaches what is special.
fn usual_bounds() -> Permissions {
    let everything = vec![format!("{WORKSPACE}/*")];
    Permissions {
        network: Some(NetworkPermissions {
            allowed_hosts: vec!["*:*".to_owned()],
            blocked_ips: vec![],
            max_response_size: Some(nexus_events::tool::ByteSize::bytes(64 << 20)),
            timeout: Some(nexus_events::tool::Span::from_millis(300_000)),
        }),
        paths: Some(PathPermissions {
            read: everything.clone(),
            write: everything,
            execute: vec![],
        }),
        max_file_size: Some(nexus_events::tool::ByteSize::bytes(64 << 20)),
        allowed_extensions: None,
        languages: vec!["javascript".to_owned(), "python".to_owned()],
        max_cpu_time: Some(nexus_events::tool::Span::from_millis(60_000)),
        max_memory: Some(nexus_events::tool::ByteSize::bytes(512 << 20)),
        network_access: true,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use serde_json::json;

    use super::*;

    fn settings(document: serde_json::Value) -> ToolsSettings {
        let place = tempfile::tempdir().unwrap();
        ToolsSettings {
            permissions: serde_json::from_value(document).unwrap(),
            ..ToolsSettings::within(place.path(), Quota::default()).unwrap()
        }
    }

    fn registered(hosts: &[&str]) -> ToolDefinition {
        serde_json::from_value(json!({
            "name": "weather", "version": "1.0.0", "description": "Weather.", "category": "http",
            "kind": "nats", "input_schema": { "type": "object" },
            "permissions": { "network": { "allowed_hosts": hosts } },
        }))
        .unwrap()
    }

    fn hosts(permissions: &Permissions) -> &[String] {
        (permissions.network.as_ref()).map_or(&[], |network| &network.allowed_hosts)
    }

    #[test]
    fn whoever_registers_a_tool_opens_no_special_address() {
        let open = registered(&["api.example.com", "169.254.169.254", "127.0.0.1:8080"]);
        let usual = settings(json!({ "tools": {} })).permissions_of(&open);
        assert_eq!(hosts(&usual), ["api.example.com"]);
        let named =
            json!({ "permissions": { "network": { "allowed_hosts": ["127.0.0.1:8080"] } } });
        for entry in ["weather", "http", "*"] {
            let document = json!({ "tools": { entry: named } });
            let permissions = settings(document).permissions_of(&open);
            assert_eq!(hosts(&permissions), ["127.0.0.1:8080"], "{entry}");
        }
    }

    #[test]
    fn an_installation_opens_built_in_tools() {
        let http = nexus_events::tool::get("http_request")
            .unwrap()
            .definition();
        let closed = settings(json!({ "tools": {} })).permissions_of(&http);
        assert!(hosts(&closed).is_empty());
        let said = json!({ "permissions": { "network": { "allowed_hosts": ["a.example"] } } });
        let open = settings(json!({ "tools": { "http_request": said } }));
        assert_eq!(hosts(&open.permissions_of(&http)), ["a.example"]);
    }
}
