//! What stops a run of chaos; a breach does not, it is the result.

use nexus_devstack::DevstackError;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    /// The private servers.
    #[error(transparent)]
    Servers(#[from] DevstackError),
    /// A file, a port or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it did not work.
        #[source]
        source: std::io::Error,
    },
    /// The platform did not become ready, or what it needs first was refused.
    #[error("the platform could not be set up: {0}")]
    Setup(String),
    /// What was recorded cannot be read.
    #[error("what was recorded cannot be read: {0}")]
    Facts(String),
    /// Ctrl-C.
    #[error("stopped")]
    Stopped,
}

impl ChaosError {
    /// An error of the system, with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
