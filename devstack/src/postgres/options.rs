//! How a private PostgreSQL is set up.
//!
//! Settings go on the command line and not into postgresql.conf: they hold for clusters that were
//! made by an earlier version too, and whoever looks at the process sees them.

use std::path::PathBuf;

/// How a private PostgreSQL is to run. Start from [`PostgresOptions::new`].
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where it keeps the cluster, its password and its log. Created if need be.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// How many connections there may be at once.
    pub max_connections: u16,
    /// The page cache of its own, in megabytes.
    pub shared_buffers_mb: u32,
    /// For tests: the cluster is copied from a template in the cache rather than made, and nothing
    /// is forced to the disk. The death of the server loses nothing even so; that of the machine
    /// loses everything.
    pub disposable: bool,
}

impl PostgresOptions {
    /// The usual settings: a free port, durable.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            max_connections: 100,
            shared_buffers_mb: 128,
            disposable: false,
        }
    }

    /// What tests want: quick to start, not durable.
    pub fn disposable(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            shared_buffers_mb: 32,
            disposable: true,
            ..Self::new(data_dir)
        }
    }

    /// The settings as `name=value`, for `-c`.
    pub(super) fn settings(&self, port: u16) -> Vec<String> {
        let mut settings = vec![
            // A socket file was the alternative to TCP with a password. Its path may have no more
            // than 107 bytes, and data directories have longer ones.
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("port={port}"),
            format!("max_connections={}", self.max_connections),
            format!("shared_buffers={}MB", self.shared_buffers_mb),
            // There are no replicas of a private server, and rebuilds write less this way.
            "wal_level=minimal".to_owned(),
            "max_wal_senders=0".to_owned(),
            "max_wal_size=1GB".to_owned(),
            "checkpoint_timeout=15min".to_owned(),
            // Queries are short; compiling them costs more than running them.
            "jit=off".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            "log_min_messages=warning".to_owned(),
            // Statements hold what users wrote, which has no place in a log.
            "log_min_error_statement=panic".to_owned(),
            "log_parameter_max_length=0".to_owned(),
            "log_parameter_max_length_on_error=0".to_owned(),
        ];
        if self.disposable {
            let unsafe_and_fast = [
                "fsync=off",
                "full_page_writes=off",
                "synchronous_commit=off",
            ];
            settings.extend(unsafe_and_fast.map(str::to_owned));
        }
        settings
    }

    /// What the kernel sends the server when this process dies: a quick orderly stop, or an
    /// immediate one where nobody needs the data. Either way no shared memory is left behind.
    pub(super) fn death_signal(&self) -> &'static str {
        if self.disposable { "QUIT" } else { "INT" }
    }
}
