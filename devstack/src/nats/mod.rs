//! A private nats-server with JetStream.

mod cluster;
mod config;
mod network;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;

pub use cluster::{ClusterOptions, NatsCluster};
pub use config::{ClusterPart, NatsAuth, NatsOptions, SyncInterval};
pub use network::Network;

use crate::process::{self, Process};
use crate::programs::find_nats_server;
use crate::{Cache, DevstackError, Progress, Result, Version, files, http, leftovers};

const WHAT: &str = "nats-server";
const CONFIG_FILE: &str = "nats.conf";
const PID_FILE: &str = "nats.pid";
const LOG_FILE: &str = "nats.log";
/// What it prints before it has read where its log is.
const CONSOLE_FILE: &str = "console.log";

/// A store of a million subjects takes a second to open after a crash; a busy machine takes more.
const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A nats-server of our own. Dropping it kills it; [`NatsServer::stop`] is the orderly way.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    version: Version,
    options: NatsOptions,
    ports: Ports,
    process: Process,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    monitor: u16,
}

impl NatsServer {
    /// Finds or fetches the program, stops what an earlier process may have left running on the
    /// data directory, starts the server and waits until JetStream is ready.
    ///
    /// # Errors
    /// When there is no program, the options cannot be written down, or the server ends or is not
    /// ready within a minute; the error has the end of its log.
    pub async fn start(cache: &Cache, progress: &Progress, options: NatsOptions) -> Result<Self> {
        let program = find_nats_server(cache, progress).await?;
        let mut options = options;
        files::create_private_dir(&options.data_dir)?;
        options.data_dir = options
            .data_dir
            .canonicalize()
            .map_err(DevstackError::io("resolve", &options.data_dir))?;
        let dir = &options.data_dir;
        leftovers::stop(WHAT, &dir.join(PID_FILE), dir, Signal::TERM).await?;
        let (process, ports) = launch(&program.path, &options).await?;
        options.port = Some(ports.client);
        options.monitor_port = Some(ports.monitor);
        let (program, version) = (program.path, program.version);
        tracing::info!(port = ports.client, pid = process.pid(), "nats-server runs");
        Ok(Self {
            program,
            version,
            options,
            ports,
            process,
        })
    }

    /// Where clients connect, with user and password if there are any.
    #[must_use]
    pub fn url(&self) -> String {
        let host = reachable_host(&self.options.listen_host);
        format!(
            "nats://{}{host}:{}",
            self.options.credentials(),
            self.ports.client
        )
    }

    /// Where the monitor answers (`/healthz`, `/varz`, `/jsz`).
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://{}", monitor(&self.options, self.ports))
    }

    /// The client port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.client
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The process, which may have ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The version of the program.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The server's log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.options.data_dir.join(LOG_FILE)
    }

    /// Whether the process has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits until the process ends, for whatever reason, and says how.
    pub async fn exited(&self) -> String {
        self.process.exited().await
    }

    /// Stops it in order; kills it if it takes more than ten seconds.
    pub async fn stop(&mut self) {
        self.process.stop(&[(Signal::TERM, STOP_GRACE)]).await;
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.process.stop(&[]).await;
    }

    /// Starts it again on the same ports and data, stopping it first if it runs.
    ///
    /// # Errors
    /// As for [`NatsServer::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        (self.process, self.ports) = launch(&self.program, &self.options).await?;
        Ok(())
    }
}

/// Stops what an earlier process may have left running on a data directory, so that its files can be
/// changed.
///
/// # Errors
/// It does not end.
pub async fn stop_leftover(data_dir: &Path) -> Result<()> {
    let Ok(dir) = data_dir.canonicalize() else {
        return Ok(());
    };
    leftovers::stop(WHAT, &dir.join(PID_FILE), &dir, Signal::TERM).await
}

async fn launch(program: &Path, options: &NatsOptions) -> Result<(Process, Ports)> {
    let dir = &options.data_dir;
    let config = dir.join(CONFIG_FILE);
    files::write_private(&config, &options.render(dir)?)?;
    remove_ports_files(dir)?;
    let console = dir.join(CONSOLE_FILE);
    files::remove_file(&console)?;
    let mut command = match &options.namespace {
        None => process::server(program, "KILL", None),
        Some(namespace) => {
            // It becomes the program, so that the process is the server's own.
            let mut command = process::server(&network::ip()?, "KILL", None);
            command.args(["netns", "exec", namespace]).arg(program);
            command
        }
    };
    command.arg("--config").arg(&config).current_dir(dir);
    process::print_to(&mut command, files::open_log(&console, u64::MAX)?, &console)?;
    let process = Process::spawn(command).map_err(DevstackError::io("run", program))?;
    let pid = process.pid();
    let logs = [console, dir.join(LOG_FILE)];
    let ports = process::until_ready(WHAT, &process, &logs, READY_LIMIT, || async move {
        let ports = read_ports(dir, pid)?;
        let status = http::status(monitor(options, ports), "/healthz").await;
        (status.ok() == Some(200)).then_some(ports)
    })
    .await?;
    Ok((process, ports))
}

/// The ports file's shape; it lists URLs.
#[derive(Deserialize)]
struct PortsFile {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

/// The ports that a process listens on, once it does.
fn read_ports(dir: &Path, pid: u32) -> Option<Ports> {
    let file = ports_files(dir).find(|path| path.to_string_lossy().ends_with(&name_of(pid)))?;
    // It may be half written: then the next look finds it whole.
    let found: PortsFile = serde_json::from_str(&files::read_short(&file).ok()?).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
    Some(Ports {
        client: port(&found.nats)?,
        monitor: port(&found.monitoring)?,
    })
}

/// The end of the name that nats-server gives its ports file, after the program's own.
fn name_of(pid: u32) -> String {
    format!("_{pid}.ports")
}

fn ports_files(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|it| it == "ports"))
}

/// After `kill -9` the old file stays, and its pid may come again.
fn remove_ports_files(dir: &Path) -> Result<()> {
    ports_files(dir).try_for_each(|path| files::remove_file(&path))
}

fn monitor(options: &NatsOptions, ports: Ports) -> SocketAddr {
    let host = options.monitor_host().parse();
    SocketAddr::new(
        host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ports.monitor,
    )
}

/// A server that listens everywhere is reached here.
fn reachable_host(listen_host: &str) -> &str {
    if matches!(listen_host, "0.0.0.0" | "::") {
        "127.0.0.1"
    } else {
        listen_host
    }
}
