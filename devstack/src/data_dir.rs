//! A data directory belongs to one process at a time: two servers on the same files ruin them.
//!
//! The right is a file lock and not the pid in the file: a lock goes with its process, however that
//! ends, and a pid may by then be somebody else's. The pid is there for the error text alone.

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
    /// Takes a data directory, creating it if need be.
    ///
    /// # Errors
    /// [`DevstackError::Locked`] while another process (or this one, a second time) holds it.
    pub fn lock(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Others may pass through: PostgreSQL runs as another user when this process is root. What
        // is inside is closed one by one.
        files::create_open_dir(path)?;
        let path = path.canonicalize().map_err(DevstackError::io("resolve", path))?;
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
                return Err(DevstackError::Locked { path, pid: read_pid(&mut lock) });
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
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
        drop(first);
        DataDir::lock(&dir).unwrap();
    }
}
