//! From a server's list of tools to definitions. A list is what a stranger says: names are mapped to
//! what models may call, all is bounded, and whether a tool may be executed twice is the operator's
//! word alone, for the annotations of a server are hints.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use nexus_events::tool::{ToolDefinition, ToolKind, ToolLimits};
use rmcp::model::{JsonObject, Tool};
use semver::Version;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::McpServerConfig;

const MOST_NAME: usize = 64;
const MOST_DESCRIPTION_BYTES: usize = 4_096;
/// Characters of a stranger's name in what we say.
const SHOWN_CHARS: usize = 128;

/// What a server told of its tools.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Its own version.
    pub version: Option<String>,
    pub(crate) tools: Vec<Tool>,
    /// It has more than are taken.
    pub(crate) cut: bool,
}

/// What is to be imported of it.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Tools, as the server names them; all when empty.
    pub tools: &'a [String],
    /// The version that they get; the server's when absent.
    pub version: Option<&'a str>,
}

/// Definitions, and what was left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// To be registered: the tool's name with the server, and its definition.
    pub tools: Vec<ToolDefinition>,
    /// What is not.
    pub refused: Vec<Refused>,
}

/// A tool that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name with the server, shortened.
    pub tool: String,
    /// Why.
    pub reason: String,
}

/// Definitions of the tools of a server that are wanted and may be had.
pub fn imported(config: &McpServerConfig, listing: &Listing, wanted: &Wanted<'_>) -> Imported {
    let mut imported = Imported::default();
    let named = |name: &str| wanted.tools.iter().any(|tool| tool == name);
    let mut taken: Vec<&Tool> = Vec::new();
    for tool in &listing.tools {
        match config.takes(&tool.name) {
            true if wanted.tools.is_empty() || named(&tool.name) => taken.push(tool),
            false if named(&tool.name) => {
                imported.refuse(&tool.name, "the server's configuration leaves it out");
            }
            _ => {}
        }
    }
    for name in wanted.tools {
        if !listing.tools.iter().any(|tool| tool.name == *name) {
            imported.refuse(name, "the server has no such tool");
        }
    }
    if listing.cut && wanted.tools.is_empty() {
        imported.refuse(
            "…",
            "the server has more tools than are taken; name those you want",
        );
    }
    let version = match wanted.version {
        Some(version) => version.to_owned(),
        None => version(listing.version.as_deref()).to_string(),
    };
    let names = names(&config.prefix(), &taken);
    let mut seen = HashMap::new();
    for tool in taken {
        if seen.insert(&tool.name, ()).is_some() {
            imported.refuse(&tool.name, "the server tells of it twice");
            continue;
        }
        let name = names.get(tool.name.as_ref()).cloned().unwrap_or_default();
        imported
            .tools
            .push(definition(config, tool, name, version.clone()));
    }
    imported
}

impl Imported {
    /// Notes what is not taken.
    pub fn refuse(&mut self, tool: &str, reason: impl Into<String>) {
        self.refused.push(Refused {
            tool: tool.chars().take(SHOWN_CHARS).collect(),
            reason: reason.into(),
        });
    }
}

fn definition(
    config: &McpServerConfig,
    tool: &Tool,
    name: String,
    version: String,
) -> ToolDefinition {
    let said = tool.description.as_deref().map(str::trim);
    let said = said
        .filter(|said| !said.is_empty())
        .or(tool.title.as_deref());
    let description = match said {
        Some(said) => cut(said, MOST_DESCRIPTION_BYTES).to_owned(),
        None => format!("The tool {} of {}.", cut(&tool.name, 128), config.name),
    };
    ToolDefinition {
        name,
        version,
        description,
        category: config.category().to_owned(),
        kind: ToolKind::Mcp {
            server: config.name.clone(),
            tool: tool.name.to_string(),
        },
        idempotent: config.is_idempotent(&tool.name),
        reuse_results: false,
        input_schema: input_schema(&tool.input_schema),
        output_schema: tool.output_schema.as_ref().map(schema),
        permissions: config.permissions.clone(),
        limits: ToolLimits {
            timeout: config.timeout(),
            ..ToolLimits::default()
        },
    }
}

/// Arguments are an object whether a server says so or not.
fn input_schema(said: &Arc<JsonObject>) -> Value {
    let mut fields: JsonObject = said.as_ref().clone();
    fields.entry("type").or_insert_with(|| "object".into());
    Value::Object(fields.into_iter().collect())
}

fn schema(said: &Arc<JsonObject>) -> Value {
    Value::Object(said.as_ref().clone().into_iter().collect())
}

/// The server's version where it is a semantic one or nearly so.
fn version(said: Option<&str>) -> Version {
    let said = said.unwrap_or_default().trim().trim_start_matches('v');
    let tries = [said.to_owned(), format!("{said}.0"), format!("{said}.0.0")];
    let found = tries.iter().filter(|text| text.len() <= 48);
    let mut version = found
        .filter_map(|text| Version::parse(text).ok())
        .next()
        .unwrap_or(Version::new(1, 0, 0));
    // It orders nothing, and the registry takes none.
    version.build = semver::BuildMetadata::EMPTY;
    version
}

