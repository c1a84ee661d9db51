//! A private PostgreSQL: on 127.0.0.1 only, with a random password that is kept in its data
//! directory, since other users of the machine can connect to any port.

mod cluster;
mod options;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

pub use options::PostgresOptions;

use self::cluster::{Layout, SUPERUSER};
use crate::process::{self, Process};
use crate::programs::{PostgresPrograms, find_postgres};
use crate::user::{User, create_dir_for};
use crate::{Cache, DevstackError, Progress, Result, Version, files, leftovers, tool};

const WHAT: &str = "PostgreSQL";
/// Replaying the log after a crash takes a second or two, much more after much work.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// A fast stop writes a checkpoint.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// An immediate one writes nothing.
const QUIT_GRACE: Duration = Duration::from_secs(5);
const PSQL_LIMIT: Duration = Duration::from_secs(60);
const LOG_LIMIT_BYTES: u64 = 8 << 20;
const PORT_TRIES: u32 = 5;

/// A PostgreSQL of our own. Dropping it stops it at once, without a checkpoint;
/// [`Postgres::stop`] is the orderly way.
pub struct Postgres {
    programs: PostgresPrograms,
    user: Option<User>,
    options: PostgresOptions,
    layout: Layout,
    password: String,
    port: u16,
    process: Process,
}

impl Postgres {
    /// Finds or fetches the programs, stops what an earlier process may have left running on the
    /// data directory, makes the cluster if there is none, starts the server and waits until it
    /// takes connections. As root it runs as user `postgres`, else `nobody`, who gets the data
    /// directory.
    ///
    /// # Errors
    /// When there are no programs, the data are of another major version, the user it runs as
    /// cannot reach them, or the server ends or is not ready within two minutes; the error has the
    /// end of its log.
    pub async fn start(
        cache: &Cache,
        progress: &Progress,
        options: PostgresOptions,
    ) -> Result<Self> {
        let user = User::to_become()?;
        let layout = Layout::new(create_dir_for(user.as_ref(), &options.data_dir)?);
        let programs = find_programs(cache, progress, user.as_ref(), &layout).await?;
        leftovers::stop(WHAT, &layout.pid_file, &layout.data, Signal::INT).await?;
        if !layout.data.is_dir() {
            if options.disposable {
                cluster::copy(cache, &programs, user.as_ref(), &layout, progress).await?;
            } else {
                progress.say(&format!(
                    "making a database with PostgreSQL {}",
                    programs.version
                ));
                cluster::make(&programs, user.as_ref(), &layout, &[]).await?;
            }
        }
        let password = layout.read_password()?;
        let launch = Launch {
            programs: &programs,
            user: user.as_ref(),
            layout: &layout,
        };
        let (process, port) = launch.on_some_port(&options).await?;
        tracing::info!(port, pid = process.pid(), version = %programs.version, "PostgreSQL runs");
        Ok(Self {
            programs,
            user,
            options,
            layout,
            password,
            port,
            process,
        })
    }

    /// Where clients connect, with user and password. The database must exist; `postgres` does.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let Self { password, port, .. } = self;
        format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Creates a database, with `psql`; one that is there already is fine. Gives its URL.
    ///
    /// # Errors
    /// A name that is not lower-case letters, digits and `_`, or what the server says.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let statement = format!("CREATE DATABASE \"{}\"", checked(name)?);
        let psql = self.programs.program("psql");
        let output = tool::run(&psql, PSQL_LIMIT, |command| {
            cluster::clean(command, None)
                .env("PGPASSWORD", &self.password)
                .env("PGCONNECT_TIMEOUT", "10")
                .args([
                    "--no-psqlrc",
                    "--quiet",
                    "--no-password",
                    "--host",
                    "127.0.0.1",
                ])
                .args(["--port", &self.port.to_string(), "--username", SUPERUSER])
                .args(["--set", "VERBOSITY=verbose", "--dbname", "postgres"])
                .args(["--command", &statement])
        })
        .await?;
        // 42P04 is duplicate_database.
        if !String::from_utf8_lossy(&output.stderr).contains("42P04") {
            tool::expect_success("psql", &output)?;
        }
        Ok(self.url(name))
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The main process, which may have ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The version of the programs.
    #[must_use]
    pub fn version(&self) -> Version {
        self.programs.version
    }

    /// The server's log.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.layout.log
    }

    /// Whether the main process has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits until the main process ends, for whatever reason, and says how.
    pub async fn exited(&self) -> String {
        self.process.exited().await
    }

    /// Ends all connections and stops it in order.
    pub async fn stop(&mut self) {
        self.process
            .stop(&[(Signal::INT, STOP_GRACE), (Signal::QUIT, QUIT_GRACE)])
            .await;
    }

    /// Kills it as `kill -9` of all its processes does, and waits until they are gone.
    pub async fn kill(&mut self) {
        self.process.stop(&[]).await;
        leftovers::kill_postgres_in(&self.layout.data).await;
    }

    /// Starts it again on the same port and data, stopping it first if it runs. After a kill it
    /// takes a second or two.
    ///
    /// # Errors
    /// As for [`Postgres::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let Self {
            programs,
            user,
            layout,
            ..
        } = &*self;
        let launch = Launch {
            programs,
            user: user.as_ref(),
            layout,
        };
        self.process = launch.on(self.port, &self.options).await?;
        Ok(())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        let mut shown = f.debug_struct("Postgres");
        shown
            .field("port", &self.port)
            .field("dir", &self.layout.base);
        shown.finish_non_exhaustive()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGKILL would leave its shared memory behind for good once the directory is removed.
        self.process.stop_blocking(&[(Signal::QUIT, QUIT_GRACE)]);
    }
}

