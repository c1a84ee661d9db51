//! Who PostgreSQL runs as. It refuses to run as root, so that root's private server belongs to
//! another user, who must be able to reach both the programs and the data.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::{DevstackError, Result, files};

/// An ordinary user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user to become, when this process is root: `postgres` if the machine has it, else
    /// `nobody`. `None` means to stay who we are.
    pub(crate) fn to_become() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let path = Path::new("/etc/passwd");
        let passwd = fs::read_to_string(path).map_err(DevstackError::io("read", path))?;
        let found = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| find(&passwd, name));
        found.map(Some).ok_or(DevstackError::NoUser)
    }

    /// Gives a file or directory to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(DevstackError::io("give away", path))
    }

    /// Fails if a directory on the way to `path` is closed to this user.
    pub(crate) fn must_reach(&self, path: &Path) -> Result<()> {
        let blocked = path
            .ancestors()
            .skip(1)
            .filter(|dir| !self.may_enter(dir))
            .last();
        match blocked {
            None => Ok(()),
            Some(blocked) => Err(DevstackError::Unreachable {
                user: self.name.clone(),
                path: path.to_path_buf(),
                blocked: blocked.to_path_buf(),
            }),
        }
    }

    fn may_enter(&self, dir: &Path) -> bool {
        // What does not exist yet is created by us, and open.
        fs::metadata(dir).map_or(true, |found| self.may_search(&found))
    }

    fn may_search(&self, found: &Metadata) -> bool {
        let bit = match (found.uid() == self.uid, found.gid() == self.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        found.mode() & bit != 0
    }
}

/// Creates a directory for whom the server runs as, and for nobody else. Gives its real path.
pub(crate) fn create_dir_for(user: Option<&User>, dir: &Path) -> Result<PathBuf> {
    files::create_private_dir(dir)?;
    let dir = dir
        .canonicalize()
        .map_err(DevstackError::io("resolve", dir))?;
    if let Some(user) = user {
        user.must_reach(&dir)?;
        user.own(&dir)?;
    }
    Ok(dir)
}

fn find(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (found && uid != 0).then(|| User {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

    use super::*;

    #[test]
    fn finds_a_user_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nnobody:x:65534:65533:n:/:/bin/false";
        let nobody = User {
            name: "nobody".to_owned(),
            uid: 65534,
            gid: 65533,
        };
        assert_eq!(find(passwd, "nobody"), Some(nobody));
        assert_eq!(find(passwd, "postgres"), None);
        assert_eq!(find(passwd, "root"), None, "root is no ordinary user");
    }

    #[test]
    fn names_the_outermost_closed_directory() {
        let place = tempfile::tempdir().unwrap();
        files::set_mode(place.path(), 0o700).unwrap();
        let stranger = User {
            name: "stranger".to_owned(),
            uid: 4_000_000,
            gid: 4_000_000,
        };
        let deep = place.path().join("a/b");
        let refused = stranger.must_reach(&deep).unwrap_err();
        let DevstackError::Unreachable { blocked, .. } = &refused else {
            panic!("{refused}")
        };
        assert_eq!(blocked, place.path());
        assert!(refused.to_string().contains("chmod o+x"), "{refused}");
        files::set_mode(place.path(), 0o711).unwrap();
        stranger.must_reach(&deep).unwrap();
    }
}
