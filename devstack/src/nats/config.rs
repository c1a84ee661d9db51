//! How a private nats-server is set up, and the file that tells it so.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{DevstackError, Result};

/// How a private nats-server is to run. Start from [`NatsOptions::new`].
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Where it keeps streams, configuration and log. Created if need be.
    pub data_dir: PathBuf,
    /// The client port; `None` lets the server take a free one.
    pub port: Option<u16>,
    /// The address to listen on, 127.0.0.1 unless changed.
    pub listen_host: String,
    /// The server's name: letters, digits, `-` and `_` only.
    pub name: String,
    /// The port of the monitor, always on 127.0.0.1; `None` lets the server take a free one.
    pub monitor_port: Option<u16>,
    /// When acknowledged messages are forced to the disk.
    pub sync_interval: SyncInterval,
    /// The largest message, in bytes.
    pub max_payload_bytes: u32,
    /// User and password that a client must give; `None` lets in everyone who can connect, which
    /// on 127.0.0.1 is everyone on this machine.
    pub auth: Option<NatsAuth>,
    /// The `accounts` of the server, in one of which `auth` is a user; without any, `auth` is the
    /// only user.
    pub accounts: Option<String>,
    /// Its part in a cluster; `None` for a server alone.
    pub cluster: Option<ClusterPart>,
    /// The network namespace it runs in, whose address is [`NatsOptions::listen_host`]; its monitor
    /// listens there too. `None` for the namespace of this process.
    pub namespace: Option<String>,
    /// Lines that are appended to the configuration as they are: accounts, limits. They may
    /// `include` a file.
    pub extra_config: String,
}

/// What a node of a cluster knows of the others.
#[derive(Debug, Clone)]
pub struct ClusterPart {
    /// Where the other nodes reach it.
    pub listen: SocketAddr,
    /// Where all nodes are reached, itself among them: their number is how many there have to be
    /// before the first leader is chosen.
    pub routes: Vec<SocketAddr>,
}

/// The one user of a private nats-server. Letters, digits, `-` and `_` only.
#[derive(Clone)]
pub struct NatsAuth {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// When nats-server forces acknowledged messages to the disk. The death of the server alone loses
/// nothing either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncInterval {
    /// A loss of power loses at most what came within this time.
    Every(Duration),
    /// Before each acknowledgement, at some hundred messages a second.
    Always,
}

impl fmt::Debug for NatsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsAuth")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl NatsOptions {
    /// The usual settings: a free port on 127.0.0.1, forced to the disk every second.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            listen_host: "127.0.0.1".to_owned(),
            name: "nexus".to_owned(),
            monitor_port: None,
            sync_interval: SyncInterval::Every(Duration::from_secs(1)),
            max_payload_bytes: 8 << 20,
            auth: None,
            accounts: None,
            cluster: None,
            namespace: None,
            extra_config: String::new(),
        }
    }

    /// The configuration file for a server whose files are in `dir`.
    pub(super) fn render(&self, dir: &Path) -> Result<String> {
        let file = |name: &str| quote("the data directory", &dir.join(name).to_string_lossy());
        let port = |port: Option<u16>| port.map_or_else(|| "-1".to_owned(), |it| it.to_string());
        let sync = match self.sync_interval {
            SyncInterval::Every(time) => format!("\"{}ms\"", time.as_millis().max(1)),
            SyncInterval::Always => "always".to_owned(),
        };
        // Port -1 lets the server choose, and the ports file tells what it chose: unlike a port
        // that was found free a moment ago, nobody else can have taken it meanwhile.
        let mut lines = vec![
            format!("server_name: \"{}\"", plain("a server name", &self.name)?),
            format!("host: {}", quote("a listen address", &self.listen_host)?),
            format!("port: {}", port(self.port)),
            format!(
                "http: {}",
                quote(
                    "a monitor's address",
                    &format!("{}:{}", self.monitor_host(), port(self.monitor_port))
                )?
            ),
            format!("ports_file_dir: {}", file("")?),
            format!("pid_file: {}", file(super::PID_FILE)?),
            format!("log_file: {}", file(super::LOG_FILE)?),
            "logfile_size_limit: 16MB".to_owned(),
            "logfile_max_num: 3".to_owned(),
            format!("max_payload: {}", self.max_payload_bytes),
            format!(
                "jetstream {{ store_dir: {}, sync_interval: {sync} }}",
                file("")?
            ),
        ];
        if let Some(accounts) = &self.accounts {
            lines.push(accounts.clone());
        } else if let Some(NatsAuth { user, password }) = &self.auth {
            let (user, password) = (plain("a user", user)?, plain("a password", password)?);
            lines.push(format!(
                "authorization {{ user: \"{user}\", password: \"{password}\" }}"
            ));
        }
        if let Some(part) = &self.cluster {
            lines.push(self.cluster_block(part)?);
        }
        lines.push(self.extra_config.clone());
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    /// Clients learn no address from the server: they keep to those that they were given, which may
    /// be a proxy's. A peer that is silent for ten seconds is given up, long before the two minutes
    /// of the usual settings.
    fn cluster_block(&self, part: &ClusterPart) -> Result<String> {
        let mut lines = vec![
            "cluster {".to_owned(),
            "  name: \"nexus\"".to_owned(),
            format!("  listen: \"{}\"", part.listen),
            "  no_advertise: true".to_owned(),
            "  ping_interval: \"5s\"".to_owned(),
            "  ping_max: 2".to_owned(),
        ];
        if let Some(NatsAuth { user, password }) = &self.auth {
            let (user, password) = (plain("a user", user)?, plain("a password", password)?);
            lines.push(format!(
                "  authorization {{ user: \"{user}\", password: \"{password}\" }}"
            ));
        }
        let credentials = self.credentials();
        let routes = part
            .routes
            .iter()
            .map(|it| format!("\"nats://{credentials}{it}\""));
        let routes: Vec<String> = routes.collect();
        lines.push(format!("  routes: [{}]", routes.join(", ")));
        lines.push("}".to_owned());
        Ok(lines.join("\n"))
    }

    pub(super) fn monitor_host(&self) -> &str {
        match self.namespace {
            Some(_) => &self.listen_host,
            None => "127.0.0.1",
        }
    }

    /// The user part of the URL.
    pub(super) fn credentials(&self) -> String {
        let auth = self.auth.as_ref();
        auth.map(|it| format!("{}:{}@", it.user, it.password))
            .unwrap_or_default()
    }
}

