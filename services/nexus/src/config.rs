//! One configuration: `nexus.toml`, one struct a part, environment variables `NEXUS_<PART>_<FIELD>`
//! over it. There is no third layer; command-line flags name files and addresses only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nexus_bus::seal::{SealKey, SealKeyError, Seals};
use nexus_bus::{BusConfig, Credentials};
use nexus_content::FilterConfig;
use nexus_events::webhook::SigningKey;
use nexus_gateway::GatewayConfig;
use nexus_llm::provider::ProviderConfig;
use nexus_llm::route::{BreakerConfig, RouteConfig};
use nexus_webhooks::WebhooksConfig;
use serde::Deserialize;

use crate::agents::AgentConfig;
use crate::cli::Configured;
use crate::monitor::MonitorConfig;
use crate::retention::RetentionConfig;
use crate::tools::ToolsConfig;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The bus.
    pub(crate) nats: NatsConfig,
    /// The database of the read models.
    pub(crate) database: DatabaseConfig,
    /// The HTTP gateway.
    pub(crate) gateway: GatewayConfig,
    /// Models and who serves them.
    pub(crate) models: ModelsConfig,
    /// Agents, by name.
    pub(crate) agents: BTreeMap<String, AgentConfig>,
    /// Tools.
    pub(crate) tools: ToolsConfig,
    /// Webhooks.
    pub(crate) webhooks: WebhooksConfig,
    /// Bounds.
    pub(crate) limits: LimitsConfig,
    /// How long things are kept.
    pub(crate) retention: RetentionConfig,
    /// Logs and traces.
    pub(crate) telemetry: TelemetryConfig,
    /// Where each process is asked how it is.
    pub(crate) monitor: MonitorConfig,
    /// By how much the clock that roles see is ahead. Only `nexus role` can say so.
    #[serde(skip)]
    pub(crate) clock_offset_ms: i64,
}

/// The bus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NatsConfig {
    /// `nats://[user:password@]host:port`, several separated by commas. `nexus up` starts its own
    /// server and needs none.
    pub(crate) url: Option<String>,
    /// Nodes that hold each stream: 1 or 3.
    pub(crate) replicas: Option<usize>,
    /// Certificate authority of the server, where the system does not know it.
    pub(crate) root_certificate: Option<PathBuf>,
    /// Credentials file as `nsc` writes it.
    pub(crate) credentials_file: Option<PathBuf>,
    /// File with the seed of an NKey, as `nexus tenants config` writes it.
    pub(crate) nkey_file: Option<PathBuf>,
    /// File with the key that commands are sealed with: 64 hexadecimal digits.
    pub(crate) seal_file: Option<PathBuf>,
    /// Whether who sends a command is believed only under a seal.
    pub(crate) require_seals: bool,
}

/// The database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`. `nexus up` starts its own.
    pub(crate) url: Option<String>,
}

/// Models and who serves them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelsConfig {
    /// The model of a run that names none.
    pub(crate) default: Option<String>,
    /// Providers; `OPENAI_API_KEY` or `OPENAI_BASE_URL` add one named `openai`, and those of
    /// `ANTHROPIC_` one named `anthropic`.
    pub(crate) providers: Vec<ProviderConfig>,
    /// Whether the embedded model is offered; it is, unless this says no.
    pub(crate) local: Option<bool>,
    /// Threads of the embedded model; 1 unless this says more.
    pub(crate) local_threads: Option<u16>,
    /// How calls of one model are shared out among those who serve it, by its name.
    pub(crate) routes: BTreeMap<String, RouteConfig>,
    /// When an endpoint that fails is left alone.
    pub(crate) breaker: BreakerConfig,
    /// What may not pass between callers and models.
    pub(crate) filter: FilterConfig,
}

/// Bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsConfig {
    /// Length of a run's input, in bytes.
    pub(crate) input_bytes: usize,
    /// Length of a text in the object store, in bytes.
    pub(crate) object_bytes: u64,
    /// Aggregates of each kind that a process keeps in memory.
    pub(crate) cached_aggregates: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            input_bytes: 1024 * 1024,
            object_bytes: 16 * 1024 * 1024,
            cached_aggregates: 10_000,
        }
    }
}

/// Logs and traces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    /// Which log lines are written: `info`, or `info,nexus_bus=debug`.
    pub(crate) log: Option<String>,
    /// `text` or `json`; text on a terminal and JSON otherwise, unless this says which.
    pub(crate) log_format: Option<LogFormat>,
    /// Where traces go by OTLP over gRPC; `OTEL_EXPORTER_OTLP_ENDPOINT` is honoured too.
    pub(crate) otlp_endpoint: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it must be.
    #[error("the configuration {path} is not valid: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// Something that is needed is not there.
    #[error("{what} is not configured: set {variable}, or {key} in nexus.toml")]
    Missing {
        /// What.
        what: &'static str,
        /// Its environment variable.
        variable: &'static str,
        /// Its place in the file.
        key: &'static str,
    },
}

