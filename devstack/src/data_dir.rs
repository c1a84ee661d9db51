//! A data directory belongs to one process at a time: two servers on the same files ruin them.
//!
//! The right is a file lock and not the pid in the file: a lock goes with its process, however that
//! ends, and a pid may by then be somebody else's. The pid is there for the error text alone.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::{DevstackError, Result, files};

/// A data directory that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Where a user's data usually go: `/var/lib/nexus` for root, whose home the user that
    /// PostgreSQL runs as cannot enter; else `$XDG_DATA_HOME/nexus`, else `~/.local/share/nexus`.
    /// `None` without a home.
    #[must_use]
    pub fn usual_path() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = rustix::process::geteuid().is_root();
        usual(root, variable("XDG_DATA_HOME"), variable("HOME"))
    }

    /// Takes a data directory, creating it if need be.
    ///
    /// # Errors
    /// [`DevstackError::Locked`] while another process (or this one, a second time) holds it.
    pub fn lock(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Others may pass through: PostgreSQL runs as another user when this process is root. What
        // is inside is closed one by one.
        files::create_open_dir(path)?;
        let path = path
            .canonicalize()
            .map_err(DevstackError::io("resolve", path))?;
        let lock_path = path.join("nexus.lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(DevstackError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DevstackError::Locked {
                    path,
                    pid: read_pid(&mut lock),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(DevstackError::io("lock", &lock_path)(error));
            }
        }
        write_pid(&mut lock).map_err(DevstackError::io("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where nats-server keeps its data.
    #[must_use]
    pub fn nats(&self) -> PathBuf {
        self.path.join("nats")
    }

    /// Where PostgreSQL keeps its data.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }
}

fn usual(root: bool, xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from("/var/lib/nexus"));
    }
    let below_home = || home.map(|home| Path::new(&home).join(".local/share"));
    xdg.map(PathBuf::from)
        .or_else(below_home)
        .map(|dir| dir.join("nexus"))
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("data");
        let first = DataDir::lock(&dir).unwrap();
        let refused = DataDir::lock(&dir).unwrap_err();
        assert!(
            matches!(refused, DevstackError::Locked { pid: Some(pid), .. } if pid == std::process::id())
        );
        assert!(
            refused
                .to_string()
                .contains(&format!("process {}", std::process::id()))
        );
        drop(first);
        DataDir::lock(&dir).unwrap();
    }

    #[test]
    fn the_usual_place_is_below_home_but_for_root() {
        let path = |root, xdg: Option<&str>, home: Option<&str>| {
            usual(root, xdg.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(
            path(true, None, Some("/root")),
            Some("/var/lib/nexus".into())
        );
        assert_eq!(path(false, Some("/x"), Some("/h")), Some("/x/nexus".into()));
        assert_eq!(
            path(false, None, Some("/h")),
            Some("/h/.local/share/nexus".into())
        );
        assert_eq!(path(false, None, None), None);
    }
}
