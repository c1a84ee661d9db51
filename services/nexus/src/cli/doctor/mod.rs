//! `nexus doctor`: looks at everything an operator would, and says what to do about what it finds.
//! Each check is a function that gives findings; none stops the others.

mod bus;
mod database;
mod finding;
mod gateway;
mod machine;
mod verdict;

use serde_json::json;

use super::endpoint::{Connection, Servers};
use super::error::CliError;
use super::exit::Exit;
use super::print::{self, Output};
use super::style::Style;

/// Look at the whole platform and say what is wrong
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Only ask the gateway whether it is ready; for health checks of containers
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) servers: Servers,
    #[command(flatten)]
    connection: Connection,
}

/// Looks.
///
/// # Errors
/// Standard output is closed.
pub(crate) async fn run(args: DoctorArgs) -> Result<Exit, CliError> {
    if args.ready {
        return Ok(gateway::ready(&args.connection).await);
    }
    let mut findings = gateway::check(&args.connection).await;
    let (of_bus, log_seq) = bus::check(&args.servers, &args.connection).await;
    findings.extend(of_bus);
    findings.extend(database::check(&args.servers, &args.connection, log_seq).await);
    findings.extend(machine::check(&args.connection).await);
    if args.output.json {
        let healthy = !finding::any_fails(&findings);
        args.output
            .value(&json!({ "healthy": healthy, "findings": findings }))?;
    } else {
        print::write(&finding::render(&findings, Style::stdout()))?;
    }
    Ok(if finding::any_fails(&findings) {
        Exit::Failed
    } else {
        Exit::Done
    })
}