/// What each tool is called here, in whatever order they are told.
fn names(prefix: &str, tools: &[&Tool]) -> HashMap<String, String> {
    let mut by_name: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for tool in tools {
        let name = mapped(prefix, &tool.name);
        let owners = by_name.entry(name).or_default();
        if !owners.contains(&tool.name.as_ref()) {
            owners.push(&tool.name);
        }
    }
    let mut names = HashMap::new();
    for (name, owners) in by_name {
        for owner in &owners {
            let plain = owners.len() == 1 || format!("{prefix}{owner}") == name;
            let given = match plain {
                true => name.clone(),
                false => marked(&name, owner),
            };
            names.insert((*owner).to_owned(), given);
        }
    }
    names
}

fn mapped(prefix: &str, tool: &str) -> String {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '-') => c,
        _ => '_',
    };
    let name: String = prefix.chars().chain(tool.chars()).map(fit).collect();
    match name.len() > MOST_NAME {
        true => marked(&name, tool),
        false => name,
    }
}

/// With a mark of the whole name, so that two that look alike stay two.
fn marked(name: &str, tool: &str) -> String {
    let digest = hex::encode(Sha256::digest(tool));
    let mark = cut(&digest, 8);
    format!("{}_{mark}", cut(name, MOST_NAME - 9))
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::tool::registry;
    use serde_json::json;

    use super::*;

    fn listing(tools: Value) -> Listing {
        Listing {
            version: Some("2.1".into()),
            tools: serde_json::from_value(tools).unwrap(),
            cut: false,
        }
    }

    fn config() -> McpServerConfig {
        McpServerConfig {
            name: "files".into(),
            ..McpServerConfig::default()
        }
    }

    fn tool(name: &str) -> Value {
        json!({ "name": name, "inputSchema": { "type": "object" } })
    }

    fn names_of(tools: Value) -> Vec<String> {
        let imported = imported(&config(), &listing(tools), &Wanted::default());
        for tool in &imported.tools {
            registry::validate(tool).unwrap();
        }
        imported.tools.into_iter().map(|tool| tool.name).collect()
    }

    #[test]
    fn a_tool_is_taken_as_it_is_and_its_hints_are_not_believed() {
        let mut said = tool("read");
        said["annotations"] = json!({ "readOnlyHint": true, "idempotentHint": true });
        said["outputSchema"] = json!({ "type": "object" });
        let taken = |config: &McpServerConfig| {
            let listing = listing(json!([said]));
            let imported = imported(config, &listing, &Wanted::default());
            imported.tools.into_iter().next().unwrap()
        };
        let read = taken(&config());
        assert_eq!(
            (read.name.as_str(), read.version.as_str()),
            ("files_read", "2.1.0")
        );
        assert!(!read.idempotent && read.output_schema.is_some());
        assert_eq!(read.description, "The tool read of files.");
        let allowed = McpServerConfig {
            idempotent: vec!["re*".into()],
            ..config()
        };
        assert!(taken(&allowed).idempotent);
    }

    #[test]
    fn names_that_models_cannot_say_are_mapped_and_stay_apart() {
        let long = "x".repeat(200);
        let names = names_of(json!([
            tool("Read.File"),
            tool("read_file"),
            tool("read/file"),
            tool(&long),
            tool("é")
        ]));
        assert_eq!(names[1], "files_read_file");
        assert!(
            names[0].starts_with("files_read_file_") && names[2].starts_with("files_read_file_")
        );
        assert_ne!(names[0], names[2]);
        assert_eq!(names[3].len(), 64);
        assert_eq!(names[4], "files__");
        // Whatever order a server tells them in.
        let again = names_of(json!([
            tool("read/file"),
            tool("read_file"),
            tool("Read.File")
        ]));
        assert_eq!(
            [&again[2], &again[1], &again[0]],
            [&names[0], &names[1], &names[2]]
        );
    }

    #[test]
    fn what_is_not_taken_is_said() {
        let mut config = config();
        config.tools = vec!["read*".into()];
        let listing = listing(json!([tool("read"), tool("read"), tool("write")]));
        let all = imported(&config, &listing, &Wanted::default());
        assert_eq!((all.tools.len(), all.refused.len()), (1, 1), "{all:?}");
        let named = ["write".to_owned(), "none".to_owned()];
        let wanted = Wanted {
            tools: &named,
            version: None,
        };
        let none = imported(&config, &listing, &wanted);
        let refused: Vec<_> = none.refused.iter().map(|it| it.tool.as_str()).collect();
        assert_eq!((none.tools.len(), refused), (0, vec!["write", "none"]));
    }

    #[test]
    fn versions_are_semantic_whatever_a_server_says() {
        let of = |said: &str| version(Some(said)).to_string();
        assert_eq!(of("1.2.3+build"), "1.2.3");
        assert_eq!(of("v2"), "2.0.0");
        assert_eq!(of("2025.4.1-rc.1"), "2025.4.1-rc.1");
        assert_eq!(of("yesterday's"), "1.0.0");
        assert_eq!(of(&"1".repeat(100)), "1.0.0");
    }
}
