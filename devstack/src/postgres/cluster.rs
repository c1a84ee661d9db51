//! Makes a cluster, or copies one. `initdb` takes 1.6 s and tests start many servers, so that they
//! copy a template which is made once per version and kept in the cache.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Slot;
use crate::user::{User, create_dir_for};
use crate::{Cache, DevstackError, PostgresPrograms, Progress, Result, files, tool};

/// The name of the superuser.
pub(super) const SUPERUSER: &str = "nexus";

const INITDB_LIMIT: Duration = Duration::from_secs(300);
/// Changes when the template is made in another way.
const TEMPLATE_REVISION: u32 = 1;

/// Where the parts of a cluster are, below its data directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) base: PathBuf,
    pub(super) data: PathBuf,
    pub(super) password: PathBuf,
    pub(super) log: PathBuf,
    pub(super) pid_file: PathBuf,
}

impl Layout {
    pub(super) fn new(base: PathBuf) -> Self {
        let data = base.join("data");
        Self {
            password: base.join("password"),
            log: base.join("postgres.log"),
            pid_file: data.join("postmaster.pid"),
            data,
            base,
        }
    }

    /// The major version that made the cluster, or `None` if there is no cluster yet.
    pub(super) fn made_by(&self) -> Result<Option<u32>> {
        if !self.data.is_dir() {
            return Ok(None);
        }
        let path = self.data.join("PG_VERSION");
        let text = files::read_short(&path).map_err(DevstackError::io("read", &path))?;
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| DevstackError::BadFile {
                path,
                why: "it should hold the major version of PostgreSQL".to_owned(),
            })
    }

    pub(super) fn read_password(&self) -> Result<String> {
        let text = files::read_short(&self.password);
        let text = text.map_err(DevstackError::io("read", &self.password))?;
        Ok(text.trim().to_owned())
    }
}

/// Makes a cluster. It is made beside its place and renamed into it, so that half a one is never
/// taken for a whole.
pub(super) async fn make(
    programs: &PostgresPrograms,
    user: Option<&User>,
    layout: &Layout,
    extra: &[&str],
) -> Result<()> {
    let work = layout.base.join("data.partial");
    files::remove_tree(&work)?;
    let work = create_dir_for(user, &work)?;
    files::write_private(&layout.password, &random_password()?)?;
    if let Some(user) = user {
        user.own(&layout.password)?;
    }
    let initdb = programs.program("initdb");
    let output = tool::run(&initdb, INITDB_LIMIT, |command| {
        clean(command, user)
            .current_dir(&layout.base)
            .arg("--pgdata")
            .arg(&work)
            .arg("--pwfile")
            .arg(&layout.password)
            // Text sorts by its bytes: the same on every machine, and quick.
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--no-locale"])
            .args(["--auth", "scram-sha-256", "--data-checksums"])
            .args(extra)
    })
    .await?;
    tool::expect_success("initdb", &output)?;
    fs::rename(&work, &layout.data).map_err(DevstackError::io("rename into place", &layout.data))
}

/// Copies the template of this version, which is made first if there is none.
pub(super) async fn copy(
    cache: &Cache,
    programs: &PostgresPrograms,
    user: Option<&User>,
    layout: &Layout,
    progress: &Progress,
) -> Result<()> {
    let template = template(cache, programs, user, progress).await?;
    let cp = Path::new("cp");
    let output = tool::run(cp, INITDB_LIMIT, |command| {
        command.arg("-a").arg(template.join(".")).arg(&layout.base)
    })
    .await?;
    tool::expect_success("cp", &output)
}

async fn template(
    cache: &Cache,
    programs: &PostgresPrograms,
    user: Option<&User>,
    progress: &Progress,
) -> Result<PathBuf> {
    const INSIDE: &str = "cluster";
    let owner = user.map_or("own", |user| user.name.as_str());
    let key = format!(
        "postgres-template-{}-{owner}-{TEMPLATE_REVISION}",
        programs.version
    );
    let claim = match cache.claim(&key, progress).await? {
        Slot::Ready(place) => return Ok(place.join(INSIDE)),
        Slot::Claimed(claim) => claim,
    };
    progress.say(&format!(
        "preparing PostgreSQL {} for tests…",
        programs.version
    ));
    let layout = Layout::new(create_dir_for(user, &claim.work().join(INSIDE))?);
    // Small segments of the write-ahead log leave less to copy.
    make(
        programs,
        user,
        &layout,
        &["--no-sync", "--wal-segsize", "1"],
    )
    .await?;
    Ok(claim.publish()?.join(INSIDE))
}

/// For a program that should see nothing of our environment but what it needs to run.
pub(super) fn clean<'a>(
    command: &'a mut tokio::process::Command,
    user: Option<&User>,
) -> &'a mut tokio::process::Command {
    let kept = ["PATH", "HOME", "LD_LIBRARY_PATH"];
    let kept = kept
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept).env("LC_ALL", "C");
    if let Some(user) = user {
        command
            .uid(user.uid)
            .gid(user.gid)
            .env("HOME", "/nonexistent");
    }
    command
}

fn random_password() -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(DevstackError::io("read", path))?;
    Ok(hex::encode(bytes))
}
