//! A directory that a component may see, as `/workspace`. Paths cannot leave it: they are resolved
//! below an open directory, one step at a time, links included.
//!
//! Only components get one. What a WASI command opens is counted by nobody (wasmtime-wasi keeps that
//! table to itself), so that one command could use up the descriptors of the whole process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory and what may be done in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The directory of the host.
    pub dir: PathBuf,
    /// How much may be in it, or none where the guest may only read.
    pub quota: Option<Quota>,
}

/// How much a workspace may hold, with what was in it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// All files together, in bytes. It is looked at every few milliseconds and at the end, so that a
    /// guest can be over by what the disk takes meanwhile.
    pub bytes: u64,
    /// Files and directories.
    pub entries: u32,
    /// The largest file, in bytes.
    pub file_bytes: u64,
}

impl Quota {
    /// Whether the directory holds more than it may. What cannot be read is no excess of the guest's.
    pub(crate) fn is_exceeded(&self, dir: &Path) -> bool {
        let mut left = *self;
        !left.take(dir).unwrap_or(true)
    }

    /// Subtracts what is in a directory; false when it does not fit. Each level counts as an entry,
    /// which bounds the recursion too, and links are counted and not followed.
    fn take(&mut self, dir: &Path) -> io::Result<bool> {
        for entry in fs::read_dir(dir)? {
            let Ok(entry) = entry else { continue };
            // It may be gone by now.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let (Some(entries), Some(bytes)) = (
                self.entries.checked_sub(1),
                self.bytes.checked_sub(size_of_file(&metadata)),
            ) else {
                return Ok(false);
            };
            if size_of_file(&metadata) > self.file_bytes {
                return Ok(false);
            }
            (self.entries, self.bytes) = (entries, bytes);
            if metadata.is_dir() && !self.take(&entry.path()).unwrap_or(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The length, and not the blocks: a sparse file is as large as it says.
fn size_of_file(metadata: &fs::Metadata) -> u64 {
    if metadata.is_file() {
        metadata.len()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    #[test]
    fn everything_in_it_counts() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 100]).unwrap();
        fs::write(dir.path().join("c"), [0; 50]).unwrap();
        let quota = |bytes, entries, file_bytes| Quota {
            bytes,
            entries,
            file_bytes,
        };
        assert!(!quota(150, 3, 100).is_exceeded(dir.path()));
        assert!(quota(149, 3, 100).is_exceeded(dir.path()));
        assert!(quota(150, 2, 100).is_exceeded(dir.path()));
        assert!(quota(150, 3, 99).is_exceeded(dir.path()));
    }
}
