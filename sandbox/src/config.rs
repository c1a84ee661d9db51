//! What a sandbox is given when it is made.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Settings of a [`crate::Sandbox`].
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Where compiled code is kept. What is in it is executed: it is created for this user alone, and
    /// refused if others may write to it.
    pub cache_dir: PathBuf,
    /// CPython compiled for WASI. It may be set at any time before the first Python is loaded, so
    /// that whoever offers it can fetch it then.
    pub python: Arc<OnceLock<PathBuf>>,
    /// How many calls run at once; others wait. Address space is reserved for so many.
    pub max_calls: u32,
    /// The most memory that any call may be given, in bytes, whatever its limits say.
    pub max_memory: u64,
    /// Threads for calls that take longer than a slice of some milliseconds.
    pub threads: usize,
    /// How much compiled code stays in memory, in bytes.
    pub max_code: u64,
}

impl SandboxConfig {
    /// Modest settings, without Python.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            python: Arc::default(),
            max_calls: 16,
            max_memory: 512 << 20,
            threads: 2,
            max_code: 256 << 20,
        }
    }
}

/// Why a sandbox cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The directory for compiled code cannot be made or read.
    #[error("the directory for compiled code {} cannot be used", path.display())]
    CacheDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may write there.
    #[error(
        "{} holds code that is executed, and others may write to it: `chmod 700` it, or name another",
        path.display()
    )]
    OpenCacheDir {
        /// The directory.
        path: PathBuf,
    },
    /// A setting that makes no sense.
    #[error("{name} must be {must}")]
    Setting {
        /// The field.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
}

/// Checks settings, and makes the directory.
pub(crate) fn prepare(config: &SandboxConfig) -> Result<(), ConfigError> {
    let setting = |name, must| Err(ConfigError::Setting { name, must });
    if !(1..=256).contains(&config.max_calls) {
        return setting("max_calls", "between 1 and 256");
    }
    if !((16 << 20)..=(4 << 30)).contains(&config.max_memory) {
        return setting("max_memory", "between 16 MB and 4 GB");
    }
    if !(1..=64).contains(&config.threads) {
        return setting("threads", "between 1 and 64");
    }
    let path = &config.cache_dir;
    let failed = |source| ConfigError::CacheDir {
        path: path.clone(),
        source,
    };
    make_private(path).map_err(failed)?;
    let metadata = path.metadata().map_err(failed)?;
    if others_may_write(&metadata) {
        return Err(ConfigError::OpenCacheDir { path: path.clone() });
    }
    Ok(())
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

#[cfg(unix)]
fn others_may_write(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o022 != 0
}

#[cfg(not(unix))]
fn others_may_write(_: &Metadata) -> bool {
    false
}
