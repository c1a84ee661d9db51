//! The workspaces of runs, on the disk of the machine that the tool role works on: `<tenant>/<run>/`
//! below one folder, with `files` for what tools see and `staging` for what is being written. Two
//! processes of the role on two machines see two workspaces unless the folder is shared.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_events::tool::WorkspacePath;
use nexus_events::{RunId, Tenant};

use super::folder::{Folder, Kind};

const FILES: &str = "files";
const STAGING: &str = "staging";

/// What a run may keep in its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Of all files together.
    pub max_bytes: u64,
    /// Files and folders.
    pub max_entries: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_entries: 1000,
        }
    }
}

/// Why something could not be done with a workspace.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Nothing is called so.
    #[error("{0} does not exist")]
    NotFound(WorkspacePath),
    /// It is a link, a device, a folder where a file is meant, or the other way round.
    #[error("{0} is not {1}")]
    NotThat(WorkspacePath, &'static str),
    /// The file is larger than may be read.
    #[error("{path} has {size} bytes, and {most} may be read")]
    TooLarge {
        /// The file.
        path: WorkspacePath,
        /// Its bytes.
        size: u64,
        /// What may be read, in bytes.
        most: u64,
    },
    /// The run has used up what it may keep.
    #[error("the workspace is full: it may hold {0} bytes in {1} files and folders")]
    Full(u64, usize),
    /// The disk failed.
    #[error("the workspace's disk failed")]
    Disk(#[source] io::Error),
}

impl WorkspaceError {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::NotThat(..) => "not_a_file",
            Self::TooLarge { .. } => "too_large",
            Self::Full(..) => "workspace_full",
            Self::Disk(_) => "tool_failed",
        }
    }
}

/// All workspaces of this machine.
#[derive(Clone, Debug)]
pub struct Workspaces {
    root: Arc<Folder>,
    pub(super) place: Arc<PathBuf>,
    quota: Quota,
}

impl Workspaces {
    /// In this folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(place: &Path, quota: Quota) -> io::Result<Self> {
        std::fs::create_dir_all(place)?;
        Ok(Self {
            root: Arc::new(Folder::at(place)?),
            place: Arc::new(place.to_owned()),
            quota,
        })
    }

    /// One run's. Nothing is made on disk before something is written.
    pub fn of(&self, tenant: &Tenant, run: RunId) -> Workspace {
        Workspace {
            all: self.clone(),
            tenant: tenant.clone(),
            run: run.to_string(),
        }
    }
}

/// One run's files.
#[derive(Clone, Debug)]
pub struct Workspace {
    all: Workspaces,
    tenant: Tenant,
    run: String,
}

/// A file or folder of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: WorkspacePath,
    /// Bytes of a file; none for a folder.
    pub size: Option<u64>,
}

impl Workspace {
    /// How much may be in it.
    pub fn quota(&self) -> Quota {
        self.all.quota
    }

