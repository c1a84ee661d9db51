//! One process of a role: how it is started, killed, frozen and started anew, and the proxies between it
//! and the servers.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::error::ChaosError;
use super::plan::{Instance, Link};
use super::proxy::Proxy;

/// What every process is told alike.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Where configurations and logs go.
    pub(crate) dir: PathBuf,
    /// Where tools keep files.
    pub(crate) tools_dir: PathBuf,
    /// Nodes that hold a stream.
    pub(crate) replicas: usize,
    /// The database's address, with a port that is not the one to take.
    pub(crate) database_url: String,
    /// Log lines of roles.
    pub(crate) log: String,
}

/// A process of a role.
pub(crate) struct RoleProcess {
    /// Which.
    pub(crate) instance: Instance,
    /// Where it listens, if it is a gateway.
    pub(crate) port: u16,
    /// Between it and what it is connected to: to the bus, one for each server.
    pub(crate) links: BTreeMap<Link, Vec<Proxy>>,
    setting: Setting,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    offset_ms: i64,
    build: u32,
    /// It was killed, and is to stay away.
    away: bool,
    /// How often it ended by itself.
    gave_up: u32,
}

impl RoleProcess {
    /// Not started yet.
    pub(crate) fn new(
        instance: Instance,
        port: u16,
        links: BTreeMap<Link, Vec<Proxy>>,
        setting: Setting,
    ) -> Self {
        Self {
            instance,
            port,
            links,
            setting,
            state: Mutex::default(),
        }
    }

    /// Starts it, and kills what ran before.
    ///
    /// # Errors
    /// [`ChaosError::Io`].
    pub(crate) async fn start(&self) -> Result<(), ChaosError> {
        let mut state = self.state.lock().await;
        self.spawn(&mut state).await
    }

    /// kill -9. It stays away until it is started.
    pub(crate) async fn kill(&self) {
        let mut state = self.state.lock().await;
        end(&mut state).await;
        state.away = true;
    }

    /// Ends it in order, as a deployment does, and starts the next build.
    ///
    /// # Errors
    /// [`ChaosError::Io`].
    pub(crate) async fn replace(&self) -> Result<(), ChaosError> {
        let mut state = self.state.lock().await;
        signal(&state, Signal::TERM);
        if let Some(child) = &mut state.child {
            let limit = std::time::Duration::from_secs(10);
            let _ = tokio::time::timeout(limit, child.wait()).await;
        }
        state.build += 1;
        self.spawn(&mut state).await
    }

    /// kill -9, and started with a clock that is ahead by so much.
    ///
    /// # Errors
    /// [`ChaosError::Io`].
    pub(crate) async fn with_clock(&self, offset_ms: i64) -> Result<(), ChaosError> {
        let mut state = self.state.lock().await;
        state.offset_ms = offset_ms;
        self.spawn(&mut state).await
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) async fn signal(&self, with: Signal) {
        signal(&*self.state.lock().await, with);
    }

    /// Starts it again where it ended by itself.
    ///
    /// # Errors
    /// [`ChaosError::Io`].
    pub(crate) async fn watch(&self) -> Result<(), ChaosError> {
        let mut state = self.state.lock().await;
        let ended = match &mut state.child {
            Some(child) => child
                .try_wait()
                .map_err(ChaosError::io("a process"))?
                .is_some(),
            None => false,
        };
        if ended && !state.away {
            state.gave_up += 1;
            self.spawn(&mut state).await?;
        }
        Ok(())
    }

    /// How often it ended by itself.
    pub(crate) async fn gave_up(&self) -> u32 {
        self.state.lock().await.gave_up
    }

