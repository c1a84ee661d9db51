//! `nexus tenants`: who there is, and what a server needs so that each reaches its own subjects only.

use std::path::PathBuf;

use nexus_bus::{dlq, topology};
use nexus_events::{Tenant, subject};
use serde_json::json;

use super::endpoint::{Connection, Servers};
use super::error::CliError;
use super::exit::Exit;
use super::print::Output;
use super::{fields, servers};
use crate::isolation;

/// Tenants.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TenantsVerb {
    /// Tenants that have ever run anything, with the commits of their ledgers
    List,
    /// Write what lets tenants connect to a nats-server, each to its own subjects only: accounts for
    /// the server, and a seed for each tenant. Seeds that are there stay as they are
    Config {
        /// All tenants that may connect
        #[arg(required = true, value_name = "TENANT")]
        tenants: Vec<Tenant>,
        /// Where the files go; only this user can read them
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// `nexus tenants`.
#[derive(Debug, clap::Args)]
pub(crate) struct TenantsArgs {
    #[command(subcommand)]
    verb: TenantsVerb,
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
pub(crate) async fn run(args: TenantsArgs) -> Result<Exit, CliError> {
    let output = args.output;
    match args.verb {
        TenantsVerb::List => {
            let bus = servers::bus(&args.servers, &args.connection).await?;
            let counts = dlq::counts_of(&bus, topology::EVENTS, subject::ALL_LEDGERS)
                .await
                .map_err(CliError::server(format!("stream {}", topology::EVENTS)))?;
            let row = |(subject, commits): (&String, &u64)| {
                let tenant = subject::tenant_of(subject)?;
                Some(json!({ "tenant": tenant, "ledger_commits": commits }))
            };
            let items: Vec<_> = counts.iter().filter_map(row).collect();
            output.list(fields::TENANTS, &json!({ "items": items }))?;
        }
        TenantsVerb::Config { tenants, dir } => {
            isolation::write(&dir, &tenants, None)
                .map_err(|error| CliError::Usage(error.to_string()))?;
            let shown = |file: &str| dir.join(file).display().to_string();
            let accounts = shown(isolation::ACCOUNTS_FILE);
            let nkey = shown(isolation::PLATFORM_SEED_FILE);
            let seal = shown(isolation::SEAL_FILE);
            let seeds: Vec<_> = (tenants.iter())
                .map(|tenant| (tenant, isolation::seed_file(&dir, tenant)))
                .map(|(tenant, seed)| json!({ "tenant": tenant, "seed_file": seed }))
                .collect();
            let sentence = format!(
                "In the server's configuration, in the place of `authorization`:\n\n    \
                 include \"{accounts}\"\n\nIn nexus.toml of every process of the platform:\n\n    \
                 [nats]\n    nkey_file = \"{nkey}\"\n    seal_file = \"{seal}\"\n    \
                 require_seals = true\n\nTo each tenant, its own: {}/<tenant>.nk",
                dir.display()
            );
            let answer = json!({
                "accounts_file": accounts, "nkey_file": nkey, "seal_file": seal, "tenants": seeds,
            });
            output.done(&sentence, &answer)?;
        }
    }
    Ok(Exit::Done)
}
