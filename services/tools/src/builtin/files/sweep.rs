//! Workspaces that nobody has changed for long are deleted: a run leaves its files behind, and nothing
//! on the log says that nobody will want them any more.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Workspaces;

const EVERY: Duration = Duration::from_secs(3_600);
/// Entries of one workspace that are looked at; code may have made more than the quota lets tools do.
const LOOKED_AT: usize = 20_000;

impl Workspaces {
    /// Deletes workspaces in which nothing was changed since `before`; says how many. Links are not
    /// followed.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sweep(&self, before: SystemTime) -> io::Result<u64> {
        let mut swept = 0;
        for tenant in folders(&self.place)? {
            for run in folders(&tenant.path())? {
                let mut left = LOOKED_AT;
                if newest(&run.path(), &mut left)? < before && left > 0 {
                    fs::remove_dir_all(run.path())?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }
}

/// Sweeps once an hour until it is told to stop; never without an age.
pub async fn run_sweeper(workspaces: Workspaces, age: Option<Duration>, stop: CancellationToken) {
    let Some(age) = age else {
        return stop.cancelled().await;
    };
    let mut rounds = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        let Some(before) = SystemTime::now().checked_sub(age) else {
            continue;
        };
        let workspaces = workspaces.clone();
        let swept = tokio::task::spawn_blocking(move || workspaces.sweep(before)).await;
        match swept {
            Ok(Ok(0)) => {}
            Ok(Ok(swept)) => info!(workspaces = swept, "old workspaces were deleted"),
            Ok(Err(error)) => warn!(%error, "old workspaces could not be deleted"),
            Err(error) => warn!(%error, "old workspaces could not be deleted"),
        }
    }
}

fn folders(path: &Path) -> io::Result<Vec<DirEntry>> {
    let folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(fs::read_dir(path)?.flatten().filter(folder).collect())
}

/// When something in a folder was changed last.
fn newest(path: &Path, left: &mut usize) -> io::Result<SystemTime> {
    let mut newest = fs::symlink_metadata(path)?.modified()?;
    for entry in fs::read_dir(path)?.flatten() {
        *left = left.saturating_sub(1);
        if *left == 0 {
            break;
        }
        let at = match entry.file_type()?.is_dir() {
            true => self::newest(&entry.path(), left)?,
            false => fs::symlink_metadata(entry.path())?.modified()?,
        };
        newest = newest.max(at);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::RunId;
    use nexus_events::tool::WorkspacePath;

    use super::super::Quota;
    use super::*;

    #[test]
    fn what_was_not_changed_for_long_goes_and_the_rest_stays() {
        let place = tempfile::tempdir().unwrap();
        let all = Workspaces::open(place.path(), Quota::default()).unwrap();
        let tenant = "acme".parse().unwrap();
        let (old, new) = (
            all.of(&tenant, RunId::derive(&["a"])),
            all.of(&tenant, RunId::derive(&["b"])),
        );
        let file = WorkspacePath::parse("deep/file.txt").unwrap();
        old.write(&file, b"x").unwrap();
        new.write(&file, b"x").unwrap();
        // Everything of the one is made an hour older, but for a file deep in the other.
        let hour = SystemTime::now() - Duration::from_secs(3_600);
        let times = fs::FileTimes::new().set_modified(hour);
        let mut paths = vec![place.path().join("acme")];
        while let Some(path) = paths.pop() {
            paths.extend(folders(&path).unwrap().iter().map(DirEntry::path));
            fs::File::open(path).unwrap().set_times(times).unwrap();
        }
        let deep = old.place().unwrap().join("deep/file.txt");
        fs::File::options()
            .write(true)
            .open(deep)
            .unwrap()
            .set_times(times)
            .unwrap();
        let before = SystemTime::now() - Duration::from_secs(60);
        assert_eq!(all.sweep(before).unwrap(), 1);
        assert!(old.read(&file, 10).is_err());
        assert_eq!(new.read(&file, 10).unwrap(), b"x");
        assert_eq!(all.sweep(before).unwrap(), 0);
    }
}