    async fn spawn(&self, state: &mut State) -> Result<(), ChaosError> {
        end(state).await;
        let config = self.configure(state.build)?;
        let log = self.log()?;
        let twin = log.try_clone().map_err(ChaosError::io("a log"))?;
        let program = std::env::current_exe().map_err(ChaosError::io("this program"))?;
        let mut command = Command::new(program);
        command
            .args(["role", self.instance.role.name(), "--with-parent"])
            .arg(format!("--clock-offset-ms={}", state.offset_ms))
            .arg("--config")
            .arg(config)
            .env("NEXUS_TOOLS_DIR", &self.setting.tools_dir)
            .current_dir(&self.setting.dir)
            // Ctrl-C at the terminal is for us; the process ends when its input closes.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(twin)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["NEXUS_", "OTEL_", "OPENAI_", "ANTHROPIC_"];
            if ours.iter().any(|ours| text.starts_with(ours)) && text != "NEXUS_TOOLS_DIR" {
                command.env_remove(name);
            }
        }
        let spawned = command.spawn();
        state.child = Some(spawned.map_err(ChaosError::io(self.instance.to_string()))?);
        state.away = false;
        Ok(())
    }

    fn log(&self) -> Result<File, ChaosError> {
        let path = self.setting.dir.join(format!("{}.log", self.instance));
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.map_err(ChaosError::io(path.display().to_string()))
    }

    fn configure(&self, build: u32) -> Result<PathBuf, ChaosError> {
        let path = self.setting.dir.join(format!("{}.toml", self.instance));
        let text = configuration(&self.setting, self.port, &self.links, build);
        std::fs::write(&path, text).map_err(ChaosError::io(path.display().to_string()))?;
        Ok(path)
    }
}

async fn end(state: &mut State) {
    if let Some(mut child) = state.child.take() {
        // The only failure is that it has ended.
        let _ = child.kill().await;
    }
}

fn signal(state: &State, with: Signal) {
    let pid = state.child.as_ref().and_then(Child::id);
    let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, with);
    }
}

/// What a process is configured with. Another build keeps fewer aggregates in memory: something that a
/// worker may differ in while runs go on.
fn configuration(
    setting: &Setting,
    port: u16,
    links: &BTreeMap<Link, Vec<Proxy>>,
    build: u32,
) -> String {
    let ports = |link| {
        links
            .get(&link)
            .into_iter()
            .flatten()
            .map(|proxy| proxy.port)
    };
    let nats: Vec<String> = ports(Link::Nats)
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let model = ports(Link::Model).next().unwrap_or_default();
    let database = ports(Link::Postgres)
        .next()
        .and_then(|port| with_port(&setting.database_url, port))
        .unwrap_or_else(|| setting.database_url.clone());
    let cached = 1_000 / (1 + build);
    let (log, replicas) = (&setting.log, setting.replicas);
    let models = [super::load::QUICK, super::load::SLOW].map(|name| {
        format!(
            "[[models.providers.models]]\nname = \"{name}\"\ncontext_tokens = 32768\n\
             max_output_tokens = 512\nprice = {{ input = 1000000, cached_input = 500000, output = 2000000 }}\n"
        )
    });
    format!(
        "[nats]\nurl = \"{}\"\nreplicas = {replicas}\n\
         [database]\nurl = \"{database}\"\n\
         [gateway]\nlisten = \"127.0.0.1:{port}\"\n\
         [limits]\ncached_aggregates = {cached}\n\
         [telemetry]\nlog = \"{log}\"\nlog_format = \"text\"\n\
         [models]\nlocal = false\ndefault = \"{}\"\n\
         [[models.providers]]\nname = \"chaos\"\nkind = \"openai\"\napi_key = \"none\"\n\
         base_url = \"http://127.0.0.1:{model}/v1\"\nidle_timeout_ms = 20000\n{}",
        nats.join(","),
        super::load::QUICK,
        models.concat(),
    )
}

/// `postgres://user:password@host:port/database` with another port.
fn with_port(url: &str, port: u16) -> Option<String> {
    let (before, database) = url.rsplit_once('/')?;
    let (host, _) = before.rsplit_once(':')?;
    Some(format!("{host}:{port}/{database}"))
}

/// The port of such an address.
pub(crate) fn port_of(url: &str) -> Option<u16> {
    let (before, _) = url.rsplit_once('/')?;
    before.rsplit_once(':')?.1.parse().ok()
}

/// The end of a process's log, for whoever asks why it is not ready.
pub(crate) fn tail(dir: &Path, instance: Instance) -> String {
    let text = std::fs::read(dir.join(format!("{instance}.log"))).unwrap_or_default();
    let start = text.len().saturating_sub(2_048);
    String::from_utf8_lossy(text.get(start..).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_the_port_of_a_proxy() {
        let url = "postgres://u:p@127.0.0.1:5432/chaos";
        assert_eq!(port_of(url), Some(5432));
        let other = with_port(url, 99);
        assert_eq!(other.as_deref(), Some("postgres://u:p@127.0.0.1:99/chaos"));
    }
}
