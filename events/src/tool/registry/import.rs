//! `tool.import`: definitions that a server gave are registered under versions that only grow.
//!
//! A server says which version it is, not whether its tools have changed since; so a definition that
//! is not the newest one's gets a version of its own, whatever the server says. The alternative, to
//! put the digest into the version, orders nothing.

use semver::Version;

use super::{Registered, ToolState, Tools, ToolsEvent, decide};
use crate::error::DomainError;
use crate::tool::{ToolDefinition, ToolKind, ToolRef};

/// Accepts a tool of a server; the same one again is no event. `exact` takes its version and no
/// other.
///
/// # Errors
/// It is not well formed, the name is another tool's, `exact` names a version that is taken, or there
/// are too many.
pub fn import(
    tools: &Tools,
    draft: ToolDefinition,
    exact: bool,
) -> Result<Vec<ToolsEvent>, DomainError> {
    if tools
        .tools
        .get(&draft.name)
        .is_some_and(|versions| versions.values().any(|found| is_other(found, &draft.kind)))
    {
        let reason = format!("{} is the name of another tool; set a prefix", draft.name);
        return Err(DomainError::invalid("name", reason));
    }
    if exact {
        return decide::register(tools, draft);
    }
    let newest = tools.resolve(ToolRef {
        name: &draft.name,
        version: None,
    });
    if newest.is_some_and(|newest| is_same(&newest.definition, &draft)) {
        return Ok(vec![]);
    }
    let version = next(tools, &draft);
    decide::register(tools, ToolDefinition { version, ..draft })
}

/// The newest version that has this definition and can be had.
pub fn held<'a>(tools: &'a Tools, draft: &ToolDefinition) -> Option<&'a Registered> {
    let versions = tools.tools.get(&draft.name)?;
    (versions.values().rev())
        .find(|found| found.state != ToolState::Removed && is_same(&found.definition, draft))
}

/// Whether a version is something else than this tool of this server.
fn is_other(found: &Registered, kind: &ToolKind) -> bool {
    found.state != ToolState::Removed && found.definition.kind != *kind
}

fn is_same(found: &ToolDefinition, draft: &ToolDefinition) -> bool {
    let version = found.version.clone();
    *found
        == ToolDefinition {
            version,
            ..draft.clone()
        }
}

/// The version that is wanted, or the one after the highest where that is not below it.
fn next(tools: &Tools, draft: &ToolDefinition) -> String {
    let highest = (tools.tools.get(&draft.name)).and_then(|versions| versions.keys().next_back());
    match (Version::parse(&draft.version), highest) {
        (Ok(wanted), Some(highest)) if wanted <= *highest => {
            // After a preview comes the version that it was one of.
            let step = u64::from(highest.pre.is_empty());
            let patch = highest.patch.saturating_add(step);
            Version::new(highest.major, highest.minor, patch).to_string()
        }
        _ => draft.version.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::json;

    use super::*;
    use crate::aggregate::{Aggregate, Position};

    fn draft(version: &str, description: &str) -> ToolDefinition {
        serde_json::from_value(json!({
            "name": "time_now", "version": version, "description": description,
            "category": "mcp", "kind": "mcp", "server": "time", "tool": "now",
            "input_schema": { "type": "object" },
        }))
        .unwrap()
    }

    /// Imports and gives the version that is had then, and whether it is new.
    fn step(tools: &mut Tools, draft: ToolDefinition) -> (String, bool) {
        let events = import(tools, draft.clone(), false).unwrap();
        for event in &events {
            tools.evolve(event, Position::default());
        }
        let held = held(tools, &draft).unwrap();
        (held.definition.version.clone(), !events.is_empty())
    }

    #[test]
    fn what_has_not_changed_is_no_event_and_what_has_gets_a_higher_version() {
        let mut tools = Tools::default();
        let mut said = |version: &str, description: &str| {
            let (version, new) = step(&mut tools, draft(version, description));
            format!("{version} {new}")
        };
        assert_eq!(said("1.2.0", "a"), "1.2.0 true");
        assert_eq!(said("1.2.0", "a"), "1.2.0 false");
        // Another version of the server, the same tool.
        assert_eq!(said("1.3.0", "a"), "1.2.0 false");
        assert_eq!(said("1.2.0", "b"), "1.2.1 true");
        assert_eq!(said("2.0.0-rc.1", "c"), "2.0.0-rc.1 true");
        assert_eq!(said("1.0.0", "d"), "2.0.0 true");
        // Back to what it was once: whoever names no version gets it all the same.
        assert_eq!(said("1.2.0", "a"), "2.0.1 true");
    }

    #[test]
    fn another_tool_of_the_name_is_not_replaced() {
        let mut tools = Tools::default();
        step(&mut tools, draft("1.0.0", "a"));
        let mut other = draft("1.0.0", "a");
        other.kind = ToolKind::Mcp {
            server: "clock".into(),
            tool: "now".into(),
        };
        let error = import(&tools, other, false).unwrap_err().to_string();
        assert!(error.contains("another tool"), "{error}");
        let error = import(&tools, draft("1.0.0", "b"), true).unwrap_err();
        assert!(matches!(error, DomainError::WrongState { .. }), "{error:?}");
    }
}
