//! Small helpers for files: everything here either says which path failed or cannot fail.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{DevstackError, Result};

/// How much of a log an error quotes, in bytes.
const TAIL_BYTES: u64 = 2_000;

/// Creates a directory, and those above it, that others can enter whatever the umask.
pub(crate) fn create_open_dir(dir: &Path) -> Result<()> {
    create_dir(dir, 0o755)
}

/// Creates a directory, and those above it, for its owner alone.
pub(crate) fn create_private_dir(dir: &Path) -> Result<()> {
    create_dir(dir, 0o700)
}

fn create_dir(dir: &Path, mode: u32) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(DevstackError::io("create", dir))?;
    set_mode(dir, mode)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(DevstackError::io("set the permissions of", path))
}

/// Removes a directory with all in it; one that is not there is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DevstackError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DevstackError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    // An older file keeps its mode when it is opened again, so that it goes first.
    remove_file(path)?;
    File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(DevstackError::io("write", path))
}

/// A short file, as text. At most 64 KiB are read.
pub(crate) fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(64 << 10).read_to_string(&mut text)?;
    Ok(text)
}

/// A log to append to. One that has grown large is kept as `….old`, and a new one begun.
pub(crate) fn open_log(path: &Path, limit_bytes: u64) -> Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > limit_bytes) {
        let old = path.with_extension("log.old");
        fs::rename(path, &old).map_err(DevstackError::io("rename", path))?;
    }
    File::options()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
        .map_err(DevstackError::io("open", path))
}

/// The last lines of a log, for an error message; empty if it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// The first of several logs that is not empty, and its last lines.
pub(crate) fn tail_of_first(logs: &[PathBuf]) -> (PathBuf, String) {
    let mut tails = logs.iter().map(|log| (log.clone(), tail(log)));
    tails.find(|(_, tail)| !tail.is_empty()).unwrap_or_else(|| {
        let last = logs.last().cloned().unwrap_or_default();
        (last, "(it is empty)".to_owned())
    })
}

/// The end of what a program printed.
pub(crate) fn tail_of(output: &[u8]) -> String {
    let keep = usize::try_from(TAIL_BYTES).unwrap_or(usize::MAX);
    let start = output.len().saturating_sub(keep);
    String::from_utf8_lossy(output.get(start..).unwrap_or(output))
        .trim()
        .to_owned()
}

/// The SHA-256 of a file, in hex.
pub(crate) fn digest(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| copy_hashing(&mut file, &mut io::sink(), &mut hash))
        .map_err(DevstackError::io("read", path))?;
    Ok(hex::encode(hash.finalize()))
}

/// Copies all of `from`, adding it to `hash`. Gives the number of bytes.
pub(crate) fn copy_hashing(
    from: &mut impl Read,
    to: &mut impl Write,
    hash: &mut Sha256,
) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let read = from.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(total);
        };
        hash.update(chunk);
        to.write_all(chunk)?;
        total += u64::try_from(read).unwrap_or_default();
    }
}

/// Makes a tree readable to all, and its programs executable: unpacking a wheel loses both.
pub(crate) fn open_tree(dir: &Path) -> Result<()> {
    set_mode(dir, 0o755)?;
    for entry in fs::read_dir(dir).map_err(DevstackError::io("read", dir))? {
        let path = entry.map_err(DevstackError::io("read", dir))?.path();
        let kind = fs::symlink_metadata(&path).map_err(DevstackError::io("read", &path))?;
        if kind.is_dir() {
            open_tree(&path)?;
        } else if kind.is_file() {
            set_mode(&path, if is_program(&path) { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

fn is_program(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name);
    parent == Some(OsStr::new("bin")) || parent == Some(OsStr::new("scripts"))
}

/// Asks the kernel to write back all of the file system that `path` is on.
pub(crate) fn flush_file_system(path: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    File::open(path)
        .and_then(|dir| Ok(rustix::fs::syncfs(&dir)?))
        .map_err(DevstackError::io("flush", path))?;
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    Ok(())
}

/// A program by its name, looked up as a shell does.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
