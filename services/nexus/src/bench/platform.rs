//! What is measured: a platform of its own, started for the purpose and thrown away, or one that
//! runs already.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, BusConfig};
use nexus_projections::{Projections, ProjectionsOptions};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::error::BenchError;
use super::model_server::{MODEL, OwnModelServer};
use super::proc::{self, Cpu};
use super::processes::{self, Group, Processes};
use super::report::runs::{LOAD_GENERATOR, MODEL_SERVER};
use crate::cli::{Configured, Connection, Endpoints, Servers, bus_at};

/// The first start on a machine fetches the servers.
const START_LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Variables that a private platform keeps; any other of ours would make it another one.
const KEPT: [&str; 3] = [
    "NEXUS_CACHE_DIR",
    "NEXUS_NATS_SERVER",
    "NEXUS_POSTGRES_BIN_DIR",
];

/// The bus, as programs name it.
pub(crate) const NATS_SERVER: &str = "nats-server";
/// The database, likewise.
pub(crate) const POSTGRES: &str = "postgres";

/// A platform to be measured.
#[derive(Debug)]
pub(crate) struct Platform {
    /// The gateway.
    pub(crate) url: String,
    /// The bus.
    pub(crate) bus: Bus,
    /// The read models.
    pub(crate) projections: Projections,
    /// The process whose tree is the platform, where it is one and on this machine.
    pub(crate) pid: Option<u32>,
    /// The model server, where it is ours.
    pub(crate) model: Option<OwnModelServer>,
    own: Option<Own>,
}

/// What was started for the measurement.
#[derive(Debug)]
enum Own {
    Whole { child: Child, _dir: TempDir },
    Pieces(Box<Processes>),
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
        let dir = directory(config)?;
        let mut child = spawn(&model.base_url, dir.path())?;
        let endpoints = ready(&mut child, dir.path()).await?;
        let own = Own::Whole { child, _dir: dir };
        let config = bus_at(&endpoints.nats_url);
        let pid = Some(endpoints.pid);
        let mut platform = connect(endpoints.url, config, &endpoints.database_url, pid).await?;
        platform.model = Some(model);
        platform.own = Some(own);
        Ok(platform)
    }

    /// The same in pieces: a process for each group of roles. One of them must be a gateway.
    ///
    /// # Errors
    /// [`BenchError::Start`] with the ends of the logs.
    pub(crate) async fn pieces(
        model: OwnModelServer,
        config: &str,
        groups: &[Group<'_>],
    ) -> Result<Self, BenchError> {
        let mut processes = Processes::start(&model.base_url, config).await?;
        for group in groups {
            processes.begin(*group, &[])?;
        }
        processes.ready().await?;
        let (url, bus) = (processes.url(), bus_at(&processes.nats_url()));
        let mut platform = connect(url, bus, &processes.database_url, None).await?;
        platform.model = Some(model);
        platform.own = Some(Own::Pieces(Box::new(processes)));
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

    /// Its processes, where it is in pieces.
    pub(crate) fn processes_mut(&mut self) -> Option<&mut Processes> {
        match &mut self.own {
            Some(Own::Pieces(processes)) => Some(processes),
            _ => None,
        }
    }

    /// All processes by name: the program's, or what they are called where it is in pieces.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let Some(Own::Pieces(pieces)) = &self.own else {
            return proc::processes(self.pid);
        };
        let below = |(label, root): (String, u32)| {
            let tree = proc::processes(Some(root)).into_iter();
            tree.map(move |(_, pid)| (label.clone(), pid))
        };
        pieces.roots().into_iter().flat_map(below).collect()
    }

    /// CPU of everything that takes part. The platform may be a child of this process, and so is the
    /// model server: each is its own tree, and this process alone is the load generator.
    pub(crate) fn cpu(&self) -> Cpu {
        let mut cpu = match &self.own {
            Some(Own::Pieces(pieces)) => {
                let mut cpu = Cpu::default();
                for (label, root) in pieces.roots() {
                    cpu.add(&label, Cpu::of_tree(Some(root)));
                }
                cpu
            }
            _ => Cpu::of_tree(self.pid),
        };
        let model = self.model.as_ref().map(|model| model.pid);
        cpu.add(MODEL_SERVER, Cpu::of_tree(model));
        cpu.add(LOAD_GENERATOR, Cpu::of_one(std::process::id()));
        cpu
    }

    /// Memory by program, in bytes.
    pub(crate) fn memory(&self) -> BTreeMap<String, u64> {
        let mut memory: BTreeMap<String, u64> = BTreeMap::new();
        for (name, pid) in self.processes() {
            *memory.entry(name).or_default() += proc::memory_of_one(pid);
        }
        let model = proc::memory_of_tree(self.model.as_ref().map(|model| model.pid));
        memory.insert(MODEL_SERVER.to_owned(), model.values().sum());
        memory.retain(|_, bytes| *bytes > 0);
        memory
    }

    /// Stops what was started.
    pub(crate) async fn stop(self) {
        self.projections.close().await;
        match self.own {
            None => {}
            Some(Own::Whole { child, _dir }) => processes::stop(child).await,
            Some(Own::Pieces(processes)) => processes.stop().await,
        }
    }
}

/// A directory of the measurement's own, with a configuration file of this text in it.
pub(super) fn directory(config: &str) -> Result<TempDir, BenchError> {
    let dir = tempfile::Builder::new().prefix("nexus-bench-").tempdir();
    let dir = dir.map_err(|source| BenchError::Process {
        what: "a temporary directory cannot be made".to_owned(),
        source,
    })?;
    let path = dir.path().join("nexus.toml");
    std::fs::write(&path, config).map_err(|source| BenchError::File { path, source })?;
    Ok(dir)
}

/// The program itself, with the instant model as its only one and nothing of the caller's environment.
pub(super) fn command(dir: &Path, model_url: &str) -> Result<Command, BenchError> {
    let mut command = processes::program(dir)?;
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
        .env("NEXUS_LOG", "warn");
    Ok(command)
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
    command(dir, model_url)?
        .args(["up", "--ephemeral", "--listen", "127.0.0.1:0"])
        .arg("--ready-file")
        .arg(dir.join("ready.json"))
        .stdout(log)
        .stderr(twin)
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

/// The end of a log.
pub(super) fn tail(path: &Path) -> String {
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
