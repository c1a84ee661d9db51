//! What a tool may touch. A document that people read and write, so it has the form that they know;
//! what is absent is denied.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// Permissions by tool: the form of a permissions file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolPermissions {
    /// By the tool's name.
    pub tools: BTreeMap<String, ToolPermissionsOf>,
}

/// One tool's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolPermissionsOf {
    /// What it may touch.
    pub permissions: Permissions,
}

/// What one tool may touch; the default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// Hosts that it may speak to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPermissions>,
    /// Files of the run's workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<PathPermissions>,
    /// The largest file that it may read or write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file_size: Option<ByteSize>,
    /// With the dot; absent means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_extensions: Option<Vec<String>>,
    /// Languages that code may be written in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// CPU time of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu_time: Option<Span>,
    /// Memory of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<ByteSize>,
    /// Whether code may speak to the hosts of `network`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network_access: bool,
}

impl Permissions {
    /// Whether it may touch nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Whom a tool may speak to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPermissions {
    /// Names, or `*.` and a name for everything below it.
    pub allowed_hosts: Vec<String>,
    /// Addresses that a name must not resolve to, beside those that are never allowed unless named
    /// as a host: `10.*`, `192.168.0.0/16`, `127.0.0.1`.
    pub blocked_ips: Vec<String>,
    /// Of one response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_response_size: Option<ByteSize>,
    /// Of one request, redirects included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// Patterns of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PathPermissions {
    /// What it may read.
    pub read: Vec<String>,
    /// What it may write.
    pub write: Vec<String>,
    /// What it may execute: nothing is executed, whatever is here.
    pub execute: Vec<String>,
}
