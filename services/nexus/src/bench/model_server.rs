//! `nexus bench model-server`: a model server that speaks the real protocol and answers at once, in
//! a process of its own, so that what it uses is not counted as the platform's.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use nexus_modelserver::{ModelServer, Options};
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::error::BenchError;
use crate::signals::parent_gone;

/// The model that it offers.
pub(crate) const MODEL: &str = "bench-model";
const ANSWER: &str = "This is an answer of the model server for benchmarks.";
const START_LIMIT: Duration = Duration::from_secs(20);
const LISTENS: &str = "listens at ";

/// An OpenAI-compatible server that answers at once, for measuring and trying out
#[derive(Debug, clap::Args)]
pub(crate) struct ModelServerArgs {
    /// Address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What it answers to everything
    #[arg(long, value_name = "TEXT", default_value = ANSWER)]
    answer: String,
    /// Answer like a small model that calls tools, instead of at once
    #[arg(long)]
    scripted: bool,
    /// End when standard input closes
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Serves until Ctrl-C.
///
/// # Errors
/// [`BenchError::Model`]: the address is taken.
pub(crate) async fn serve(args: ModelServerArgs) -> Result<(), BenchError> {
    let options = Options {
        instant: (!args.scripted).then_some(args.answer),
        models: vec![MODEL.to_owned()],
        ..Options::default()
    };
    let started = ModelServer::start_on(args.listen, options).await;
    let server = started.map_err(|error| BenchError::Model(error.to_string()))?;
    println!("{LISTENS}{}", server.base_url());
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = parent_gone(), if args.with_parent => {}
    }
    server.shutdown().await;
    Ok(())
}

/// A model server that this process started.
#[derive(Debug)]
pub(crate) struct OwnModelServer {
    /// What an OpenAI client takes as base URL.
    pub(crate) base_url: String,
    /// Its process.
    pub(crate) pid: u32,
    _child: Child,
}

impl OwnModelServer {
    /// Starts one and waits until it listens. It ends with this process, or when dropped.
    ///
    /// # Errors
    /// [`BenchError`]: it did not start.
    pub(crate) async fn start() -> Result<Self, BenchError> {
        Self::with(&[]).await
    }

    /// The same with one that does what a model's name says, instead of answering at once.
    ///
    /// # Errors
    /// [`BenchError`]: it did not start.
    pub(crate) async fn scripted() -> Result<Self, BenchError> {
        Self::with(&["--scripted"]).await
    }

    async fn with(arguments: &[&str]) -> Result<Self, BenchError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| BenchError::Process { what, source }
        };
        let program = std::env::current_exe().map_err(failed("this program cannot be found"))?;
        let mut child = Command::new(program)
            .args(["bench", "model-server", "--with-parent"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("the model server cannot be started"))?;
        let said = child
            .stdout
            .take()
            .map(|out| BufReader::new(out.take(4096)).lines());
        let mut said = said.ok_or_else(|| BenchError::Model("it has no output".to_owned()))?;
        let line = tokio::time::timeout(START_LIMIT, said.next_line()).await;
        let line = line.map_err(|_| BenchError::Model("it did not start in time".to_owned()))?;
        let line = line
            .map_err(failed("the model server cannot be read"))?
            .unwrap_or_default();
        let base_url = line.strip_prefix(LISTENS);
        let base_url = base_url.ok_or_else(|| BenchError::Model("it did not start".to_owned()))?;
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            base_url: base_url.to_owned(),
            pid,
            _child: child,
        })
    }
}