impl Config {
    /// Reads the file (`nexus.toml` in the working directory when none is named and it exists) and
    /// the environment over it.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that cannot be read, an unknown or ill-typed field.
    pub(crate) fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let default = Path::new("nexus.toml");
        let path = file.or_else(|| default.exists().then_some(default));
        let text = match path {
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?,
            None => String::new(),
        };
        let path = path.unwrap_or(default);
        let invalid = |message: String| ConfigError::Invalid {
            path: path.to_owned(),
            message,
        };
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        overlay(&mut table, env);
        table
            .try_into()
            .map_err(|error: toml::de::Error| invalid(error.to_string()))
    }

    /// What client commands that talk to the servers themselves need to know.
    pub(crate) fn servers(&self) -> Configured {
        let bus = self.bus("nexus-cli").ok();
        Configured {
            bus,
            database_url: self.database.url.clone(),
        }
    }

    /// How the bus is reached.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub(crate) fn bus(&self, name: &str) -> Result<BusConfig, ConfigError> {
        let url = self.nats.url.as_deref().ok_or(ConfigError::Missing {
            what: "the address of NATS",
            variable: "NEXUS_NATS_URL",
            key: "nats.url",
        })?;
        let mut bus = BusConfig::new(url, name);
        if let Some(path) = &self.nats.credentials_file {
            bus.credentials = Credentials::File(path.clone());
        }
        if let Some(path) = &self.nats.nkey_file {
            bus.credentials = Credentials::Nkey(secret(path)?);
        }
        bus.seals = self.nats.seals()?;
        bus.root_certificate = self.nats.root_certificate.clone();
        bus.replicas = self.nats.replicas.unwrap_or(1);
        Ok(bus)
    }

    /// The key that secrets of webhooks derive from: the one that is named, or that of the seals.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, or holds none.
    pub(crate) fn webhook_key(&self) -> Result<Option<SigningKey>, ConfigError> {
        let given = self
            .webhooks
            .secret
            .as_ref()
            .and_then(|secret| secret.text());
        let file = (self.webhooks.secret_file.as_ref()).or(self.nats.seal_file.as_ref());
        let (text, path) = match (given, file) {
            (Some(text), _) => (text.to_owned(), Path::new("webhooks.secret")),
            (None, Some(path)) => (secret(path)?, path.as_path()),
            (None, None) => return Ok(None),
        };
        let key = SigningKey::parse(&text).map_err(|error| ConfigError::Invalid {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Some(key))
    }

    /// Where the read models are.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub(crate) fn database_url(&self) -> Result<&str, ConfigError> {
        self.database.url.as_deref().ok_or(ConfigError::Missing {
            what: "the address of Postgres",
            variable: "NEXUS_DATABASE_URL",
            key: "database.url",
        })
    }
}

impl NatsConfig {
    fn seals(&self) -> Result<Seals, ConfigError> {
        let key = match &self.seal_file {
            None => None,
            Some(path) => {
                let invalid = |error: SealKeyError| ConfigError::Invalid {
                    path: path.clone(),
                    message: error.to_string(),
                };
                Some(SealKey::parse(&secret(path)?).map_err(invalid)?)
            }
        };
        if self.require_seals && key.is_none() {
            return Err(ConfigError::Missing {
                what: "the key of the seals that are required",
                variable: "NEXUS_NATS_SEAL_FILE",
                key: "nats.seal_file",
            });
        }
        Ok(Seals {
            key,
            required: self.require_seals,
        })
    }
}