    /// Where it is on this machine, made if it is not there: for a sandbox that lets code see it.
    ///
    /// # Errors
    /// The disk failed.
    pub fn place(&self) -> Result<PathBuf, WorkspaceError> {
        self.own(true).map_err(WorkspaceError::Disk)?;
        let own = self.all.place.join(self.tenant.as_str()).join(&self.run);
        Ok(own.join(FILES))
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// It is not there, no plain file, or larger than `most` bytes.
    pub fn read(&self, path: &WorkspacePath, most: u64) -> Result<Vec<u8>, WorkspaceError> {
        let fault = |cause| fault(cause, path, "a file");
        let Some((name, folders)) = path.names().split_last() else {
            return Err(WorkspaceError::NotThat(path.clone(), "a file"));
        };
        let folder = self.descend(folders, false).map_err(fault)?;
        let (file, size) = folder.file(name).map_err(fault)?;
        let too_large = |size| WorkspaceError::TooLarge {
            path: path.clone(),
            size,
            most,
        };
        if size > most {
            return Err(too_large(size));
        }
        let mut bytes = Vec::new();
        // It may grow while it is read.
        let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
        let read = read.map_err(fault)? as u64;
        if read > most {
            return Err(too_large(read));
        }
        Ok(bytes)
    }

    /// Writes a file whole, in the place of what was there; folders on the way are made. Whoever
    /// reads meanwhile sees the old file or the new one.
    ///
    /// # Errors
    /// Something on the way is no folder, or the workspace is full.
    pub fn write(&self, path: &WorkspacePath, bytes: &[u8]) -> Result<(), WorkspaceError> {
        let fault = |cause| fault(cause, path, "a place for a file");
        let Some((name, folders)) = path.names().split_last() else {
            return Err(WorkspaceError::NotThat(path.clone(), "a file"));
        };
        let own = self.own(true).map_err(fault)?;
        let staging = own.make(STAGING).map_err(fault)?;
        // Whoever counts and adds is alone.
        staging.lock().map_err(fault)?;
        self.make_room(path, bytes.len() as u64)?;
        let folder = self.descend(folders, true).map_err(fault)?;
        let earlier = folder.kind(name);
        if matches!(earlier, Ok(Kind::Folder | Kind::Other)) {
            return Err(WorkspaceError::NotThat(path.clone(), "a file"));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{}-{number}", std::process::id());
        // Left behind by a process of the same number that died.
        let _ = staging.remove(&temporary);
        let mut file = staging.create(&temporary).map_err(fault)?;
        let written =
            (file.write_all(bytes)).and_then(|()| staging.move_to(&temporary, &folder, name));
        if written.is_err() {
            let _ = staging.remove(&temporary);
        }
        written.map_err(fault)
    }

    /// What is in a folder and `wanted`, depth first, at most so many; and whether there is more.
    /// An empty workspace has an empty root.
    ///
    /// # Errors
    /// It is not there, or no folder.
    pub fn list(
        &self,
        path: &WorkspacePath,
        recursive: bool,
        most: usize,
        wanted: &dyn Fn(&WorkspacePath, bool) -> bool,
    ) -> Result<(Vec<Entry>, bool), WorkspaceError> {
        let folder = match self.descend(path.names(), false) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && path.names().is_empty() => {
                return Ok((Vec::new(), false));
            }
            other => other.map_err(|cause| fault(cause, path, "a folder"))?,
        };
        let mut walk = Walk {
            found: Vec::new(),
            seen: 0,
            recursive,
            most,
            wanted,
        };
        let whole = walk
            .folder(&folder, path)
            .map_err(|cause| fault(cause, path, "a folder"))?;
        Ok((walk.found, !whole))
    }

    /// That a file of so many bytes still fits, in the place of what is there.
    fn make_room(&self, path: &WorkspacePath, bytes: u64) -> Result<(), WorkspaceError> {
        let Quota {
            max_bytes,
            max_entries,
        } = self.all.quota;
        let full = || WorkspaceError::Full(max_bytes, max_entries);
        let root = WorkspacePath::default();
        let (entries, more) = self.list(&root, true, max_entries, &|_, _| true)?;
        let there: std::collections::BTreeSet<_> =
            entries.iter().map(|entry| &entry.path).collect();
        let used: u64 = (entries.iter())
            .filter(|entry| entry.path != *path)
            .filter_map(|entry| entry.size)
            .fold(0, u64::saturating_add);
        let mut on_the_way = root.clone();
        let mut new = 0;
        for name in path.names() {
            on_the_way = on_the_way.join(name).ok_or_else(full)?;
            new += usize::from(!there.contains(&on_the_way));
        }
        if more || used.saturating_add(bytes) > max_bytes || entries.len() + new > max_entries {
            return Err(full());
        }
        Ok(())
    }

    /// The run's own folder.
    fn own(&self, make: bool) -> io::Result<Folder> {
        let step = if make { Folder::make } else { Folder::open };
        let own = step(&step(&self.all.root, self.tenant.as_str())?, &self.run)?;
        if make {
            own.make(FILES)?;
        }
        Ok(own)
    }

    fn descend(&self, names: &[String], make: bool) -> io::Result<Folder> {
        let step = if make { Folder::make } else { Folder::open };
        let files = step(&self.own(make)?, FILES)?;
        names
            .iter()
            .try_fold(files, |folder, name| step(&folder, name))
    }
}

struct Walk<'a> {
    found: Vec<Entry>,
    seen: usize,
    recursive: bool,
    most: usize,
    wanted: &'a dyn Fn(&WorkspacePath, bool) -> bool,
}

impl Walk<'_> {
    /// Whether all was seen.
    fn folder(&mut self, folder: &Folder, path: &WorkspacePath) -> io::Result<bool> {
        // One more than fits tells that there are more; what is not wanted is looked at too, so the
        // work is bounded by it, not by what is given.
        for name in folder.names(self.most * 4 + 1)? {
            self.seen += 1;
            if self.seen > self.most * 4 {
                return Ok(false);
            }
            let Some(path) = path.join(&name) else {
                continue;
            };
            let size = match folder.kind(&name) {
                Ok(Kind::File(size)) => Some(size),
                Ok(Kind::Folder) => None,
                Ok(Kind::Other) | Err(_) => continue,
            };
            if !(self.wanted)(&path, size.is_none()) {
                continue;
            }
            if self.found.len() >= self.most {
                return Ok(false);
            }
            let is_folder = size.is_none();
            self.found.push(Entry {
                path: path.clone(),
                size,
            });
            if is_folder && self.recursive {
                // Gone meanwhile, or made a link: then there is nothing to list.
                let Ok(inner) = folder.open(&name) else {
                    continue;
                };
                if !self.folder(&inner, &path)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn fault(cause: io::Error, path: &WorkspacePath, what: &'static str) -> WorkspaceError {
    use io::ErrorKind as Kind;
    match cause.kind() {
        Kind::NotFound => WorkspaceError::NotFound(path.clone()),
        // ELOOP, a link where none is followed, has no stable kind of its own.
        Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidInput => {
            WorkspaceError::NotThat(path.clone(), what)
        }
        _ if cause.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            WorkspaceError::NotThat(path.clone(), what)
        }
        _ => WorkspaceError::Disk(cause),
    }
}
