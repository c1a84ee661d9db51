//! What isolates tenants on a bus, as files in one directory: a seed for each of them and for the
//! platform, the key of the seals, and the server's accounts. Seeds are made once and kept, so that
//! naming one more tenant changes nothing for the others. The server's part has public keys only.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nexus_bus::isolation::{self, IsolationError, PlatformUser};
use nexus_events::Tenant;
use nkeys::KeyPair;

/// The server's accounts, to be included in its configuration.
pub(crate) const ACCOUNTS_FILE: &str = "accounts.conf";
/// The key of the seals.
pub(crate) const SEAL_FILE: &str = "seal.key";
/// The seed of the platform's user. No tenant's file has such a name, as those are lower case.
pub(crate) const PLATFORM_SEED_FILE: &str = "NEXUS.nk";
const MOST_SECRET_BYTES: usize = 1024;

/// Files that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// One cannot be read or written.
    #[error("{path} cannot be {action}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{path} does not hold the seed of an NKey")]
    Seed {
        /// Which.
        path: PathBuf,
    },
    /// A key could not be made.
    #[error("a key could not be made: {0}")]
    Key(String),
    /// The accounts cannot be written down.
    #[error(transparent)]
    Accounts(#[from] IsolationError),
}

/// Where a tenant's seed is.
pub(crate) fn seed_file(dir: &Path, tenant: &Tenant) -> PathBuf {
    dir.join(format!("{tenant}.nk"))
}

/// Makes what is missing, and writes the accounts; gives their text. Without a user of its own the
/// platform gets a seed too.
///
/// # Errors
/// [`FilesError`].
pub(crate) fn write(
    dir: &Path,
    tenants: &[Tenant],
    platform: Option<PlatformUser>,
) -> Result<String, FilesError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|source| failed(dir, "made", source))?;
    secret(&dir.join(SEAL_FILE), || {
        let half = || uuid::Uuid::new_v4().simple().to_string();
        Ok(format!("{}{}", half(), half()))
    })?;
    let platform = match platform {
        Some(user) => user,
        None => PlatformUser::Nkey(public_key(&dir.join(PLATFORM_SEED_FILE))?),
    };
    let keys = |tenant: &Tenant| Ok((tenant.clone(), vec![public_key(&seed_file(dir, tenant))?]));
    let users: BTreeMap<_, _> = tenants
        .iter()
        .map(keys)
        .collect::<Result<_, FilesError>>()?;
    let text = isolation::accounts(&platform, &users)?;
    let path = dir.join(ACCOUNTS_FILE);
    // A password of `nexus up` is in it.
    replace(&path, &text).map_err(|source| failed(&path, "written", source))?;
    Ok(text)
}

/// The public part of the seed in a file, which is made where there is none.
fn public_key(path: &Path) -> Result<String, FilesError> {
    let seed = secret(path, || {
        let pair = KeyPair::new_user();
        pair.seed()
            .map_err(|error| FilesError::Key(error.to_string()))
    })?;
    let pair = KeyPair::from_seed(&seed).ok();
    let key = pair
        .map(|pair| pair.public_key())
        .filter(|key| key.starts_with('U'));
    key.ok_or_else(|| FilesError::Seed {
        path: path.to_owned(),
    })
}

fn secret(
    path: &Path,
    make: impl FnOnce() -> Result<String, FilesError>,
) -> Result<String, FilesError> {
    match std::fs::read_to_string(path) {
        Ok(text) => return Ok(text.trim().chars().take(MOST_SECRET_BYTES).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(path, "read", source)),
    }
    let text = make()?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| writeln!(file, "{text}"));
    written.map_err(|source| failed(path, "written", source))?;
    Ok(text)
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // Only this user may read it from the first byte on.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn failed(path: &Path, action: &'static str, source: std::io::Error) -> FilesError {
    FilesError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Moves the streams of a stopped server of ours to the account that will look for them: they are
/// the server's own while nobody is isolated, and the platform's account's else.
///
/// # Errors
/// [`FilesError`].
pub(crate) fn place_streams(nats_dir: &Path, isolated: bool) -> Result<(), FilesError> {
    let streams = nats_dir.join("jetstream");
    let (global, own) = (
        streams.join("$G"),
        streams.join(isolation::PLATFORM_ACCOUNT),
    );
    let (from, to) = match isolated {
        true => (global, own),
        false => (own, global),
    };
    if !from.join("streams").exists() {
        return Ok(());
    }
    // The server leaves an empty directory of its default account beside ours.
    let _ = std::fs::remove_dir(&to);
    std::fs::rename(&from, &to).map_err(|source| failed(&from, "moved", source))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn seeds_are_made_once_and_only_public_keys_are_told_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tenants");
        let acme: Tenant = "acme".parse().unwrap();
        let first = write(&path, std::slice::from_ref(&acme), None).unwrap();
        let seed = std::fs::read_to_string(seed_file(&path, &acme)).unwrap();
        let both = [acme.clone(), "globex".parse().unwrap()];
        let second = write(&path, &both, None).unwrap();
        assert_eq!(
            seed,
            std::fs::read_to_string(seed_file(&path, &acme)).unwrap()
        );
        let key = public_key(&seed_file(&path, &acme)).unwrap();
        assert!(first.contains(&key) && second.contains(&key));
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
            let text = std::fs::read_to_string(entry.path()).unwrap();
            assert!(!second.contains(text.trim()) || entry.path().ends_with(ACCOUNTS_FILE));
        }
    }

    #[test]
    fn streams_follow_the_account() {
        let dir = tempfile::tempdir().unwrap();
        let stream = |account: &str| {
            let path = dir.path().join("jetstream").join(account);
            path.join("streams/NEXUS_EVT")
        };
        place_streams(dir.path(), true).unwrap();
        std::fs::create_dir_all(stream("$G")).unwrap();
        place_streams(dir.path(), true).unwrap();
        assert!(stream("NEXUS").exists());
        std::fs::create_dir_all(dir.path().join("jetstream/$G")).unwrap();
        place_streams(dir.path(), false).unwrap();
        assert!(stream("$G").exists());
    }
}
