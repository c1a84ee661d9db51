//! What is measured: a platform of its own, started for the purpose and thrown away, or one that
//! runs already.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, BusConfig};
use nexus_projections::{Projections, ProjectionsOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::error::BenchError;
use super::model_server::{MODEL, OwnModelServer};
use crate::cli::{Configured, Connection, Endpoints, Servers, bus_at};

/// The first start on a machine fetches the servers.
const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Variables that a private platform keeps; any other of ours would make it another one.
const KEPT: [&str; 3] = [
    "NEXUS_CACHE_DIR",
    "NEXUS_NATS_SERVER",
    "NEXUS_POSTGRES_BIN_DIR",
];

/// A platform to be measured.
#[derive(Debug)]
pub(crate) struct Platform {
    /// The gateway.
    pub(crate) url: String,
    /// The bus.
    pub(crate) bus: Bus,
    /// The read models.
    pub(crate) projections: Projections,
    /// The process whose tree is the platform, where it is on this machine.
    pub(crate) pid: Option<u32>,
    /// The model server, where it is ours.
    pub(crate) model: Option<OwnModelServer>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    child: Child,
    _dir: TempDir,
}

impl Platform {
    /// Starts a private platform whose models are all served by a model server of ours.
    ///
    /// # Errors
    /// [`BenchError::Start`] with the end of the platform's log.
    pub(crate) async fn start() -> Result<Self, BenchError> {
        Self::configured(OwnModelServer::start().await?, "").await
    }

    /// The same with this model server, and a configuration file of this text.
    ///
    /// # Errors
    /// [`BenchError::Start`] with the end of the platform's log.
    pub(crate) async fn configured(
        model: OwnModelServer,
        config: &str,
    ) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("nexus-bench-").tempdir();
        let failed = |what: &'static str| {
            move |source| BenchError::Process {
                what: what.to_owned(),
                source,
            }
        };
        let dir = dir.map_err(failed("a temporary directory cannot be made"))?;
        let path = dir.path().join("nexus.toml");
        std::fs::write(&path, config).map_err(|source| BenchError::File { path, source })?;
        let mut child = spawn(&model.base_url, dir.path())?;
        let endpoints = ready(&mut child, dir.path()).await?;
        let own = Own { child, _dir: dir };
        let config = bus_at(&endpoints.nats_url);
        let pid = Some(endpoints.pid);
        let mut platform = connect(endpoints.url, config, &endpoints.database_url, pid).await?;
        platform.model = Some(model);
        platform.own = Some(own);
        Ok(platform)
    }

    /// Takes one that runs already, with whatever models it has.
    ///
    /// # Errors
    /// [`BenchError`]: it is not known where it is, or it does not answer.
    pub(crate) async fn attach(connection: &Connection) -> Result<Self, BenchError> {
        let servers = Servers {
            configured: Configured::default(),
            ..Servers::default()
        };
        let (bus, database) = (servers.bus(connection)?, servers.database(connection)?);
        let pid = connection.endpoints()?.map(|endpoints| endpoints.pid);
        connect(connection.gateway_url()?, bus, &database, pid).await
    }

    /// Stops what was started.
    pub(crate) async fn stop(mut self) {
        self.projections.close().await;
        let Some(own) = &mut self.own else { return };
        let pid = own
            .child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It may have ended by itself; then there is nobody to tell.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, own.child.wait())
            .await
            .is_err()
        {
            eprintln!("the private platform did not stop in time and is killed");
        }
    }
}

fn spawn(model_url: &str, dir: &Path) -> Result<Child, BenchError> {
    let path = dir.join("log");
    let file = |source| BenchError::File {
        path: path.clone(),
        source,
    };
    let log = std::fs::File::create(&path).map_err(file)?;
    let twin = log.try_clone().map_err(file)?;
    let failed = |source| BenchError::Process {
        what: "the platform cannot be started".to_owned(),
        source,
    };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args([
            "up",
            "--ephemeral",
            "--listen",
            "127.0.0.1:0",
            "--ready-file",
        ])
        .arg(dir.join("ready.json"))
        // A nexus.toml of whoever measures would make it another platform.
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(twin)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy();
        let ours = ours.starts_with("NEXUS_") || ours.starts_with("OTEL_");
        if ours && !KEPT.iter().any(|kept| name == *kept) {
            command.env_remove(name);
        }
    }
    command
        .env("OPENAI_BASE_URL", model_url)
        .env("OPENAI_API_KEY", "bench")
        .env("OPENAI_MODEL", MODEL)
        .env("NEXUS_LOG", "warn")
        .spawn()
        .map_err(failed)
}

async fn ready(child: &mut Child, dir: &Path) -> Result<Endpoints, BenchError> {
    let file = dir.join("ready.json");
    let began = Instant::now();
    loop {
        if let Some(endpoints) = Endpoints::read(&file)? {
            return Ok(endpoints);
        }
        let ended = child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| format!("it ended with {status}"));
        let late = (began.elapsed() > START_LIMIT).then(|| "it was not ready in time".to_owned());
        if let Some(reason) = ended.or(late) {
            return Err(BenchError::Start {
                reason,
                log: tail(&dir.join("log")),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let start = text.len().saturating_sub(4096);
    String::from_utf8_lossy(text.get(start..).unwrap_or_default()).into_owned()
}

async fn connect(
    url: String,
    bus: BusConfig,
    database: &str,
    pid: Option<u32>,
) -> Result<Platform, BenchError> {
    let away = |reason: String| BenchError::Bus(reason);
    let bus = Bus::open(bus)
        .await
        .map_err(|error| away(error.to_string()))?;
    let connected = tokio::time::timeout(CONNECT_LIMIT, bus.connected()).await;
    connected.map_err(|_| away("it does not answer".to_owned()))?;
    let projections = Projections::connect(database, ProjectionsOptions::default()).await;
    let projections = projections.map_err(|error| BenchError::Database(error.to_string()))?;
    Ok(Platform {
        url,
        bus,
        projections,
        pid,
        model: None,
        own: None,
    })
}