fn secret(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// `NEXUS_GATEWAY_LISTEN=…` over `[gateway] listen`. Variables of other parts are not ours.
fn overlay(table: &mut toml::Table, env: impl Iterator<Item = (String, String)>) {
    const PARTS: [&str; 9] = [
        "webhooks",
        "nats",
        "database",
        "gateway",
        "models",
        "limits",
        "retention",
        "telemetry",
        "monitor",
    ];
    for (name, value) in env {
        let name = match name.as_str() {
            "NEXUS_LISTEN" => "NEXUS_GATEWAY_LISTEN",
            "NEXUS_LOG" => "NEXUS_TELEMETRY_LOG",
            name => name,
        };
        let Some(rest) = name.strip_prefix("NEXUS_") else {
            continue;
        };
        let Some((part, field)) = rest.split_once('_') else {
            continue;
        };
        let (part, field) = (part.to_lowercase(), field.to_lowercase());
        if !PARTS.contains(&part.as_str()) {
            continue;
        }
        let value = match (value.parse::<i64>(), value.parse::<bool>()) {
            (Ok(number), _) => toml::Value::Integer(number),
            (_, Ok(flag)) => toml::Value::Boolean(flag),
            _ => toml::Value::String(value),
        };
        let entry = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(part) = entry {
            part.insert(field, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env: Vec<(String, String)> = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::load(None, env.into_iter())
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let config = load(&[
            ("NEXUS_NATS_URL", "nats://u:p%40@h:4222"),
            ("NEXUS_LIMITS_INPUT_BYTES", "7"),
            ("NEXUS_CACHE_DIR", "/x"),
            ("HOME", "/root"),
        ])
        .unwrap();
        assert_eq!(config.limits.input_bytes, 7);
        assert_eq!(config.bus("test").unwrap().url, "nats://u:p%40@h:4222");
    }

    /// The examples of docs/tools.md.
    #[test]
    fn servers_of_tools_are_read_as_documented() {
        let document = include_str!("../../../docs/tools.md");
        let blocks = document.split("```toml\n").skip(1);
        let block = blocks.filter_map(|rest| rest.split("```").next());
        let config: Config = (block.map(|text| toml::from_str(text).unwrap()))
            .find(|config: &Config| !config.tools.mcp.is_empty())
            .unwrap();
        assert_eq!(config.tools.mcp.len(), 2);
        let token = |name: &str| (name == "TICKETS_TOKEN").then(|| "t".to_owned());
        nexus_mcp::Servers::new(config.tools.mcp.clone(), &token).unwrap();
        let error = nexus_mcp::Servers::new(config.tools.mcp, &|_| None).unwrap_err();
        assert!(error.to_string().contains("TICKETS_TOKEN"), "{error}");
    }

    /// The examples of docs/models.md.
    #[test]
    fn filters_and_caches_are_read_as_documented() {
        let document = include_str!("../../../docs/models.md");
        let blocks = document.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let configs: Vec<Config> = blocks.map(|text| toml::from_str(text).unwrap()).collect();
        for config in &configs {
            nexus_content::Filters::new(&config.models.filter).unwrap();
            crate::agents::caches(&config.agents).unwrap();
        }
        assert!(
            configs
                .iter()
                .any(|config| !config.models.filter.tenants.is_empty())
        );
        assert!(configs.iter().any(|config| !config.agents.is_empty()));
    }

    /// The example of docs/models.md.
    #[test]
    fn routes_are_read_as_documented() {
        let document = include_str!("../../../docs/models.md");
        let blocks = document.split("```toml\n").skip(1);
        let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
        let block = blocks.find(|text| text.contains("models.routes")).unwrap();
        let config: Config = toml::from_str(block).unwrap();
        let route = &config.models.routes["gpt-4.1"];
        assert_eq!(route.hedge_after_ms, Some(1_500));
        assert_eq!(route.endpoints["azure"].weight, 3);
        assert_eq!(config.models.breaker.failures, 5);
        assert_eq!(config.agents["default"].models.len(), 2);
    }

    /// The examples of docs/gateway.md.
    #[test]
    fn the_gateway_is_configured_as_documented() {
        let document = include_str!("../../../docs/gateway.md");
        let blocks = document.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let config: Config = toml::from_str(&blocks.collect::<String>()).unwrap();
        let gateway = config.gateway;
        assert_eq!(gateway.limits.requests_per_minute.tenant, Some(6_000));
        assert_eq!(gateway.limits.tenants["acme"].tenant, Some(60_000));
        assert!(gateway.tls.is_some() && !gateway.cors.origins.is_empty());
    }

    /// The example of docs/webhooks.md.
    #[test]
    fn webhooks_are_configured_as_documented() {
        let document = include_str!("../../../docs/webhooks.md");
        let blocks = document.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let config: Config = toml::from_str(&blocks.collect::<String>()).unwrap();
        config.webhooks.settings(None).unwrap();
        assert!(!config.webhooks.allow_private.is_empty());
        let key = "ab".repeat(32);
        let config = load(&[("NEXUS_WEBHOOKS_SECRET", &key)]).unwrap();
        assert!(config.webhook_key().unwrap().is_some());
        let config = load(&[("NEXUS_WEBHOOKS_SECRET", "abc")]).unwrap();
        let error = config.webhook_key().unwrap_err().to_string();
        assert!(
            error.contains("64 hexadecimal") && !error.contains("abc"),
            "{error}"
        );
        let config = load(&[("NEXUS_WEBHOOKS_SECRET", "")]).unwrap();
        assert!(config.webhook_key().unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = load(&[("NEXUS_NATS_ULR", "x")]).unwrap_err().to_string();
        assert!(error.contains("ulr"), "{error}");
        let error = load(&[]).unwrap().bus("test").unwrap_err().to_string();
        assert!(error.contains("NEXUS_NATS_URL"), "{error}");
    }
}
