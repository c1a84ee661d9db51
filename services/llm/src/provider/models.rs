//! The registry: from a model's name to who serves it, what it may use and what it costs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use nexus_events::catalog::{self, Catalog, Price, Tokenizer};

use super::capability::{self, Capabilities, Capability, Checked};
use super::config::{ModelConfig, ProviderConfig, ProviderKind};
use super::local::EndpointResolver;
use super::price::{CEILING, FREE, PriceSource};
use super::{Provider, environment, price, remote};

/// Limits of a model of which nothing is known: small enough for any server.
const DEFAULT_CONTEXT_TOKENS: u64 = 32_768;
const DEFAULT_MAX_OUTPUT_TOKENS: u64 = 4_096;

/// The embedded model's name, context and most output, unless configured otherwise.
const LOCAL_PROVIDER: &str = "local";
const LOCAL_MODEL: &str = "qwen2.5-coder-0.5b-instruct";
const LOCAL_CONTEXT_TOKENS: u64 = 8_192;
const LOCAL_MAX_OUTPUT_TOKENS: u64 = 2_048;

/// What the registry is built from.
#[derive(Clone)]
pub struct Settings {
    /// Configured providers. Those that serve one name are the endpoints of its route, in this order.
    pub providers: Vec<ProviderConfig>,
    /// The model for callers that name none. Without it: `OPENAI_MODEL`, OpenAI's usual one where
    /// its key is set, the same of Anthropic, the first configured one, the local one.
    pub default_model: Option<String>,
    /// The price of models that have none.
    pub price_ceiling: Price,
    /// Starts the local model and says where it is; without it there is none.
    pub local_endpoint: Option<EndpointResolver>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            default_model: None,
            price_ceiling: CEILING,
            local_endpoint: None,
        }
    }
}

