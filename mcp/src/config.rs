//! What an operator says of a server: `[[tools.mcp]]` in `nexus.toml`.

use std::collections::BTreeMap;
use std::fmt;

use nexus_events::tool::{ByteSize, Permissions, Span};
use serde::Deserialize;
use url::Url;

/// A server of tools: a program (`command`) or an address (`url`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpServerConfig {
    /// What tools and people call it by: 1 to 32 of a-z, 0-9, `_` and `-`.
    pub name: String,
    /// The program that is started and speaks over its standard input and output.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment. Beside it, it gets `PATH`, `HOME` and little else.
    pub env: BTreeMap<String, Secret>,
    /// Variables of our own environment that it gets too.
    pub env_from: Vec<String>,
    /// Its working directory; ours when absent.
    pub dir: Option<std::path::PathBuf>,
    /// The address of a server elsewhere.
    pub url: Option<String>,
    /// Headers of each request to it.
    pub headers: BTreeMap<String, Secret>,
    /// The variable of our environment that holds a bearer token for it.
    pub bearer_env: Option<String>,
    /// Tenants that may import and call its tools; all when empty.
    pub tenants: Vec<String>,
    /// Which of its tools may be imported, as names or beginnings (`get_*`); all when empty.
    pub tools: Vec<String>,
    /// Which of them may be executed twice. What a server says of itself does not count.
    pub idempotent: Vec<String>,
    /// What their names begin with here; the server's name and `_` when absent.
    pub prefix: Option<String>,
    /// What policy sorts them under; `mcp` when absent.
    pub category: Option<String>,
    /// Permissions that their definitions state, for policy to judge. A server is not bound by them.
    pub permissions: Permissions,
    /// How long a call may take; 30 s when absent.
    pub timeout: Option<Span>,
    /// How long a connection may take to be made, the program's start included; 30 s when absent.
    pub start_timeout: Option<Span>,
    /// The largest message that is taken from it; 4 MB when absent.
    pub max_message: Option<ByteSize>,
    /// Connections at once, one a tenant; 16 when absent.
    pub connections: Option<usize>,
    /// Which revision of the protocol it speaks, where it cannot be found out.
    pub protocol: Protocol,
}

/// Which revision of the protocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// The server is asked; one that does not answer costs ten seconds at the start.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// With a handshake, 2025-11-25 and what servers offer instead.
    #[serde(rename = "2025-11-25")]
    Handshake,
    /// Without one.
    #[serde(rename = "2026-07-28")]
    Stateless,
}

/// A text that is not printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A server that cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MCP server {server:?}: {reason}")]
pub struct ConfigError {
    /// Its name.
    pub server: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    Program {
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, Secret>,
        dir: Option<std::path::PathBuf>,
    },
    Http {
        url: Url,
        headers: BTreeMap<String, Secret>,
        bearer: Option<Secret>,
    },
}

