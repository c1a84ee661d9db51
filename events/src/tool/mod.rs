//! Tools: what one is, what it may touch, and which ship with the platform.

pub mod address;
mod builtin;
mod definition;
pub mod host;
mod host_tools;
mod import;
mod measure;
mod narrow;
pub mod network;
pub mod path;
mod pattern;
mod permissions;
mod pin;
pub mod registry;
#[cfg(test)]
mod tests;

pub use builtin::{BuiltinTool, all, get};
pub use definition::{ToolDefinition, ToolKind, ToolLimits};
pub use host::Host;
pub use host_tools::CODE_EXECUTION;
pub use import::ImportTools;
pub use measure::{ByteSize, Span};
pub use narrow::{DEFAULT_CPU_TIME, DEFAULT_MEMORY};
pub use network::NetworkRules;
pub use path::{PathRules, WORKSPACE, WorkspacePath};
pub use pattern::{Denied, PatternError};
pub use permissions::{
    NetworkPermissions, PathPermissions, Permissions, ToolPermissions, ToolPermissionsOf,
};
pub use pin::{ToolPin, ToolRef};
