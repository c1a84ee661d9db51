//! `nexus dlq`: commands that could not be handled. It talks to the bus itself: dead letters pile up
//! when something is broken, which may be the gateway.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use nexus_bus::dlq::{self, DeadLetter, DlqError};
use nexus_bus::{Bus, topology};
use nexus_events::{Problem, Tenant};
use serde_json::{Value, json};
use tokio::time::interval;

use super::endpoint::{Connection, Servers};
use super::error::CliError;
use super::exit::Exit;
use super::format::count;
use super::print::{Output, hint};
use super::{fields, servers};

const TELL_EVERY: Duration = Duration::from_secs(1);

/// Commands that could not be handled.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DlqVerb {
    /// The newest letters; of one tenant with --tenant
    List {
        /// Letters at most, up to 100
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// Older than this letter
        #[arg(long, value_name = "LETTER")]
        before: Option<u64>,
    },
    /// One letter, whole
    Show {
        /// Its number
        letter: u64,
    },
    /// Publish a letter's command again; it keeps its id
    Redrive {
        /// Its number; several may be given
        #[arg(required = true)]
        letters: Vec<u64>,
    },
    /// Publish all of them again; Ctrl-C stops between two, and the rest stays
    RedriveAll,
    /// Throw a letter away
    Discard {
        /// Its number; several may be given
        #[arg(required = true)]
        letters: Vec<u64>,
    },
}

/// `nexus dlq`.
#[derive(Debug, clap::Args)]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    verb: DlqVerb,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) servers: Servers,
    #[command(flatten)]
    connection: Connection,
}

/// Does it.
///
/// # Errors
/// [`CliError`].
pub(crate) async fn run(args: DlqArgs) -> Result<Exit, CliError> {
    let tenant = args
        .connection
        .tenant
        .as_deref()
        .map(str::parse::<Tenant>)
        .transpose();
    let tenant = tenant.map_err(|error| CliError::Usage(error.to_string()))?;
    let bus = servers::bus(&args.servers, &args.connection).await?;
    let (output, tenant) = (args.output, tenant.as_ref());
    match args.verb {
        DlqVerb::List { limit, before } => {
            let letters = dlq::list(&bus, tenant, before, limit)
                .await
                .map_err(failed)?;
            output.list(fields::LETTERS, &json!({ "items": letters }))?;
        }
        DlqVerb::Show { letter } => {
            let letter = dlq::get(&bus, tenant, letter).await.map_err(failed)?;
            show(output, &letter)?;
        }
        DlqVerb::Redrive { letters } => {
            for number in letters {
                let letter = dlq::get(&bus, tenant, number).await.map_err(failed)?;
                dlq::redrive(&bus, &letter).await.map_err(failed)?;
                let answer = json!({ "letter": number, "subject": letter.subject });
                output.done(
                    &format!("letter {number} is on {} again", letter.subject),
                    &answer,
                )?;
            }
        }
        DlqVerb::RedriveAll => return redrive_all(output, &bus, tenant).await,
        DlqVerb::Discard { letters } => {
            for number in letters {
                // Another tenant's is not ours to throw away.
                dlq::get(&bus, tenant, number).await.map_err(failed)?;
                dlq::discard(&bus, number).await.map_err(failed)?;
                output.done(
                    &format!("letter {number} is gone"),
                    &json!({ "letter": number }),
                )?;
            }
        }
    }
    Ok(Exit::Done)
}

fn show(output: Output, letter: &DeadLetter) -> Result<(), CliError> {
    if output.json {
        return output.value(&serde_json::to_value(letter).unwrap_or_default());
    }
    let body = String::from_utf8_lossy(&letter.body);
    let pretty = serde_json::from_str::<Value>(&body);
    let body = pretty
        .ok()
        .and_then(|value| serde_json::to_string_pretty(&value).ok());
    let body = body.unwrap_or_else(|| String::from_utf8_lossy(&letter.body).into_owned());
    let mut text = letter.explain();
    text.push('\n');
    for (name, value) in &letter.headers {
        text.push_str(&format!("\n{name}: {value}"));
    }
    text.push_str(&format!("\n\n{body}\n"));
    super::print::write(&super::style::printable(&text))
}

/// A letter is deleted only after its command is back in the queue, and the command keeps its id:
/// stopping in between loses nothing and does nothing twice.
async fn redrive_all(output: Output, bus: &Bus, tenant: Option<&Tenant>) -> Result<Exit, CliError> {
    let before = total(&dlq::counts(bus, tenant).await.map_err(failed)?);
    let redriving = dlq::redrive_all(bus, tenant);
    tokio::pin!(redriving);
    let mut tick = interval(TELL_EVERY);
    let result = loop {
        tokio::select! {
            result = &mut redriving => break result.map_err(failed)?,
            _ = tick.tick() => tell(bus, tenant, before).await,
            _ = tokio::signal::ctrl_c() => {
                hint("stopped; the letters that were not redriven stay where they are");
                return Ok(Exit::Cancelled);
            }
        }
    };
    let sentence = match result.left {
        0 => format!("{} letter(s) redriven", count(result.redriven)),
        left => format!(
            "{} letter(s) redriven, {} left as their bodies were cut: publish those again yourself",
            count(result.redriven),
            count(left)
        ),
    };
    output.done(&sentence, &serde_json::to_value(result).unwrap_or_default())?;
    Ok(Exit::Done)
}

async fn tell(bus: &Bus, tenant: Option<&Tenant>, before: u64) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    if let Ok(counts) = dlq::counts(bus, tenant).await {
        hint(&format!(
            "{} of {} letters left",
            count(total(&counts)),
            count(before)
        ));
    }
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn failed(error: DlqError) -> CliError {
    let problem =
        |status, code| CliError::Problem(Box::new(Problem::new(status, code, error.to_string())));
    match &error {
        DlqError::NotFound(_) => problem(404, "not_found"),
        DlqError::Truncated(_) => problem(409, "truncated"),
        _ => CliError::server(format!("stream {}", topology::DEAD_LETTERS))(error),
    }
}