impl McpServerConfig {
    /// Checks it and takes what it names of the environment.
    pub(crate) fn reach(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Reach, ConfigError> {
        let wrong = |reason: String| ConfigError {
            server: self.name.clone(),
            reason,
        };
        let get = |name: &String| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| wrong(format!("the variable {name} is not set")))
        };
        self.check().map_err(wrong)?;
        match (&self.command, &self.url) {
            (Some(command), None) => {
                // Without these hardly any program starts.
                let kept = ["PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH"];
                let mut env = BTreeMap::new();
                for name in kept {
                    env.extend(variable(name).map(|value| (name.to_owned(), Secret(value))));
                }
                for name in &self.env_from {
                    env.insert(name.clone(), Secret(get(name)?));
                }
                env.extend(self.env.clone());
                Ok(Reach::Program {
                    command: command.clone(),
                    args: self.args.clone(),
                    env,
                    dir: self.dir.clone(),
                })
            }
            (None, Some(url)) => {
                let url = Url::parse(url).map_err(|error| wrong(format!("url: {error}")))?;
                if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
                    return Err(wrong("url must begin with http:// or https://".to_owned()));
                }
                let bearer = self.bearer_env.as_ref().map(get).transpose()?;
                Ok(Reach::Http {
                    url,
                    headers: self.headers.clone(),
                    bearer: bearer.map(Secret),
                })
            }
            _ => Err(wrong("set either command or url".to_owned())),
        }
    }

    fn check(&self) -> Result<(), String> {
        if !is_word(&self.name, 32) {
            return Err("its name must be 1 to 32 of a-z, 0-9, _ and -".to_owned());
        }
        let prefix = self.prefix();
        if !prefix.is_empty() && !is_word(&prefix, 33) {
            return Err("prefix must be at most 33 of a-z, 0-9, _ and -".to_owned());
        }
        if !is_word(self.category(), 64) {
            return Err("category must be 1 to 64 of a-z, 0-9, _ and -".to_owned());
        }
        for pattern in self.tools.iter().chain(&self.idempotent) {
            let star = pattern.find('*');
            if pattern.is_empty() || star.is_some_and(|at| at + 1 != pattern.len()) {
                return Err(format!(
                    "{pattern:?} must be a name, or a beginning and a star at the end"
                ));
            }
        }
        if !(1..=1024).contains(&self.connections()) {
            return Err("connections must be 1 to 1024".to_owned());
        }
        if !(1024..=16 << 20).contains(&self.max_message()) {
            return Err("max_message must be 1KB to 16MB".to_owned());
        }
        self.permissions.check().map_err(|error| error.to_string())
    }

    pub(crate) fn prefix(&self) -> String {
        let named = || format!("{}_", self.name);
        self.prefix.clone().unwrap_or_else(named)
    }

    pub(crate) fn category(&self) -> &str {
        self.category.as_deref().unwrap_or("mcp")
    }

    pub(crate) fn timeout(&self) -> Span {
        self.timeout.unwrap_or(Span::from_millis(30_000))
    }

    pub(crate) fn start_timeout(&self) -> Span {
        self.start_timeout.unwrap_or(Span::from_millis(30_000))
    }

    pub(crate) fn max_message(&self) -> u64 {
        self.max_message.map_or(4 << 20, ByteSize::get)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.unwrap_or(16)
    }

    /// Whether a tenant may use it.
    pub(crate) fn serves(&self, tenant: &str) -> bool {
        self.tenants.is_empty() || self.tenants.iter().any(|name| name == tenant)
    }

    pub(crate) fn takes(&self, tool: &str) -> bool {
        self.tools.is_empty() || matches(&self.tools, tool)
    }

    pub(crate) fn is_idempotent(&self, tool: &str) -> bool {
        matches(&self.idempotent, tool)
    }
}

fn matches(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => pattern == name,
        })
}

fn is_word(text: &str, most: usize) -> bool {
    let fits = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=most).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn program() -> McpServerConfig {
        McpServerConfig {
            name: "files".into(),
            command: Some("server".into()),
            ..McpServerConfig::default()
        }
    }

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut config = program();
        config.env.insert("TOKEN".into(), "hunter2".into());
        let shown = format!("{config:?} {:?}", config.reach(&none).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let reason = |config: McpServerConfig| config.reach(&none).unwrap_err().reason;
        assert!(
            reason(McpServerConfig {
                name: "A".into(),
                ..program()
            })
            .contains("name")
        );
        assert!(
            reason(McpServerConfig {
                command: None,
                ..program()
            })
            .contains("either")
        );
        let both = Some("http://h/".to_owned());
        assert!(
            reason(McpServerConfig {
                url: both,
                ..program()
            })
            .contains("either")
        );
        let missing = vec!["SECRET".to_owned()];
        assert!(
            reason(McpServerConfig {
                env_from: missing,
                ..program()
            })
            .contains("SECRET")
        );
        let glob = vec!["a*b".to_owned()];
        assert!(
            reason(McpServerConfig {
                idempotent: glob,
                ..program()
            })
            .contains("a*b")
        );
        let file = Some("file:///etc".to_owned());
        assert!(
            reason(McpServerConfig {
                command: None,
                url: file,
                ..program()
            })
            .contains("url")
        );
    }

    #[test]
    fn a_program_gets_what_it_is_given_of_the_environment_and_no_more() {
        let ours = |name: &str| match name {
            "PATH" => Some("/bin".to_owned()),
            "GIVEN" => Some("g".to_owned()),
            "NEXUS_GATEWAY_ROOT_KEY" => Some("k".to_owned()),
            _ => None,
        };
        let given = vec!["GIVEN".to_owned()];
        let config = McpServerConfig {
            env_from: given,
            ..program()
        };
        let Reach::Program { env, .. } = config.reach(&ours).unwrap() else {
            unreachable!("it is a program");
        };
        assert_eq!(env.keys().collect::<Vec<_>>(), ["GIVEN", "PATH"]);
    }

    #[test]
    fn patterns_are_names_or_beginnings() {
        let mut config = program();
        assert!(config.takes("x") && !config.is_idempotent("x") && config.serves("acme"));
        config.tools = vec!["get_*".into(), "put".into()];
        assert!(config.takes("get_x") && config.takes("put") && !config.takes("put_x"));
        config.tenants = vec!["acme".into()];
        assert!(config.serves("acme") && !config.serves("other"));
    }
}
