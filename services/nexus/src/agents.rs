//! Which models an agent prefers: checked once, at the start, against the models that are served.
//! A name that nobody serves would otherwise be found out by a run, hours later.

use std::collections::BTreeMap;

use nexus_events::agent;
use nexus_events::catalog::{Begin, Catalog};
use nexus_llm::cache::{CacheConfig, CacheError, Caches};
use serde::Deserialize;

/// What is configured of an agent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AgentConfig {
    /// Its models, the preferred one first; the ledger may move a run to a cheaper one of them, and
    /// one that does not answer is left for the next. Without any, the default model.
    pub(crate) models: Vec<String>,
    /// Whether answers of its models are given again, and what that costs.
    pub(crate) cache: Option<CacheConfig>,
    /// With which of them a run begins that names none.
    pub(crate) strategy: Begins,
    /// The share of each, in the order of the models, with `weighted`; 1 for those without.
    pub(crate) weights: Vec<u32>,
}

/// With which of its models an agent's run begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Begins {
    /// The first.
    #[default]
    Priority,
    /// By weight.
    Weighted,
    /// The cheapest.
    LeastCost,
}

/// With which of its models a run of each agent begins, as the catalog holds it.
pub(crate) fn begins(configured: &BTreeMap<String, AgentConfig>) -> BTreeMap<String, Begin> {
    let begin = |config: &AgentConfig| match config.strategy {
        Begins::Priority => Begin::Priority,
        Begins::Weighted => Begin::Weighted(config.weights.clone()),
        Begins::LeastCost => Begin::LeastCost,
    };
    (configured.iter())
        .map(|(name, config)| (name.clone(), begin(config)))
        .collect()
}

/// Agents that cannot be configured so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AgentsError {
    /// There is no such agent.
    #[error("agents.{name} configures an agent that does not exist; there is: {}", known.join(", "))]
    Agent {
        /// The name.
        name: String,
        /// The names that would have been right.
        known: Vec<String>,
    },
    /// Nobody serves the model.
    #[error(
        "agents.{agent}.models names the model {model:?}, which no provider serves; known are: {}",
        known.join(", ")
    )]
    Model {
        /// The agent.
        agent: String,
        /// The model.
        model: String,
        /// The names that would have been right.
        known: Vec<String>,
    },
}

/// The models of each agent, as the catalog holds them.
///
/// # Errors
/// [`AgentsError`]: a name that is not known.
pub(crate) fn models(
    configured: &BTreeMap<String, AgentConfig>,
    catalog: &Catalog,
) -> Result<BTreeMap<String, Vec<String>>, AgentsError> {
    let mut agents = BTreeMap::new();
    for (name, config) in configured {
        if agent::newest(name).is_none() {
            let known = agent::all().iter().map(|agent| agent.name.to_owned());
            let (name, known) = (name.clone(), known.collect());
            return Err(AgentsError::Agent { name, known });
        }
        if let Some(model) = (config.models.iter()).find(|model| catalog.get(model).is_none()) {
            return Err(AgentsError::Model {
                agent: name.clone(),
                model: model.clone(),
                known: catalog.models.keys().cloned().collect(),
            });
        }
        agents.insert(name.clone(), config.models.clone());
    }
    Ok(agents)
}

/// The caches of the agents that have one.
///
/// # Errors
/// [`CacheError`]: one that cannot be configured so.
pub(crate) fn caches(configured: &BTreeMap<String, AgentConfig>) -> Result<Caches, CacheError> {
    let caches = configured.iter();
    Caches::new(
        caches
            .filter_map(|(name, config)| Some((name.clone(), config.cache.clone()?)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::catalog::{ModelInfo, Price};

    use super::*;
    use crate::config::Config;

    fn agents(toml: &str) -> Result<BTreeMap<String, Vec<String>>, AgentsError> {
        let config: Config = toml::from_str(toml).unwrap();
        let model = ModelInfo {
            provider: "test".to_owned(),
            others: vec![],
            context_tokens: 8_000,
            max_output_tokens: 1_000,
            price: Price::default(),
            tokenizer: None,
        };
        let models = ["big", "small"].map(|name| (name.to_owned(), model.clone()));
        let catalog = Catalog {
            models: models.into(),
            ..Catalog::default()
        };
        super::models(&config.agents, &catalog)
    }

    #[test]
    fn an_agents_models_keep_their_order() {
        let agents = agents("[agents.default]\nmodels = [\"small\", \"big\"]").unwrap();
        assert_eq!(agents["default"], ["small", "big"]);
    }

    #[test]
    fn names_that_are_not_known_are_refused_with_those_that_are() {
        let refused = |toml| agents(toml).unwrap_err().to_string();
        let error = refused("[agents.default]\nmodels = [\"small\", \"bog\"]");
        assert_eq!(
            error,
            "agents.default.models names the model \"bog\", which no provider serves; \
             known are: big, small"
        );
        let error = refused("[agents.defualt]\nmodels = [\"small\"]");
        assert!(error.contains("agents.defualt") && error.ends_with("there is: default"));
    }
}
