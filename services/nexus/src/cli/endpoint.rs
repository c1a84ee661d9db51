//! Where the platform is: what the person says, else what `nexus up` wrote down, else the usual
//! place. A discovery service was left out: it would have to be found too.

use std::path::{Path, PathBuf};

use nexus_bus::BusConfig;
use nexus_devstack::DataDir;
use serde::{Deserialize, Serialize};

use super::error::CliError;

/// Where the gateway listens unless it is told otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// What `nexus up` writes into its data directory, readable by its owner alone.
pub(crate) const FILE: &str = "endpoints.json";
/// More than any such file has.
const FILE_LIMIT_BYTES: u64 = 64 * 1024;

/// How to find the platform, and as whom.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The gateway [default: where `nexus up` says that it is, else http://127.0.0.1:8080]
    #[arg(long, env = "NEXUS_URL", global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Data directory of the `nexus up` to talk to
    #[arg(long, env = "NEXUS_DATA_DIR", global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The tenant to act for
    #[arg(long, env = "NEXUS_TENANT", global = true, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// The user to act as, where the gateway takes a caller's word for it
    #[arg(long, env = "NEXUS_USER", global = true, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// A role of that user, likewise; may be repeated
    #[arg(
        long = "role",
        env = "NEXUS_ROLES",
        global = true,
        value_name = "ROLE",
        value_delimiter = ','
    )]
    pub(crate) roles: Vec<String>,
    /// The API key to show [default: where `nexus up` asks for one, its root key]
    #[arg(
        long,
        env = "NEXUS_API_KEY",
        hide_env_values = true,
        global = true,
        value_name = "KEY"
    )]
    pub(crate) api_key: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// For commands that talk to the servers themselves: dead letters, projections, `doctor`.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Servers")]
pub(crate) struct Servers {
    /// NATS [default: as configured, else that of `nexus up`]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) nats_url: Option<String>,
    /// Postgres [default: as configured, else that of `nexus up`]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// What the configuration says; set by [`super::Client`].
    #[arg(skip)]
    pub(crate) configured: Configured,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Servers")
    }
}

/// The servers that `nexus.toml` and the environment name.
#[derive(Clone, Default)]
pub(crate) struct Configured {
    /// How NATS is reached.
    pub(crate) bus: Option<BusConfig>,
    /// Where Postgres is, with its password.
    pub(crate) database_url: Option<String>,
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

/// What `nexus up` writes down. The addresses of the servers carry passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The gateway.
    pub(crate) url: String,
    /// NATS, with credentials.
    pub(crate) nats_url: String,
    /// Postgres, with credentials.
    pub(crate) database_url: String,
    /// Its root key, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root_key: Option<String>,
    /// The process.
    pub(crate) pid: u32,
    /// The processes of the servers that it started.
    #[serde(default)]
    pub(crate) servers: Vec<u32>,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Endpoints {
    /// Reads a file that `nexus up` wrote; `None` where there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let unusable = |reason: String| CliError::Endpoints {
            path: path.to_owned(),
            reason,
        };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error.to_string())),
            Ok(found) if found.len() > FILE_LIMIT_BYTES => {
                return Err(unusable("it is too long to be one of ours".to_owned()));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| unusable(error.to_string()))
    }
}

impl Connection {
    /// The file that `nexus up` writes.
    pub(crate) fn endpoints_file(&self) -> Option<PathBuf> {
        let dir = self.data_dir.clone().or_else(DataDir::usual_path)?;
        Some(dir.join(FILE))
    }

    /// What the file says, if there is one.
    ///
    /// # Errors
    /// As [`Endpoints::read`].
    pub(crate) fn endpoints(&self) -> Result<Option<Endpoints>, CliError> {
        self.endpoints_file()
            .map_or(Ok(None), |path| Endpoints::read(&path))
    }

    /// The gateway's address. A file that cannot be read matters only where somebody named its
    /// directory: another user's private one is no reason to fail.
    ///
    /// # Errors
    /// As [`Endpoints::read`].
    pub(crate) fn gateway_url(&self) -> Result<String, CliError> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let found = match self.endpoints() {
            Err(error) if self.data_dir.is_some() => return Err(error),
            other => other.ok().flatten(),
        };
        Ok(found.map_or_else(|| DEFAULT_URL.to_owned(), |found| found.url))
    }

    /// The credential to show, if any. A root key goes to its own gateway only.
    pub(crate) fn credential(&self) -> Option<String> {
        if self.api_key.is_some() || self.url.is_some() {
            return self.api_key.clone();
        }
        self.endpoints().ok().flatten()?.root_key
    }
}