/// A configuration that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Two providers have one name.
    #[error("two providers are named {0:?}: give one of them another name")]
    DuplicateProvider(String),
    /// The key's variable is not set.
    #[error("provider {provider:?} takes its key from {variable}, which is not set")]
    MissingKey {
        /// The provider.
        provider: String,
        /// The variable.
        variable: String,
    },
    /// The base URL cannot be used.
    #[error("provider {provider:?} has an unusable base_url: {reason}")]
    BaseUrl {
        /// The provider.
        provider: String,
        /// Why.
        reason: String,
    },
    /// The key cannot be sent as a header.
    #[error("the key of provider {0:?} has characters that no key has")]
    UnusableKey(String),
    /// The key is given twice.
    #[error("provider {0:?} has api_key_file and another key: keep one of them")]
    TwoKeys(String),
    /// The key's file cannot be read.
    #[error("the key of provider {provider:?} cannot be read from {}", path.display())]
    KeyFile {
        /// The provider.
        provider: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client could not be built.
    #[error("the HTTP client of provider {provider:?} could not be built")]
    Client {
        /// The provider.
        provider: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No TLS implementation was installed before.
    #[error("no TLS provider is installed: the program must install one before it builds clients")]
    NoTls,
    /// A local provider is configured, but nothing can start its model.
    #[error("provider {0:?} is local, but this program has no local model")]
    NoLocalModel(String),
    /// The default model is not served.
    #[error("the default model is not served")]
    DefaultModel(#[source] UnknownModel),
}

/// A model's name that nobody serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no provider serves the model {name:?}; known are: {}", known.join(", "))]
pub struct UnknownModel {
    /// The name that was asked for; empty where none was and there is no default.
    pub name: String,
    /// The names that would have been served.
    pub known: Vec<String>,
}

/// What is known of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name that callers use.
    pub name: String,
    /// The provider's name.
    pub provider: String,
    /// The name at the provider.
    pub wire_name: String,
    /// Tokens of prompt and answer together.
    pub context_tokens: u64,
    /// Most tokens of an answer.
    pub max_output_tokens: u64,
    /// What it costs.
    pub price: Price,
    /// Who said what it costs.
    pub price_source: PriceSource,
    /// It bills tokens that it does not show.
    pub reasoning: bool,
    /// How its prompts are counted, where that is known.
    pub tokenizer: Option<Tokenizer>,
    /// Bound on the tokens that its provider tells it of tools by itself, and bills.
    pub tool_overhead_tokens: u64,
    /// What it can do. [`Resolved::provider`] refuses the rest before anything is sent.
    pub capabilities: Capabilities,
}

/// A model and who serves it.
#[derive(Clone)]
pub struct Resolved {
    /// Who serves it.
    pub provider: Arc<dyn Provider>,
    /// What is known of it.
    pub model: ModelInfo,
}

/// All models that can be asked.
pub struct Models {
    /// By name, bare and as `provider/name`: its endpoints, of which a name has one at least.
    entries: BTreeMap<String, Vec<Resolved>>,
    /// Bare names in the order of configuration.
    order: Vec<String>,
    default: Option<String>,
}

impl Models {
    /// Builds providers and registry. `env` looks environment variables up: those that the
    /// configuration names for keys, and the vendors' usual ones, which add providers `openai` and
    /// `anthropic` unless those are configured.
    pub fn build(
        settings: Settings,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let Settings {
            mut providers,
            mut default_model,
            price_ceiling,
            local_endpoint,
        } = settings;
        for (config, default) in environment::providers(env) {
            if !providers.iter().any(|p| p.name == config.name) {
                default_model = default_model.or(default);
                providers.push(config);
            }
        }
        let has_local = providers.iter().any(|p| p.kind == ProviderKind::Local);
        if local_endpoint.is_some() && !has_local {
            providers.push(ProviderConfig::new(LOCAL_PROVIDER, ProviderKind::Local));
        }
        let mut models = Self {
            entries: BTreeMap::new(),
            order: Vec::new(),
            default: default_model,
        };
        let mut names = Vec::new();
        for config in providers {
            if names.contains(&config.name) {
                return Err(ConfigError::DuplicateProvider(config.name));
            }
            names.push(config.name.clone());
            models.add(config, env, price_ceiling, local_endpoint.as_ref())?;
        }
        if let Some(default) = &models.default {
            models.resolve(default).map_err(ConfigError::DefaultModel)?;
        }
        Ok(models)
    }

    /// Who serves the model of this name first, bare or as `provider/name`.
    pub fn resolve(&self, name: &str) -> Result<Resolved, UnknownModel> {
        let first = self.endpoints(name)?.first().cloned();
        first.ok_or_else(|| self.unknown(name))
    }

    /// All who serve it, in the order of configuration: one where a provider is named.
    pub fn endpoints(&self, name: &str) -> Result<&[Resolved], UnknownModel> {
        let entry = self.entries.get(name);
        entry.map(Vec::as_slice).ok_or_else(|| self.unknown(name))
    }

    /// The model for callers that name none.
    pub fn default_model(&self) -> Result<Resolved, UnknownModel> {
        let answers = |name: &&String| {
            let endpoints = self.entries.get(*name);
            endpoints.is_some_and(|endpoints| endpoints.iter().any(converses))
        };
        match self.default.as_ref().or(self.order.iter().find(answers)) {
            Some(name) => self.resolve(name),
            None => Err(self.unknown("")),
        }
    }

    /// All models, in the order of configuration.
    pub fn list(&self) -> impl Iterator<Item = &ModelInfo> {
        self.order
            .iter()
            .filter_map(|name| self.entries.get(name)?.first())
            .map(|entry| &entry.model)
    }

    /// What the other roles are told: every name, bare and qualified, of what answers conversations, and
    /// of what makes vectors. Which agent prefers which model is not known here.
    pub fn catalog(&self) -> Catalog {
        let all_that = |can: Capability| {
            let of = move |(name, entry): (&String, &Vec<Resolved>)| {
                Some((name.clone(), bound_of_all(entry, can)?))
            };
            self.entries.iter().filter_map(of).collect()
        };
        Catalog {
            default_model: self
                .default_model()
                .map(|r| r.model.name)
                .unwrap_or_default(),
            models: all_that(Capability::Chat),
            embedders: all_that(Capability::Embeddings),
            price_version: self.price_version(),
            agents: BTreeMap::new(),
            begins: BTreeMap::new(),
            tool_overhead_tokens: (self.entries.iter())
                .map(|(name, endpoints)| (name.clone(), most_overhead(endpoints)))
                .filter(|(_, tokens)| *tokens > 0)
                .collect(),
        }
    }

    /// The date of the built-in prices, and where the configuration states others, a digest of them.
    fn price_version(&self) -> String {
        // Qualified names have one endpoint each, and are all that there are.
        let configured = (self.entries.iter())
            .flat_map(|(name, entry)| entry.iter().map(move |endpoint| (name, &endpoint.model)))
            .filter(|(_, model)| model.price_source == PriceSource::Configured)
            .map(|(name, model)| (name.as_str(), model.price));
        price::version(configured)
    }

    fn unknown(&self, name: &str) -> UnknownModel {
        UnknownModel {
            name: name.to_owned(),
            known: self.order.clone(),
        }
    }

    fn add(
        &mut self,
        mut config: ProviderConfig,
        env: &dyn Fn(&str) -> Option<String>,
        ceiling: Price,
        local: Option<&EndpointResolver>,
    ) -> Result<(), ConfigError> {
        if let (None, Some(variable)) = (&config.api_key, &config.api_key_env) {
            let key = env(variable).filter(|key| !key.is_empty());
            let missing = || ConfigError::MissingKey {
                provider: config.name.clone(),
                variable: variable.clone(),
            };
            config.api_key = Some(key.ok_or_else(missing)?.into());
        }
        if config.kind == ProviderKind::Local && config.models.is_empty() {
            config.models.push(ModelConfig::named(LOCAL_MODEL));
        }
        let provider = remote::connect(&config, local)?;
        for model in &config.models {
            let model = info(&config, model, ceiling);
            let can = model.capabilities.clone();
            self.register(Resolved {
                provider: Arc::new(Checked::new(provider.clone(), &model.name, can)),
                model,
            });
        }
        Ok(())
    }

    fn register(&mut self, entry: Resolved) {
        let name = entry.model.name.clone();
        let qualified = format!("{}/{name}", entry.model.provider);
        let one = self.entries.entry(qualified).or_default();
        if !one.is_empty() {
            // The provider names the model twice.
            return;
        }
        one.push(entry.clone());
        if !self.entries.contains_key(&name) {
            self.order.push(name.clone());
        }
        self.entries.entry(name).or_default().push(entry);
    }
}

/// What bounds a call of this name whichever endpoint it takes: the dearest price, the least room,
/// and a tokenizer only where all have the same.
fn bound_of_all(endpoints: &[Resolved], can: Capability) -> Option<catalog::ModelInfo> {
    let mut models = (endpoints.iter())
        .map(|endpoint| &endpoint.model)
        .filter(|model| model.capabilities.contains(&can));
    let first = models.next()?;
    let mut bound = catalog::ModelInfo {
        provider: first.provider.clone(),
        others: vec![],
        context_tokens: first.context_tokens,
        max_output_tokens: first.max_output_tokens,
        price: first.price,
        tokenizer: first.tokenizer,
    };
    for model in models {
        bound.others.push(model.provider.clone());
        bound.context_tokens = bound.context_tokens.min(model.context_tokens);
        bound.max_output_tokens = bound.max_output_tokens.min(model.max_output_tokens);
        bound.price = bound.price.or_dearer(model.price);
        bound.tokenizer = bound.tokenizer.filter(|own| model.tokenizer == Some(*own));
    }
    Some(bound)
}

/// Of the endpoint that adds the most.
fn most_overhead(endpoints: &[Resolved]) -> u64 {
    let each = endpoints
        .iter()
        .map(|entry| entry.model.tool_overhead_tokens);
    each.max().unwrap_or(0)
}

fn converses(entry: &Resolved) -> bool {
    entry.model.capabilities.contains(&Capability::Chat)
}

/// What the configuration says of a model, and where it is silent, the table and the defaults.
fn info(provider: &ProviderConfig, model: &ModelConfig, ceiling: Price) -> ModelInfo {
    let wire_name = model.wire_name.as_ref().unwrap_or(&model.name);
    let local = provider.kind == ProviderKind::Local;
    let known = price::find(wire_name).filter(|_| !local);
    let (price, price_source) = match (model.price, known) {
        (Some(price), _) => (price, PriceSource::Configured),
        (None, Some(known)) => (known.price, PriceSource::BuiltIn),
        (None, None) if local => (FREE, PriceSource::BuiltIn),
        (None, None) => (ceiling, PriceSource::Ceiling),
    };
    let (context, output) = match known {
        Some(known) => (known.context_tokens, known.max_output_tokens),
        None if local => (LOCAL_CONTEXT_TOKENS, LOCAL_MAX_OUTPUT_TOKENS),
        None => (DEFAULT_CONTEXT_TOKENS, DEFAULT_MAX_OUTPUT_TOKENS),
    };
    ModelInfo {
        name: model.name.clone(),
        provider: provider.name.clone(),
        wire_name: wire_name.clone(),
        context_tokens: model.context_tokens.unwrap_or(context),
        max_output_tokens: model.max_output_tokens.unwrap_or(output),
        price,
        price_source,
        reasoning: model
            .reasoning
            .unwrap_or(known.is_some_and(|k| k.reasoning)),
        tokenizer: model.tokenizer.or(known.and_then(|k| k.tokenizer)),
        tool_overhead_tokens: (model.tool_overhead_tokens)
            .unwrap_or_else(|| provider.kind.tool_overhead_tokens()),
        capabilities: (model.capabilities.clone())
            .unwrap_or_else(|| known.map_or_else(capability::usual, |k| k.capabilities())),
    }
}