/// What stays the same however often the server is launched.
struct Launch<'a> {
    programs: &'a PostgresPrograms,
    user: Option<&'a User>,
    layout: &'a Layout,
}

impl Launch<'_> {
    async fn on_some_port(&self, options: &PostgresOptions) -> Result<(Process, u16)> {
        if let Some(port) = options.port {
            return Ok((self.on(port, options).await?, port));
        }
        let mut tries = 0;
        loop {
            let port = process::free_port()?;
            tries += 1;
            match self.on(port, options).await {
                // Somebody else took the port between our look and the server's.
                Err(DevstackError::Exited { tail, .. })
                    if tries < PORT_TRIES && tail.contains("could not bind") => {}
                started => return Ok((started?, port)),
            }
        }
    }

    async fn on(&self, port: u16, options: &PostgresOptions) -> Result<Process> {
        let Layout {
            base,
            data,
            log,
            pid_file,
            ..
        } = self.layout;
        leftovers::kill_postgres_in(data).await;
        remove_misleading(pid_file)?;
        let program = self.programs.program("postgres");
        let mut command = process::server(&program, options.death_signal(), self.user);
        command.arg("-D").arg(data).current_dir(base);
        for setting in options.settings(port) {
            command.args(["-c", &setting]);
        }
        process::print_to(&mut command, files::open_log(log, LOG_LIMIT_BYTES)?, log)?;
        let process = Process::spawn(command).map_err(DevstackError::io("run", &program))?;
        let pid = process.pid();
        let logs = [log.clone()];
        process::until_ready(WHAT, &process, &logs, READY_LIMIT, || async move {
            says_ready(&files::read_short(pid_file).ok()?, pid).then_some(())
        })
        .await?;
        Ok(process)
    }
}

/// Programs of the version that the data need, which the user it runs as can reach.
async fn find_programs(
    cache: &Cache,
    progress: &Progress,
    user: Option<&User>,
    layout: &Layout,
) -> Result<PostgresPrograms> {
    let made_by = layout.made_by()?;
    let programs = find_postgres(cache, progress, made_by).await?;
    if let Some(user) = user {
        user.must_reach(&programs.program("postgres"))?;
    }
    match made_by.filter(|major| *major != programs.version.major) {
        None => Ok(programs),
        Some(made_by) => Err(DevstackError::WrongDataVersion {
            path: layout.data.clone(),
            made_by,
            found: programs.version.to_string(),
        }),
    }
}

/// The server writes its pid in the first line of the file and its state in the eighth; `pg_ctl`
/// goes by the same. Unlike a connection it cannot be answered by somebody else's server.
fn says_ready(postmaster_pid: &str, pid: u32) -> bool {
    let line = |index| postmaster_pid.lines().nth(index).map(str::trim);
    line(0) == Some(pid.to_string().as_str()) && line(7) == Some("ready")
}

/// The server refuses to start while the process runs that an old file names, which after a crash
/// may be anyone's. What served this directory has been stopped by now. A file whose process is
/// gone is left to the server, which also looks for shared memory that is still in use.
fn remove_misleading(pid_file: &Path) -> Result<()> {
    let text = files::read_short(pid_file).unwrap_or_default();
    let pid = text.lines().next().unwrap_or_default().trim();
    if !pid.is_empty() && Path::new("/proc").join(pid).exists() {
        files::remove_file(pid_file)?;
    }
    Ok(())
}

fn checked(name: &str) -> Result<&str> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if (1..=63).contains(&name.len()) && name.chars().all(fine) {
        return Ok(name);
    }
    let rule = "1 to 63 lower-case letters, digits and _ are allowed";
    Err(DevstackError::BadName {
        what: "a database name",
        name: name.to_owned(),
        rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_right_process_saying_so() {
        let file = "17\n/d\n1700000000\n5432\n\n127.0.0.1\n  1 2\nready   \n";
        assert!(says_ready(file, 17));
        assert!(!says_ready(file, 18), "an old file");
        assert!(!says_ready(&file.replace("ready   ", "starting"), 17));
        assert!(!says_ready("17\n/d\n", 17), "half written");
    }

    #[test]
    fn database_names_need_no_quoting() {
        assert!(checked("nexus_1").is_ok());
        for bad in ["", "a\"b", "A", "a-b", &"a".repeat(64)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
