//! `nexus bench`: what the platform does on this machine, measured from outside, over the same wire
//! as any client. What is measured is another process; the model that it calls is a third, which
//! answers at once, so that what is left is the platform's own.
//!
//! A measurement is a file with its arguments and a `run`, a variant of [`Bench`], and a report with
//! a fixed shape.

mod bare;
mod budget;
mod budget_report;
mod direct;
mod error;
mod filter_rate;
mod frame;
mod holds;
mod lag;
mod llm;
mod llm_report;
mod load;
mod machine;
mod model_server;
mod observe;
mod platform;
mod policy;
mod proc;
mod report;
mod runs;
mod soak;
mod soak_report;
mod stats;
mod stored;
mod streams;
mod summary;
mod tools;

use std::process::ExitCode;

use error::BenchError;

/// Measure this machine: how fast the platform is here, and what binds
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: Bench,
}

/// Every measurement.
#[derive(Debug, clap::Subcommand)]
enum Bench {
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
    /// Hours of load at a part of the maximum: what grows, and a verdict
    Soak(soak::SoakArgs),
    /// An OpenAI-compatible server that answers at once, for measuring and trying out
    ModelServer(model_server::ModelServerArgs),
}

/// Measures; errors go to standard error.
pub(crate) async fn run(args: BenchArgs) -> ExitCode {
    let outcome = match args.what {
        Bench::Runs(args) => Box::pin(runs::run(args)).await,
        Bench::Budget(args) => Box::pin(budget::run(args)).await,
        Bench::Policy(args) => policy::run(args).await,
        Bench::Tools(args) => tools::run(args).await,
        Bench::Llm(args) => Box::pin(llm::run(args)).await,
        Bench::Soak(args) => Box::pin(soak::run(args)).await,
        Bench::ModelServer(args) => model_server::serve(args).await,
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
