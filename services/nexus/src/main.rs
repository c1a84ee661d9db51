//! The one binary: roles, `nexus up`, and the command line.

mod agents;
mod bench;
mod chaos;
mod cli;
mod config;
mod documents;
mod failure;
mod install;
mod isolation;
mod local_model;
mod monitor;
mod open_files;
mod retention;
mod roles;
mod signals;
mod telemetry;
mod tools;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use config::Config;
use failure::Failure;
use roles::{Role, Running};

/// Many small, short-lived texts on all threads: the system allocator took a quarter of the roles'
/// CPU time under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs AI agents the way a bank runs payments: every step a fact on a log, every token reserved
/// before it is spent, every tool call judged before it is made.
#[derive(Debug, Parser)]
#[command(name = "nexus", version, propagate_version = true)]
struct Arguments {
    /// Configuration file [default: nexus.toml in the working directory, if there is one]
    #[arg(long, env = "NEXUS_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the whole platform on this machine: servers, tables, every role, the gateway
    Up(up::UpArgs),
    /// Run chosen roles against NATS and Postgres that run elsewhere
    Role {
        /// Any of: run, budget, policy, tools, llm, projector, gateway
        #[arg(required = true, value_name = "NAME")]
        roles: Vec<Role>,
        /// By how many milliseconds the clock that they see is ahead; for trying out wrong clocks
        #[arg(
            long,
            value_name = "MS",
            default_value_t,
            allow_hyphen_values = true,
            hide = true
        )]
        clock_offset_ms: i64,
        /// End when standard input closes
        #[arg(long, hide = true)]
        with_parent: bool,
    },
    /// Fetch what `nexus up` needs and the machine lacks, without starting anything
    Install(install::InstallArgs),
    /// Measure this machine: how fast the platform is here, and what binds
    Bench(bench::BenchArgs),
    /// Break a platform of its own in every way that is known, and check that it kept its promises
    Chaos(chaos::ChaosArgs),
    /// Print where the running platform is, with the servers' passwords
    Endpoints(cli::Connection),
    #[command(flatten)]
    Client(Box<cli::Client>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The ring provider is the one that all clients here are built for; a second install cannot be.
    let _ = rustls::crypto::ring::default_provider().install_default();
    open_files::raise_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return say(&format!("the runtime cannot be started: {error}")),
    };
    let config = match Config::load(arguments.config.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) => return say(&error.to_string()),
    };
    runtime.block_on(dispatch(arguments.command, config))
}

async fn dispatch(command: Command, config: Config) -> ExitCode {
    let outcome = match command {
        Command::Client(client) => return client.run(config.servers()).await,
        Command::Bench(arguments) => return bench::run(arguments).await,
        Command::Chaos(arguments) => return chaos::run(arguments).await,
        Command::Endpoints(connection) => return print_endpoints(&connection),
        Command::Install(arguments) => install::install(arguments).await,
        Command::Up(arguments) => with_telemetry(&config, up::up(arguments, config.clone())).await,
        Command::Role {
            roles,
            clock_offset_ms,
            with_parent,
        } => {
            let mut config = config;
            config.clock_offset_ms = clock_offset_ms;
            let running = run_roles(roles, config.clone(), with_parent);
            with_telemetry(&config, running).await
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => say(&with_causes(&failure)),
    }
}

fn print_endpoints(connection: &cli::Connection) -> ExitCode {
    match connection.endpoints() {
        Ok(Some(endpoints)) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&endpoints).unwrap_or_default()
            );
            ExitCode::SUCCESS
        }
        Ok(None) => say("no platform runs here; start one with `nexus up`"),
        Err(error) => say(&with_causes(&error)),
    }
}

async fn with_telemetry(
    config: &Config,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let telemetry = telemetry::install(&config.telemetry)?;
    let outcome = Box::pin(work).await;
    telemetry.shut_down();
    outcome
}

async fn run_roles(mut roles: Vec<Role>, config: Config, with_parent: bool) -> Result<(), Failure> {
    roles.dedup();
    let mut signals = signals::Signals::install().map_err(Failure::Signals)?;
    let mut running = tokio::select! {
        started = Running::start(&roles, config) => started?,
        _ = signals.next() => return Ok(()),
        () = signals::parent_gone(), if with_parent => return Ok(()),
    };
    let failure = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            None
        }
        failure = running.ended() => Some(failure),
        // Whoever is gone waits for nothing.
        () = signals::parent_gone(), if with_parent => return Ok(()),
    };
    tokio::select! {
        () = running.stop() => {}
        _ = signals.next() => tracing::warn!("stopped at once"),
    }
    failure.map_or(Ok(()), Err)
}

fn say(message: &str) -> ExitCode {
    eprintln!("nexus: {message}");
    ExitCode::FAILURE
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
