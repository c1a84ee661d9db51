//! `nexus agents`, `nexus models`: what this installation offers.

use super::Asker;
use crate::cli::error::CliError;
use crate::cli::fields;

/// What the platform offers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CatalogVerb {
    /// All of them
    List,
}

/// Of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Catalog {
    /// Agents.
    Agents,
    /// Models.
    Models,
}

impl Catalog {
    /// Lists them.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn list(self, asker: &Asker) -> Result<(), CliError> {
        let (name, fields) = match self {
            Self::Agents => ("agents", fields::AGENTS),
            Self::Models => ("models", fields::MODELS),
        };
        asker.list(&["v1", name], vec![], fields).await
    }
}
