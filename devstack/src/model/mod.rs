//! A model on this machine, so that a newcomer's first question is answered without a key.
//!
//! It is a process of its own and not a library in ours: llama.cpp takes ten minutes to compile,
//! and what crashes or eats memory there takes nothing down here. The server is `llama-server` if
//! the machine has it, else the same code prebuilt as a Python extension.

mod command;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::time::Duration;

use tokio::sync::oneshot;

use self::command::Server;
use crate::process::{self, Process};
use crate::{Cache, DevstackError, Progress, Result, files, http};

const WHAT: &str = "the local model's server";
/// Reading half a gigabyte from a cold disk, with everything else busy.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// How the local model is to run.
#[derive(Debug, Clone)]
pub struct LocalModelOptions {
    /// Threads to compute with. On a small machine that has other work, more than one is slower.
    pub threads: u16,
    /// How many tokens prompt and answer may have together.
    pub context: u32,
    /// Where its output goes; `None` for `model.log` in the cache.
    pub log_file: Option<PathBuf>,
}

impl Default for LocalModelOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            context: 8192,
            log_file: None,
        }
    }
}

/// A model that answers on 127.0.0.1 as OpenAI's API does. Dropping it kills it.
#[derive(Debug)]
pub struct LocalModel {
    address: SocketAddr,
    name: String,
    log: PathBuf,
    process: Process,
}

impl LocalModel {
    /// Whether it can start without fetching anything.
    #[must_use]
    pub fn is_installed(cache: &Cache) -> bool {
        command::is_installed(cache)
    }

    /// Fetches what is missing of the runtime (34 MB) and the weights (490 MB).
    ///
    /// # Errors
    /// When the platform has no package, Python 3.10 or the network is missing, or what came is not
    /// what was pinned.
    pub async fn install(cache: &Cache, progress: &Progress) -> Result<()> {
        Server::find(cache, progress).await.map(|_| ())
    }

    /// Fetches what is missing, starts the server and waits until the model is loaded.
    ///
    /// # Errors
    /// As for [`LocalModel::install`], or when the server ends or is not ready within three
    /// minutes; the error has the end of its log.
    pub async fn start(
        cache: &Cache,
        progress: &Progress,
        options: LocalModelOptions,
    ) -> Result<Self> {
        let server = Server::find(cache, progress).await?;
        files::create_open_dir(cache.dir())?;
        let log = options
            .log_file
            .clone()
            .unwrap_or_else(|| cache.dir().join("model.log"));
        files::remove_file(&log)?;
        let (command, port) = server.command(cache, &options, &log)?;
        let program = server.program().to_path_buf();
        let mut process = Process::spawn(command).map_err(DevstackError::io("run", &program))?;
        let address = match port {
            Some(port) => SocketAddr::from(([127, 0, 0, 1], port)),
            None => announced(&mut process, &log).await?,
        };
        let logs = [log.clone()];
        process::until_ready(WHAT, &process, &logs, READY_LIMIT, || async move {
            (http::status(address, "/health").await.ok() == Some(200)).then_some(())
        })
        .await?;
        tracing::info!(%address, pid = process.pid(), model = server.model_name(), "model runs");
        Ok(Self {
            address,
            name: server.model_name().to_owned(),
            log,
            process,
        })
    }

    /// What an OpenAI client takes as its base URL: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The name under which `/v1/models` lists it.
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.name
    }

    /// The process, which may have ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The server's log.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Waits until the process ends, for whatever reason, and says how.
    pub async fn exited(&self) -> String {
        self.process.exited().await
    }

    /// Stops it. It has nothing to save, so that this takes no time.
    pub async fn stop(&mut self) {
        self.process.stop(&[]).await;
    }
}

/// Where the server says that it listens, in its first line on standard output.
async fn announced(process: &mut Process, log: &Path) -> Result<SocketAddr> {
    let (tell, mut told) = oneshot::channel();
    if let Some(stdout) = process.stdout.take() {
        // A thread, since reading a pipe blocks; it ends with the process, which closes the pipe.
        std::thread::spawn(move || read_announcement(stdout, tell));
    }
    let mut address = None;
    process::until_ready(WHAT, process, &[log.to_path_buf()], READY_LIMIT, || {
        address = address.or_else(|| told.try_recv().ok());
        std::future::ready(address)
    })
    .await
}

fn read_announcement(stdout: ChildStdout, tell: oneshot::Sender<SocketAddr>) {
    const LINE_BYTES: u64 = 4096;
    let mut lines = BufReader::new(stdout);
    let mut line = String::new();
    let read = lines.by_ref().take(LINE_BYTES).read_line(&mut line);
    if let (Ok(_), Some(address)) = (read, address_in(&line)) {
        // The start may have been given up meanwhile.
        let _ = tell.send(address);
    }
    // A full pipe would hold up the server.
    let _ = std::io::copy(&mut lines, &mut std::io::sink());
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("listening http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_the_server_listens() {
        let here = SocketAddr::from(([127, 0, 0, 1], 4711));
        assert_eq!(address_in("listening http://127.0.0.1:4711\n"), Some(here));
        assert_eq!(address_in("loading…"), None);
        assert_eq!(address_in(""), None);
    }
}