fn quote(what: &'static str, text: &str) -> Result<String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        let rule = "it may neither be empty nor have control characters in it";
        return Err(DevstackError::BadName {
            what,
            name: text.to_owned(),
            rule,
        });
    }
    Ok(format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

/// For names, in which the server allows no spaces, and for what also goes into a URL, where quoting
/// it twice would be an art.
fn plain<'a>(what: &'static str, text: &'a str) -> Result<&'a str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(fine) {
        return Ok(text);
    }
    // A password that was refused is not quoted in the error.
    let rule = "only letters, digits, - and _ are allowed";
    Err(DevstackError::BadName {
        what,
        name: "…".to_owned(),
        rule,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_file_says_what_the_options_say() {
        let mut options = NatsOptions::new("/d");
        options.port = Some(4222);
        options.sync_interval = SyncInterval::Always;
        options.auth = Some(NatsAuth {
            user: "u".into(),
            password: "p-1_A".into(),
        });
        options.extra_config = "max_connections: 7".to_owned();
        options.cluster = Some(ClusterPart {
            listen: "127.0.0.1:6222".parse().unwrap(),
            routes: vec!["127.0.0.1:6223".parse().unwrap()],
        });
        let text = options.render(Path::new("/d")).unwrap();
        for line in [
            "port: 4222",
            "http: \"127.0.0.1:-1\"",
            "max_payload: 8388608",
            "jetstream { store_dir: \"/d/\", sync_interval: always }",
            "authorization { user: \"u\", password: \"p-1_A\" }",
            "  routes: [\"nats://u:p-1_A@127.0.0.1:6223\"]",
            "max_connections: 7",
        ] {
            assert!(
                text.lines().any(|it| it == line),
                "{line} is missing in:\n{text}"
            );
        }
        assert_eq!(options.credentials(), "u:p-1_A@");
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_file() {
        let mut options = NatsOptions::new("/d");
        options.listen_host = "a\"\nport: 1".to_owned();
        assert!(options.render(Path::new("/d")).is_err());
        options.listen_host = "a\" \\".to_owned();
        assert!(
            options
                .render(Path::new("/d"))
                .unwrap()
                .contains(r#"host: "a\" \\""#)
        );
        options.auth = Some(NatsAuth {
            user: "u".into(),
            password: "p\"".into(),
        });
        let refused = options.render(Path::new("/d")).unwrap_err().to_string();
        assert!(!refused.contains("p\""), "{refused}");
    }
}
