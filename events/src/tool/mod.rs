//! Tools: what one is, what it may touch, and which ship with the platform.

mod builtin;
mod definition;
mod measure;
mod permissions;
mod pin;
pub mod registry;

pub use builtin::{BuiltinTool, all, get};
pub use definition::{ToolDefinition, ToolKind, ToolLimits};
pub use measure::{ByteSize, Span};
pub use permissions::{
    NetworkPermissions, PathPermissions, Permissions, ToolPermissions, ToolPermissionsOf,
};
pub use pin::{ToolPin, ToolRef};