impl Servers {
    /// How NATS is reached.
    ///
    /// # Errors
    /// Nobody says so.
    pub(crate) fn bus(&self, connection: &Connection) -> Result<BusConfig, CliError> {
        if let Some(url) = &self.nats_url {
            return Ok(bus_at(url));
        }
        match &self.configured.bus {
            Some(configured) => Ok(configured.clone()),
            None => known(connection, "--nats-url", |found| bus_at(&found.nats_url)),
        }
    }

    /// Where Postgres is.
    ///
    /// # Errors
    /// Nobody says so.
    pub(crate) fn database(&self, connection: &Connection) -> Result<String, CliError> {
        let own = self
            .database_url
            .as_ref()
            .or(self.configured.database_url.as_ref());
        match own {
            Some(url) => Ok(url.clone()),
            None => known(connection, "--database-url", |found| found.database_url),
        }
    }
}

fn known<T>(
    connection: &Connection,
    flag: &'static str,
    pick: impl FnOnce(Endpoints) -> T,
) -> Result<T, CliError> {
    let place = connection.endpoints_file();
    connection
        .endpoints()?
        .map(pick)
        .ok_or(CliError::NoServers { flag, place })
}

/// A connection to the servers at `url`; the bus shows its user and password to nobody.
pub(crate) fn bus_at(url: &str) -> BusConfig {
    BusConfig::new(url, "nexus/cli")
}

/// An address without its user and password, for people.
pub(crate) fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "(not a URL)".to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn written(dir: &Path) -> Endpoints {
        let endpoints = Endpoints {
            url: "http://127.0.0.1:4711".to_owned(),
            nats_url: "nats://u:secret@127.0.0.1:4222".to_owned(),
            database_url: "postgres://u:secret@127.0.0.1:5432/nexus?sslmode=disable".to_owned(),
            root_key: None,
            pid: 42,
            servers: vec![43],
        };
        std::fs::write(dir.join(FILE), serde_json::to_vec(&endpoints).unwrap()).unwrap();
        endpoints
    }

    #[test]
    fn what_is_said_wins_over_what_is_written_and_that_over_the_usual() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection {
            data_dir: Some(dir.path().to_owned()),
            ..Connection::default()
        };
        assert_eq!(connection.gateway_url().unwrap(), DEFAULT_URL);
        let written = written(dir.path());
        assert_eq!(connection.gateway_url().unwrap(), written.url);
        let bus = Servers::default().bus(&connection).unwrap();
        assert_eq!(bus.url, written.nats_url);
        connection.url = Some("https://nexus.example".to_owned());
        assert_eq!(connection.gateway_url().unwrap(), "https://nexus.example");
        assert_eq!(
            Servers::default().database(&connection).unwrap(),
            written.database_url
        );
        let configured = Configured {
            database_url: Some("postgres://c".to_owned()),
            bus: Some(bus_at("c")),
        };
        let mut servers = Servers {
            configured,
            ..Servers::default()
        };
        assert_eq!(servers.database(&connection).unwrap(), "postgres://c");
        assert_eq!(servers.bus(&connection).unwrap().url, "c");
        servers.database_url = Some("postgres://b".to_owned());
        assert_eq!(servers.database(&connection).unwrap(), "postgres://b");
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let connection = Connection {
            data_dir: Some(dir.path().to_owned()),
            ..Connection::default()
        };
        let error = connection.gateway_url().unwrap_err();
        assert!(error.to_string().contains(FILE), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let endpoints = written(dir.path());
        assert!(!format!("{endpoints:?}").contains("secret"));
        for (url, shown) in [
            ("nats://u:secret@host:4222", "nats://host:4222"),
            (
                "postgres://u:s@cret@h/db?password=secret",
                "postgres://h/db",
            ),
            ("nats://host", "nats://host"),
            ("secret", "(not a URL)"),
        ] {
            assert_eq!(without_secret(url), shown);
        }
    }
}
