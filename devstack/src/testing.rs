//! Servers for integration tests: real ones, private to a test or to a test process, gone when it
//! ends. They are started rather than expected, so that `cargo test` works on a fresh machine.
//!
//! What cannot be undone by `Drop` (a static is never dropped, and a test may be killed) is undone
//! by a small shell that waits for this process to end; see [`TestDir`].

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    Cache, ClusterOptions, DevstackError, NatsCluster, NatsOptions, NatsServer, Network, Postgres,
    PostgresOptions, Progress, Result, files,
};

/// A nats-server and a PostgreSQL that belong to one test: it may stop, kill and restart them. Both
/// are killed and their data removed when it is dropped.
#[derive(Debug)]
pub struct TestStack {
    /// The nats-server.
    pub nats: NatsServer,
    /// The PostgreSQL.
    pub postgres: Postgres,
    dir: TestDir,
}

impl TestStack {
    /// Starts both.
    ///
    /// # Errors
    /// As for [`NatsServer::start`] and [`Postgres::start`].
    pub async fn start() -> Result<Self> {
        let (cache, progress) = (Cache::discover()?, Progress::log());
        let dir = TestDir::create()?;
        let nats = NatsOptions::new(dir.path().join("nats"));
        let postgres = PostgresOptions::disposable(dir.path().join("postgres"));
        let (nats, postgres) = tokio::try_join!(
            NatsServer::start(&cache, &progress, nats),
            Postgres::start(&cache, &progress, postgres),
        )?;
        Ok(Self {
            nats,
            postgres,
            dir,
        })
    }

    /// A directory of the test's own, which is removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Creates an empty database on the test's own PostgreSQL and gives its URL.
    ///
    /// # Errors
    /// As for [`Postgres::create_database`].
    pub async fn fresh_database(&self) -> Result<String> {
        self.postgres.create_database(&fresh_name()).await
    }
}

/// A nats-server that belongs to one test.
#[derive(Debug)]
pub struct TestNats {
    /// The server.
    pub nats: NatsServer,
    _dir: TestDir,
}

impl TestNats {
    /// Starts it, in some 30 ms.
    ///
    /// # Errors
    /// As for [`NatsServer::start`].
    pub async fn start() -> Result<Self> {
        let dir = TestDir::create()?;
        let options = NatsOptions::new(dir.path().join("nats"));
        let nats = NatsServer::start(&Cache::discover()?, &Progress::log(), options).await?;
        Ok(Self { nats, _dir: dir })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        self.nats.url()
    }
}

/// Three nats-servers that belong to one test.
#[derive(Debug)]
pub struct TestCluster {
    /// The servers.
    pub nats: NatsCluster,
    _dir: TestDir,
}

impl TestCluster {
    /// Starts them, each in a network of its own where that is possible.
    ///
    /// # Errors
    /// As for [`NatsCluster::start`].
    pub async fn start() -> Result<Self> {
        let dir = TestDir::create()?;
        let mut options = ClusterOptions::new(dir.path().join("nats"));
        options.network = Network::is_possible();
        let nats = NatsCluster::start(&Cache::discover()?, &Progress::log(), &options).await?;
        Ok(Self { nats, _dir: dir })
    }
}

/// The one PostgreSQL of this test process, for tests that need no more than a database of their
/// own. Nobody may stop it; it goes with the process.
///
/// # Errors
/// As for [`Postgres::start`]; the next caller tries again.
pub async fn shared_postgres() -> Result<&'static Postgres> {
    static SHARED: OnceCell<(Postgres, TestDir)> = OnceCell::const_new();
    let shared = SHARED.get_or_try_init(|| async {
        let dir = TestDir::create()?;
        let mut options = PostgresOptions::disposable(dir.path().join("postgres"));
        // Every test has a pool.
        options.max_connections = 300;
        let postgres = Postgres::start(&Cache::discover()?, &Progress::log(), options).await?;
        Ok::<_, DevstackError>((postgres, dir))
    });
    Ok(&shared.await?.0)
}

/// Creates an empty database on [`shared_postgres`] and gives its URL.
///
/// # Errors
/// As for [`shared_postgres`] and [`Postgres::create_database`].
pub async fn fresh_database() -> Result<String> {
    shared_postgres()
        .await?
        .create_database(&fresh_name())
        .await
}

/// A temporary directory that other users can pass through, as PostgreSQL needs when this is root.
///
/// It is removed when it is dropped. Should this process end without that, a shell that waits on a
/// pipe from it sees the pipe close, stops what still runs there, and removes it then.
#[derive(Debug)]
pub struct TestDir {
    dir: TempDir,
    janitor: Child,
}

const JANITOR: &str = r#"
cat > /dev/null
for file in "$1"/postgres/data/postmaster.pid; do
    [ -f "$file" ] && kill -QUIT "$(head -n 1 "$file")"
done
for file in "$1"/nats/nats.pid "$1"/nats/*/nats.pid; do
    [ -f "$file" ] && kill -KILL "$(cat "$file")"
done
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" && exit
    sleep 0.2
done
"#;

impl TestDir {
    /// Creates one below the system's temporary directory.
    ///
    /// # Errors
    /// When the directory or the shell cannot be had.
    pub fn create() -> Result<Self> {
        let place = std::env::temp_dir();
        let dir = tempfile::Builder::new().prefix("nexus-test-").tempdir();
        let dir = dir.map_err(DevstackError::io("create a directory in", &place))?;
        files::set_mode(dir.path(), 0o711)?;
        let janitor = janitor(dir.path()).map_err(DevstackError::io("run", Path::new("sh")))?;
        Ok(Self { dir, janitor })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        // By now the servers are gone: fields are dropped in order. The shell finds nothing to do.
        let _ = std::fs::remove_dir_all(self.dir.path());
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

fn janitor(dir: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "janitor"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
}

fn fresh_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
