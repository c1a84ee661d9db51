//! A directory of things that may be fetched again, shared by every process of a user.
//!
//! Each thing has one directory, which is either whole or not there: it is made under a file lock,
//! beside its place, and renamed into it. So a reader needs no lock, and a process that dies in the
//! middle leaves only a remnant that the next one sweeps away.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::files;
use crate::{DevstackError, Progress, Result};

/// Where fetched programs and weights are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

/// Something in the cache: there already, or to be made by whoever asked.
pub(crate) enum Slot {
    Ready(PathBuf),
    Claimed(Claim),
}

/// The right to make something, held under a lock until it is published or dropped.
pub(crate) struct Claim {
    work: PathBuf,
    place: PathBuf,
    _lock: File,
}

impl Cache {
    /// The cache of this user: `$NEXUS_CACHE_DIR`, else `$XDG_CACHE_HOME/nexus`, else
    /// `~/.cache/nexus`. For root the last is `/var/cache/nexus`: PostgreSQL runs as another user,
    /// who cannot enter root's home.
    ///
    /// # Errors
    /// [`DevstackError::NoCacheDir`] without any of these.
    pub fn discover() -> Result<Self> {
        let root = rustix::process::geteuid().is_root();
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        choose(
            variable("NEXUS_CACHE_DIR"),
            variable("XDG_CACHE_HOME"),
            variable("HOME"),
            root,
        )
        .map(Self::at)
        .ok_or(DevstackError::NoCacheDir)
    }

    /// A cache in a directory of the caller's choice. It is created when something is put into it.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            dir: std::path::absolute(&dir).unwrap_or(dir),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The place of a thing, if it is there.
    pub(crate) fn ready(&self, key: &str) -> Option<PathBuf> {
        Some(self.dir.join(key)).filter(|place| place.is_dir())
    }

    /// Gives a thing that is there, or waits until nobody else makes it and lets the caller do so.
    pub(crate) async fn claim(&self, key: &str, progress: &Progress) -> Result<Slot> {
        if let Some(place) = self.ready(key) {
            return Ok(Slot::Ready(place));
        }
        files::create_open_dir(&self.dir)?;
        let lock = lock(self.dir.join(format!(".{key}.lock")), key, progress).await?;
        if let Some(place) = self.ready(key) {
            return Ok(Slot::Ready(place));
        }
        let work = self.dir.join(format!(".{key}.partial"));
        files::remove_tree(&work)?;
        files::create_open_dir(&work)?;
        Ok(Slot::Claimed(Claim {
            work,
            place: self.dir.join(key),
            _lock: lock,
        }))
    }
}

impl Claim {
    /// The directory to make it in. It is gone when the claim is dropped unpublished.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// Puts what was made into its place, on the disk first: after a power cut there must not be a
    /// directory of empty files.
    pub(crate) fn publish(self) -> Result<PathBuf> {
        files::flush_file_system(&self.work)?;
        fs::rename(&self.work, &self.place)
            .map_err(DevstackError::io("rename into place", &self.place))?;
        Ok(self.place.clone())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // After publishing there is nothing here to remove; otherwise the next claim would do it.
        let _ = fs::remove_dir_all(&self.work);
    }
}

fn choose(
    explicit: Option<OsString>,
    xdg: Option<OsString>,
    home: Option<OsString>,
    root: bool,
) -> Option<PathBuf> {
    explicit
        .map(PathBuf::from)
        .or_else(|| xdg.map(|dir| Path::new(&dir).join("nexus")))
        .or_else(|| root.then(|| PathBuf::from("/var/cache/nexus")))
        .or_else(|| home.map(|dir| Path::new(&dir).join(".cache/nexus")))
}

async fn lock(path: PathBuf, key: &str, progress: &Progress) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(DevstackError::io("open", &path))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress.say(&format!("waiting for another process that prepares {key}"));
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    locked
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(DevstackError::io("lock", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(explicit: &str, xdg: &str, home: &str, root: bool) -> Option<String> {
        let some = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
        choose(some(explicit), some(xdg), some(home), root)
            .map(|path| path.to_string_lossy().into_owned())
    }

    #[test]
    fn the_most_explicit_setting_wins() {
        assert_eq!(chosen("/a", "/x", "/h", false).as_deref(), Some("/a"));
        assert_eq!(chosen("", "/x", "/h", false).as_deref(), Some("/x/nexus"));
        assert_eq!(
            chosen("", "", "/h", false).as_deref(),
            Some("/h/.cache/nexus")
        );
        assert_eq!(
            chosen("", "", "/root", true).as_deref(),
            Some("/var/cache/nexus")
        );
        assert_eq!(chosen("", "/x", "/root", true).as_deref(), Some("/x/nexus"));
        assert_eq!(chosen("", "", "", false), None);
    }
}
