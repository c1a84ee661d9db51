//! A platform in pieces: private servers, and roles in as many processes as are asked for, so that
//! each can be counted, stopped and started by itself. `nexus up` is one process with all roles.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nexus_devstack::{
    Cache, DataDir, DevstackError, NatsOptions, NatsServer, Postgres, PostgresOptions, Progress,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::error::BenchError;
use super::platform::{self, NATS_SERVER, POSTGRES};
use crate::cli::print;

const STOP_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process: its name in reports, and its roles.
pub(crate) type Group<'a> = (&'a str, &'a [&'a str]);

/// The servers and the processes of a platform in pieces.
#[derive(Debug)]
pub(crate) struct Processes {
    nats: NatsServer,
    postgres: Postgres,
    pub(super) database_url: String,
    model_url: String,
    port: u16,
    roles: Vec<(String, Child)>,
    /// Owns the directory of the servers, for as long as they run.
    data: DataDir,
    dir: TempDir,
}

impl Processes {
    /// Starts the servers alone; processes read a configuration file of this text.
    ///
    /// # Errors
    /// [`BenchError`]: a server does not start.
    pub(super) async fn start(model_url: &str, config: &str) -> Result<Self, BenchError> {
        let dir = platform::directory(config)?;
        let cache = Cache::discover().map_err(failed)?;
        let progress = Progress::new(|line: &str| print::hint(line));
        let data = DataDir::lock(dir.path().join("data")).map_err(failed)?;
        let (nats, postgres) = tokio::try_join!(
            NatsServer::start(&cache, &progress, NatsOptions::new(data.nats())),
            Postgres::start(
                &cache,
                &progress,
                PostgresOptions::disposable(data.postgres())
            ),
        )
        .map_err(failed)?;
        let database_url = postgres.create_database("nexus").await.map_err(failed)?;
        Ok(Self {
            nats,
            postgres,
            database_url,
            model_url: model_url.to_owned(),
            port: free_port()?,
            roles: vec![],
            data,
            dir,
        })
    }

    /// Starts a process with these roles; `settings` are variables of its environment.
    ///
    /// # Errors
    /// [`BenchError`]: it cannot be started.
    pub(crate) fn begin(
        &mut self,
        (label, roles): Group<'_>,
        settings: &[(&str, &str)],
    ) -> Result<(), BenchError> {
        let dir = self.dir.path();
        let log = dir.join(format!("{label}.log"));
        let file = |source| BenchError::File {
            path: log.clone(),
            source,
        };
        let out = File::create(&log).map_err(file)?;
        let twin = out.try_clone().map_err(file)?;
        let mut command = platform::command(dir, &self.model_url)?;
        let child = command
            .arg("role")
            .args(roles)
            .env("NEXUS_NATS_URL", self.nats.url())
            .env("NEXUS_DATABASE_URL", &self.database_url)
            .env("NEXUS_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("NEXUS_TOOLS_DIR", self.data.path().join("tools"))
            .envs(settings.iter().copied())
            .stdout(out)
            .stderr(twin)
            .spawn();
        let child = child.map_err(|source| BenchError::Process {
            what: format!("{label} cannot be started"),
            source,
        })?;
        self.roles.push((label.to_owned(), child));
        Ok(())
    }

    /// Stops a process in order, as an operator would.
    pub(crate) async fn end(&mut self, label: &str) {
        let Some(at) = self.roles.iter().position(|(name, _)| name == label) else {
            return;
        };
        let (_, child) = self.roles.remove(at);
        stop(child).await;
    }

    /// Waits until the gateway says that it is ready; says how long that took.
    ///
    /// # Errors
    /// [`BenchError::Start`] with the end of the logs.
    pub(crate) async fn ready(&mut self) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let client = reqwest::Client::new();
        let url = format!("{}/readyz", self.url());
        loop {
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(began.elapsed());
            }
            if let Some(reason) = self.broken(began) {
                let logs = self.roles.iter();
                let logs = logs.map(|(label, _)| {
                    platform::tail(&self.dir.path().join(format!("{label}.log")))
                });
                return Err(BenchError::Start {
                    reason,
                    log: logs.collect(),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn broken(&mut self, began: Instant) -> Option<String> {
        for (label, child) in &mut self.roles {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(format!("{label} ended with {status}"));
            }
        }
        (began.elapsed() > READY_LIMIT).then(|| "it was not ready in time".to_owned())
    }

    /// Where the gateway listens, once a process has that role.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// Each process by its name; each is the root of a tree.
    pub(super) fn roots(&self) -> Vec<(String, u32)> {
        let roles = self.roles.iter();
        let roles = roles.filter_map(|(label, child)| Some((label.clone(), child.id()?)));
        let servers = [
            (NATS_SERVER.to_owned(), self.nats.pid()),
            (POSTGRES.to_owned(), self.postgres.pid()),
        ];
        roles.chain(servers).collect()
    }

    pub(super) async fn stop(mut self) {
        for (_, child) in self.roles.drain(..) {
            stop(child).await;
        }
        self.nats.stop().await;
        self.postgres.stop().await;
    }
}

/// Asks a process of ours to end, and waits for that; one that does not is killed when it is dropped.
pub(super) async fn stop(mut child: Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may have ended by itself; then there is nobody to tell.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_LIMIT, child.wait())
        .await
        .is_err()
    {
        print::hint("a process did not stop in time and is killed");
    }
}

/// The program itself, with nothing of the caller's configuration.
pub(super) fn program(dir: &Path) -> Result<Command, BenchError> {
    let failed = |source| BenchError::Process {
        what: "this program cannot be found".to_owned(),
        source,
    };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        // A nexus.toml of whoever measures would make it another platform.
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Free a moment ago. The gateway says so if it is not any more, and the measurement fails.
fn free_port() -> Result<u16, BenchError> {
    let failed = |source| BenchError::Process {
        what: "there is no free port".to_owned(),
        source,
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

fn failed(error: DevstackError) -> BenchError {
    BenchError::Start {
        reason: error.to_string(),
        log: String::new(),
    }
}
