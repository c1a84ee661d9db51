//! What stops a measurement.

use std::path::PathBuf;

use crate::cli::CliError;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A process of ours could not be started or stopped.
    #[error("{what}: {source}")]
    Process {
        /// Which, and what was tried.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The platform did not become ready.
    #[error("the platform did not start: {reason}\n{log}")]
    Start {
        /// Why.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The servers or the gateway.
    #[error(transparent)]
    Client(#[from] CliError),
    /// The sandbox.
    #[error("the sandbox: {0}")]
    Tools(String),
    /// The bus.
    #[error("the bus: {0}")]
    Bus(String),
    /// Requests to the gateway.
    #[error("the gateway: {0}")]
    Http(String),
    /// The read models.
    #[error("the read models: {0}")]
    Database(String),
    /// A policy that does not decide.
    #[error("the policy: {0}")]
    Policy(String),
    /// The content filter.
    #[error("the content filter: {0}")]
    Filter(String),
    /// The model server.
    #[error("the model server: {0}")]
    Model(String),
    /// Runs did not end as they should, so that their times mean nothing.
    #[error("{failed} of {all} runs did not complete; the first said: {first}")]
    Runs {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// What the first one said.
        first: String,
    },
    /// Something grew that should not, or runs failed under steady load.
    #[error("not steady: {0}")]
    Unsteady(String),
    /// Arguments of ours that a measurement does not know.
    #[error("{0}")]
    Arguments(String),
    /// Some measurements of several gave nothing.
    #[error("{0} of {1} measurements failed")]
    Parts(usize, usize),
    /// Somebody pressed Ctrl-C.
    #[error("stopped")]
    Stopped,
}
