//! `tool.register`, `tool.deprecate`, `tool.remove`.

use super::{Registered, ToolDeprecated, ToolRegistered, ToolRemoved, ToolState, Tools};
use super::{ToolsEvent, digest_of, validate};
use crate::error::DomainError;
use crate::tool::ToolDefinition;

/// Versions of one tool.
const MOST_VERSIONS: usize = 256;
/// Versions of all tools of a tenant, which every worker that uses one keeps in memory.
const MOST_IN_ALL: usize = 2_048;
/// Characters of a reason.
const MOST_REASON_CHARS: usize = 1_000;

/// Accepts a version; the same one again is no event.
///
/// # Errors
/// It is not well formed ([`validate`]); the version exists with another definition, or was removed;
/// or there are too many.
pub fn register(tools: &Tools, definition: ToolDefinition) -> Result<Vec<ToolsEvent>, DomainError> {
    validate(&definition)?;
    let digest = digest_of(&definition);
    if let Some(found) = tools.version(&definition.name, &definition.version) {
        return match found.state {
            _ if found.digest != digest => Err(state(
                &definition.name,
                &definition.version,
                "registered with another definition",
                "be changed; register a higher version",
            )),
            ToolState::Removed => Err(state(
                &definition.name,
                &definition.version,
                "removed",
                "be brought back; register a higher version",
            )),
            ToolState::Active | ToolState::Deprecated => Ok(vec![]),
        };
    }
    if tools.versions_of(&definition.name) >= MOST_VERSIONS || tools.versions >= MOST_IN_ALL {
        let reason = format!(
            "at most {MOST_VERSIONS} versions of a tool and {MOST_IN_ALL} in all can be registered"
        );
        return Err(DomainError::invalid("version", reason));
    }
    let definition = Box::new(definition);
    Ok(vec![ToolRegistered { digest, definition }.into()])
}

/// Gives the version only to those who name it from here on; again is no event.
///
/// # Errors
/// There is no such version, or it was removed.
pub fn deprecate(
    tools: &Tools,
    name: &str,
    version: &str,
    reason: Option<String>,
) -> Result<Vec<ToolsEvent>, DomainError> {
    match find(tools, name, version)?.state {
        ToolState::Deprecated => Ok(vec![]),
        ToolState::Removed => Err(state(name, version, "removed", "be deprecated")),
        ToolState::Active => Ok(vec![
            ToolDeprecated {
                name: name.to_owned(),
                version: version.to_owned(),
                reason: reason.map(cut),
            }
            .into(),
        ]),
    }
}

/// Gives the version to no further run; again is no event.
///
/// # Errors
/// There is no such version.
pub fn remove(
    tools: &Tools,
    name: &str,
    version: &str,
    reason: Option<String>,
) -> Result<Vec<ToolsEvent>, DomainError> {
    match find(tools, name, version)?.state {
        ToolState::Removed => Ok(vec![]),
        ToolState::Active | ToolState::Deprecated => Ok(vec![
            ToolRemoved {
                name: name.to_owned(),
                version: version.to_owned(),
                reason: reason.map(cut),
            }
            .into(),
        ]),
    }
}

fn find<'a>(tools: &'a Tools, name: &str, version: &str) -> Result<&'a Registered, DomainError> {
    let missing = || DomainError::NotFound {
        what: "tool",
        id: label(name, version),
    };
    tools.version(name, version).ok_or_else(missing)
}

fn state(name: &str, version: &str, state: &str, action: &'static str) -> DomainError {
    DomainError::WrongState {
        what: "tool",
        id: label(name, version),
        state: state.to_owned(),
        action,
    }
}

fn label(name: &str, version: &str) -> String {
    let cut = |text: &str| text.chars().take(64).collect::<String>();
    format!("{}@{}", cut(name), cut(version))
}

fn cut(reason: String) -> String {
    reason.chars().take(MOST_REASON_CHARS).collect()
}
