//! A tenant's own tools: one aggregate, like its policy. A version never changes: the same name and
//! version with another digest is refused. Deprecated versions are taken only by whoever names them,
//! removed ones by nobody; the runs that began with one keep it, so that nothing is forgotten here.

mod decide;
mod import;
mod validate;

pub use decide::{deprecate, register, remove};
pub use import::{held, import};
pub use validate::{MOST_DEFINITION_BYTES, validate};

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ToolDefinition, ToolPin, ToolRef, builtin};
use crate::aggregate::{Aggregate, AggregateKind, Position, events};
use crate::error::DomainError;

events! {
    /// What a registry of tools records.
    ToolsEvent {
        /// A version of a tool was accepted.
        ToolRegistered(ToolRegistered) = "nexus.tools.registered.v1",
        /// From here on only those who name the version get it.
        ToolDeprecated(ToolDeprecated) = "nexus.tools.deprecated.v1",
        /// From here on nobody gets it; the runs that have it keep it.
        ToolRemoved(ToolRemoved) = "nexus.tools.removed.v1",
    }
}

/// A version of a tool was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolRegistered {
    /// Digest of the definition, `sha256:<hex>`.
    pub digest: String,
    /// The tool; long sources and modules by content address.
    pub definition: Box<ToolDefinition>,
}

/// Only those who name the version get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolDeprecated {
    /// The tool.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Nobody gets the version any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolRemoved {
    /// The tool.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A tenant's tools.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// By name, then by version in semantic order.
    tools: BTreeMap<String, BTreeMap<Version, Registered>>,
    versions: usize,
}

/// A version, and whether it can be had.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The tool.
    pub definition: Arc<ToolDefinition>,
    /// Digest of the definition.
    pub digest: String,
    /// Whether it can be had.
    pub state: ToolState,
}

/// Whether a version can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// By whoever names the tool.
    Active,
    /// By whoever names the version.
    Deprecated,
    /// By nobody who has not got it.
    Removed,
}

impl ToolState {
    /// As in the read model.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Removed => "removed",
        }
    }
}

impl Tools {
    /// One version, whatever its state: for the runs that hold it.
    pub fn version(&self, name: &str, version: &str) -> Option<&Registered> {
        self.tools.get(name)?.get(&Version::parse(version).ok()?)
    }

    /// What whoever names it gets: the version that is named, or the newest that is not deprecated.
    /// Previews (`2.0.0-rc.1`) are taken only by name, unless there is nothing else.
    pub fn resolve(&self, reference: ToolRef<'_>) -> Option<&Registered> {
        if let Some(version) = reference.version {
            let found = self.version(reference.name, version)?;
            return (found.state != ToolState::Removed).then_some(found);
        }
        let versions = self.tools.get(reference.name)?;
        (versions.iter())
            .filter(|(_, found)| found.state == ToolState::Active)
            .max_by_key(|(version, _)| (version.pre.is_empty(), *version))
            .map(|(_, found)| found)
    }

    /// All versions of all tools.
    pub fn all(&self) -> impl Iterator<Item = &Registered> {
        self.tools.values().flat_map(BTreeMap::values)
    }

    fn versions_of(&self, name: &str) -> usize {
        self.tools.get(name).map_or(0, BTreeMap::len)
    }

    fn set(&mut self, name: &str, version: &str, state: ToolState) {
        let found = Version::parse(version).ok();
        let versions = self.tools.get_mut(name);
        if let Some(found) = found.and_then(|version| versions?.get_mut(&version)) {
            found.state = state;
        }
    }
}

impl Aggregate for Tools {
    const KIND: AggregateKind = AggregateKind::Tools;
    type Event = ToolsEvent;

    fn evolve(&mut self, event: &ToolsEvent, _: Position) {
        match event {
            ToolsEvent::ToolRegistered(registered) => {
                let definition = &registered.definition;
                let Ok(version) = Version::parse(&definition.version) else {
                    return;
                };
                let entry = Registered {
                    definition: Arc::new(ToolDefinition::clone(definition)),
                    digest: registered.digest.clone(),
                    state: ToolState::Active,
                };
                let versions = self.tools.entry(definition.name.clone()).or_default();
                self.versions += usize::from(versions.insert(version, entry).is_none());
            }
            ToolsEvent::ToolDeprecated(deprecated) => {
                self.set(&deprecated.name, &deprecated.version, ToolState::Deprecated);
            }
            ToolsEvent::ToolRemoved(removed) => {
                self.set(&removed.name, &removed.version, ToolState::Removed);
            }
        }
    }
}

/// Which of the versions of a tool whoever names none gets: as [`Tools::resolve`] has it.
pub fn default_version<'a>(
    versions: impl IntoIterator<Item = (&'a str, ToolState)>,
) -> Option<&'a str> {
    (versions.into_iter())
        .filter(|(_, state)| *state == ToolState::Active)
        .filter_map(|(text, _)| Some((Version::parse(text).ok()?, text)))
        .max_by_key(|(version, _)| (version.pre.is_empty(), version.clone()))
        .map(|(_, text)| text)
}

/// What a run keeps of the tools that it names and that are not built in.
///
/// # Errors
/// [`DomainError::Invalid`]: there is no such tool, or two versions of one are named.
pub fn pins(named: &[String], registry: &Tools) -> Result<BTreeMap<String, ToolPin>, DomainError> {
    let mut pins = BTreeMap::new();
    for text in named {
        let reference = ToolRef::parse(text);
        if let Some(pin) = builtin::pin(reference.name) {
            if reference
                .version
                .is_some_and(|version| version != pin.version)
            {
                return Err(unknown(text, registry));
            }
            continue;
        }
        let found = registry
            .resolve(reference)
            .ok_or_else(|| unknown(text, registry))?;
        let pin = ToolPin::of(&found.definition, found.digest.clone());
        let before = pins.insert(reference.name.to_owned(), pin.clone());
        if before.is_some_and(|before: ToolPin| before.version != pin.version) {
            let reason = format!("two versions of {} are named; take one", reference.name);
            return Err(DomainError::invalid("tools", reason));
        }
    }
    Ok(pins)
}

/// Tools of a run that no build has built in: only then is the registry asked.
pub fn needs_registry(named: &[String]) -> bool {
    (named.iter()).any(|text| builtin::pin(ToolRef::parse(text).name).is_none())
}

fn unknown(text: &str, registry: &Tools) -> DomainError {
    const SHOWN: usize = 32;
    let text: String = text.chars().take(96).collect();
    let builtin = builtin::all().iter().map(|tool| tool.name);
    let known: Vec<_> = builtin
        .chain(registry.tools.keys().map(String::as_str))
        .take(SHOWN)
        .collect();
    let reason = format!("{text:?} is not known here; known: {}", known.join(", "));
    DomainError::invalid("tools", reason)
}

/// Digest of a definition: over its JSON, whose keys are in order.
pub fn digest_of(definition: &ToolDefinition) -> String {
    // By way of a value: its maps are sorted, a struct's fields are not.
    let text = serde_json::to_value(definition).map(|value| value.to_string());
    let digest = Sha256::digest(text.unwrap_or_default());
    format!("sha256:{}", hex::encode(digest))
}

#[cfg(test)]
mod tests;
