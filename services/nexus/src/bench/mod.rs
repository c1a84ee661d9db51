//! `nexus bench`: what the platform does on this machine, measured from outside, over the same wire
//! as any client. What is measured is another process; the model that it calls is a third, which
//! answers at once, so that what is left is the platform's own.
//!
//! A measurement is a file with its arguments and a `part` that gives figures, a variant of [`Bench`],
//! and a line in `all.rs`. What figures look like is written once, in `report/`.

mod all;
mod bare;
mod budget;
mod direct;
mod error;
mod filter_rate;
mod frame;
mod gateway;
mod holds;
mod lag;
mod listeners;
mod llm;
mod load;
mod machine;
mod model_server;
mod observe;
mod past;
mod platform;
mod policy;
mod proc;
mod processes;
mod projections;
mod report;
mod runs;
mod scale;
mod soak;
mod soak_report;
mod stats;
mod stored;
mod streams;
mod summary;
mod tools;
mod traffic;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use error::BenchError;
use machine::Machine;
use report::Report;

use crate::cli::print;
use crate::cli::style::Style;

/// Measure this machine: how fast the platform is here, and what binds
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: Option<Bench>,
    #[command(flatten)]
    all: all::AllArgs,
    /// Print the figures as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Write report.json and report.html, which has charts, into this directory
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Every measurement.
#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Everything below, in one report; what `nexus bench` alone does
    All(all::AllArgs),
    /// Whole governed runs: rates, times, CPU, memory and bytes
    Runs(runs::RunsArgs),
    /// Reservations on one hot ledger and on many: rates, times, CPU
    Budget(budget::BudgetArgs),
    /// Decisions of policy: in process, and made again on history
    Policy(policy::PolicyArgs),
    /// Calls of sandboxed code: cold, warm, side by side, and how soon an endless loop ends
    Tools(tools::ToolsArgs),
    /// Model calls: what a run adds, streams held at once, fragments a second, the content filter
    Llm(llm::LlmArgs),
    /// One gateway: commands accepted, queries, events to many listeners, idle listeners
    Gateway(gateway::GatewayArgs),
    /// One projector: events a second, and how late it is at half of that
    Projections(projections::ProjectionsArgs),
    /// New tables, filled from the beginning of the log
    Rebuild(projections::RebuildArgs),
    /// What a run costs with one and with many processes, sessions, turns, parked runs
    Scaling(scale::ScalingArgs),
    /// Hours of load at a part of the maximum: what grows, and a verdict
    Soak(soak::SoakArgs),
    /// An OpenAI-compatible server that answers at once, for measuring and trying out
    ModelServer(model_server::ModelServerArgs),
}

/// Measures; errors go to standard error.
pub(crate) async fn run(args: BenchArgs) -> ExitCode {
    let json = args.json;
    let outcome = match args.what {
        Some(Bench::ModelServer(args)) => model_server::serve(args).await,
        what => {
            let what = what.unwrap_or(Bench::All(args.all));
            report(what, json, args.out.as_deref()).await
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(BenchError::Client(error)) => error.report().into(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn report(what: Bench, json: bool, out: Option<&Path>) -> Result<(), BenchError> {
    let machine = Machine::here();
    let parts = match what {
        Bench::All(args) => Box::pin(all::parts(args)).await?,
        Bench::Runs(args) => vec![Box::pin(runs::part(&args)).await?],
        Bench::Budget(args) => vec![Box::pin(budget::part(&args)).await?],
        Bench::Policy(args) => vec![policy::part(&args).await?],
        Bench::Tools(args) => vec![tools::part(&args).await?],
        Bench::Llm(args) => vec![Box::pin(llm::part(&args)).await?],
        Bench::Gateway(args) => vec![Box::pin(gateway::part(&args)).await?],
        Bench::Projections(args) => vec![Box::pin(projections::part(&args)).await?],
        Bench::Rebuild(args) => vec![Box::pin(projections::rebuild_part(&args)).await?],
        Bench::Scaling(args) => vec![Box::pin(scale::part(&args)).await?],
        Bench::Soak(args) => return Box::pin(soak::run(args, json)).await,
        // It serves until it is stopped, and measures nothing.
        Bench::ModelServer(args) => return model_server::serve(args).await,
    };
    let report = Report { machine, parts };
    if let Some(dir) = out {
        write(dir, "report.json", &report.json())?;
        write(dir, "report.html", &report.page())?;
    }
    let text = match json {
        true => report.json(),
        false => report.text(Style::stdout()),
    };
    print::write(&text)?;
    let all = report.parts.len();
    let failed = report.parts.iter().filter(|part| part.failure.is_some());
    match failed.count() {
        0 => Ok(()),
        failed => Err(BenchError::Parts(failed, all)),
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), BenchError> {
    let path = dir.join(name);
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text));
    written.map_err(|source| BenchError::File { path, source })
}
