//! One open folder and what is directly in it. Every step goes from an open folder to a name in it,
//! never along a path, and never through a link: what is checked is what is opened, whatever
//! somebody renames meanwhile. cap-std gives the same with eight more crates, and follows links
//! within the root, which nobody here needs; `openat2` alone would be Linux alone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const OURS: Mode = Mode::from_raw_mode(0o700);
const OURS_FILE: Mode = Mode::from_raw_mode(0o600);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// What a name is.
pub(crate) enum Kind {
    /// With its size in bytes.
    File(u64),
    Folder,
    /// A link, a device, a pipe: nothing that is touched.
    Other,
}

impl Folder {
    /// Opens a folder of the machine, by configuration; links on the way are the operator's.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    pub(crate) fn open(&self, name: &str) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(
            &self.0,
            name,
            FOLDER,
            Mode::empty(),
        )?))
    }

    /// Opens a folder, and makes it if it is not there.
    pub(crate) fn make(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, OURS) {
            Ok(()) | Err(Errno::EXIST) => self.open(name),
            Err(other) => Err(other.into()),
        }
    }

    /// A file to read, with its size. Not a link, and not a second name of some other file.
    pub(crate) fn file(&self, name: &str) -> io::Result<(File, u64)> {
        // A pipe without a writer would hold the opener up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a plain file",
            ));
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// A new file to write.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.0, name, flags | OFlags::CLOEXEC, OURS_FILE)?;
        Ok(File::from(file))
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Moves a file to another folder, in the place of what is called so there.
    pub(crate) fn move_to(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &to.0, new_name)?)
    }

    pub(crate) fn kind(&self, name: &str) -> io::Result<Kind> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Directory => Kind::Folder,
            _ => Kind::Other,
        })
    }

    /// Its names in order, at most so many; names that are no UTF-8 are left out.
    pub(crate) fn names(&self, most: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
            if names.len() >= most {
                break;
            }
        }
        names.sort();
        Ok(names)
    }

    /// Waits until nobody else has it locked, in this process or another; free again when this
    /// folder is dropped.
    pub(crate) fn lock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(
            self.0.as_fd(),
            FlockOperation::LockExclusive,
        )?)
    }
}
