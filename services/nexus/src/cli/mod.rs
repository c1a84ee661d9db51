//! The command line's client side: everything that talks to a platform which runs elsewhere, in
//! this machine or not. Most of it goes through the gateway, as any other client would; dead
//! letters, projections and `doctor` look at the servers themselves, because they are for the time
//! when the gateway is not well.
//!
//! Rendering is pure and tested by what it prints; what reaches out is thin around it.

mod ask;
mod audit;
mod audit_archive;
mod dlq;
mod doctor;
pub(crate) mod endpoint;
mod error;
mod exit;
mod fields;
mod follow;
pub(crate) mod format;
mod http;
pub(crate) mod parse;
pub(crate) mod print;
mod projections;
mod run;
mod screen;
mod servers;
mod sse;
mod story;
pub(crate) mod style;
pub(crate) mod table;
mod tenants;
#[cfg(test)]
mod testing;
mod view;

use std::process::ExitCode;

use ask::Asker;
use ask::approvals::ApprovalsVerb;
use ask::budgets::BudgetsVerb;
use ask::catalog::{Catalog, CatalogVerb};
use ask::keys::KeysVerb;
use ask::policies::PoliciesVerb;
use ask::runs::RunsVerb;
use ask::sessions::SessionsVerb;
use ask::tools::ToolsVerb;
use ask::webhooks::WebhooksVerb;
use exit::Exit;

pub(crate) use endpoint::{Configured, Connection, Endpoints, Servers, bus_at};
pub(crate) use error::CliError;
pub(crate) use http::{Gateway, Request};

/// Client commands, to be flattened into the program's.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Client {
    /// Start an agent run and show it live
    Run(run::RunArgs),
    /// Show a run, from its beginning to its end
    Watch(run::WatchArgs),
    /// Look at runs and steer them
    Runs(Ask<RunsVerb>),
    /// Conversations: runs in order, with a budget of their own
    Sessions(Ask<SessionsVerb>),
    /// Questions of policy to people, and their answers
    Approvals(Ask<ApprovalsVerb>),
    /// API keys: who may call, as whom, and until when
    Keys(Ask<KeysVerb>),
    /// Limits, what is held and what was spent
    Budgets(Ask<BudgetsVerb>),
    /// What policy allows, as bundles of Rego
    Policies(Ask<PoliciesVerb>),
    /// Tools that models may call
    Tools(Ask<ToolsVerb>),
    /// Events delivered to receivers of your own, signed and in order
    Webhooks(Ask<WebhooksVerb>),
    /// Agents
    Agents(Ask<CatalogVerb>),
    /// Models
    Models(Ask<CatalogVerb>),
    /// Who did what, when, to what, and why it was allowed
    Audit(audit::AuditArgs),
    /// Commands that could not be handled: look at them, publish them again
    Dlq(dlq::DlqArgs),
    /// Tenants, and what isolates them on the bus
    Tenants(tenants::TenantsArgs),
    /// The read models: how far they are, rebuild, verify
    Projections(projections::ProjectionsArgs),
    /// Look at the whole platform and say what is wrong
    Doctor(doctor::DoctorArgs),
}

/// A verb, and whom to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Ask<V: clap::Subcommand> {
    #[command(subcommand)]
    verb: V,
    #[command(flatten)]
    output: print::Output,
    #[command(flatten)]
    connection: Connection,
}

impl<V: clap::Subcommand> Ask<V> {
    fn split(self) -> Result<(V, Asker), CliError> {
        let gateway = Gateway::new(&self.connection)?;
        Ok((
            self.verb,
            Asker {
                gateway,
                output: self.output,
            },
        ))
    }
}

impl Client {
    /// Does it, with every error on standard error; the exit code says how it ended.
    pub(crate) async fn run(self, configured: Configured) -> ExitCode {
        match Box::pin(self.dispatch(configured)).await {
            Ok(exit) => exit.into(),
            Err(error) => error.report().into(),
        }
    }

    async fn dispatch(self, configured: Configured) -> Result<Exit, CliError> {
        match self {
            Self::Run(args) => return run::run(args).await,
            Self::Watch(args) => return run::watch(args).await,
            Self::Dlq(mut args) => {
                args.servers.configured = configured;
                return dlq::run(args).await;
            }
            Self::Tenants(mut args) => {
                args.servers.configured = configured;
                return tenants::run(args).await;
            }
            Self::Projections(mut args) => {
                args.servers.configured = configured;
                return projections::run(args).await;
            }
            Self::Audit(mut args) => {
                args.servers.configured = configured;
                return audit::run(args).await;
            }
            Self::Doctor(mut args) => {
                args.servers.configured = configured;
                return doctor::run(args).await;
            }
            Self::Runs(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Sessions(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Approvals(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Keys(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Budgets(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Policies(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Tools(ask) => {
                let (verb, asker) = ask.split()?;
                verb.run(&asker).await?;
            }
            Self::Webhooks(ask) => {
                let (verb, asker) = ask.split()?;
                return verb.run(&asker).await;
            }
            Self::Agents(ask) => Catalog::Agents.list(&ask.split()?.1).await?,
            Self::Models(ask) => Catalog::Models.list(&ask.split()?.1).await?,
        }
        Ok(Exit::Done)
    }
}
