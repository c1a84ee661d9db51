//! A child process that does not outlive this one and can be waited for from any runtime.
//!
//! tokio's own child was the alternative. It belongs to the runtime that spawned it, and tests that
//! share a server each have their own. And the signal that the kernel sends to a child when its
//! parent dies is sent when the *thread* that forked it ends. So each child has a thread here, which
//! forks it, waits for it and ends with it.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use crate::user::User;
use crate::{DevstackError, Result, files};

/// How long a child may take to vanish after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A running child, or one that has ended. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    exit: watch::Receiver<Option<String>>,
    /// Whether the pid is still the child's: a reaped pid may be given to anyone.
    mine: Arc<Mutex<bool>>,
    /// Held open: a child that reads it ends when it closes, which it does at the latest with us.
    _stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
}

/// A command for a server: in its own process group, so that Ctrl-C at the terminal reaches us and
/// not it; with a clean environment, for it has no business with our keys; and, where `setpriv` is
/// there to arrange it, with a signal for it should we die.
pub(crate) fn server(program: &Path, death_signal: &str, user: Option<&User>) -> Command {
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command
                .args(["--pdeathsig", death_signal, "--"])
                .arg(program);
            command
        }
        None => Command::new(program),
    };
    let kept = ["PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH"];
    let kept = kept
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    command
        .env_clear()
        .envs(kept)
        .env("LC_ALL", "C")
        .process_group(0)
        .stdin(Stdio::null());
    if let Some(user) = user {
        // As root, std drops the supplementary groups along with the user.
        command
            .uid(user.uid)
            .gid(user.gid)
            .env("HOME", "/nonexistent");
    }
    command
}

/// The program, if there is one that knows the option: BusyBox has a lesser one.
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let program = files::on_path("setpriv")?;
        let mut trial = Command::new(&program);
        trial.args(["--pdeathsig", "KILL", "--", "true"]);
        trial
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        trial.status().ok()?.success().then_some(program)
    });
    found.as_deref()
}

/// Sends all that the command prints to a log.
pub(crate) fn print_to(command: &mut Command, log: File, path: &Path) -> Result<()> {
    let twin = log.try_clone().map_err(DevstackError::io("open", path))?;
    command.stdout(log).stderr(twin);
    Ok(())
}

type Spawned = (u32, Option<ChildStdin>, Option<ChildStdout>);

impl Process {
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        let (started, start) = mpsc::sync_channel::<io::Result<Spawned>>(1);
        let (ended, exit) = watch::channel(None);
        let mine = Arc::new(Mutex::new(true));
        let shared = Arc::clone(&mine);
        thread::Builder::new()
            .name("devstack-child".to_owned())
            .spawn(move || {
                let spawned = command.spawn().map(|mut child| {
                    let pipes = (child.id(), child.stdin.take(), child.stdout.take());
                    (child, pipes)
                });
                match spawned {
                    Ok((child, pipes)) => {
                        // Nobody listens when the caller is gone; the child is waited for all the same.
                        let _ = started.send(Ok(pipes));
                        ended.send_replace(Some(wait(child, &shared)));
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })?;
        let (pid, _stdin, stdout) = start.recv().map_err(io::Error::other)??;
        Ok(Self {
            pid,
            exit,
            mine,
            _stdin,
            stdout,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, in words, once it has.
    pub(crate) fn ended(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// Waits until it ends; says how.
    pub(crate) async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|ended| ended.clone())
            .unwrap_or_else(|| "unknown status".to_owned())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(pid)) = (*mine, to_pid(self.pid)) {
            // The only failure left is that it has just ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends each signal in turn and gives it its time, then kills.
    pub(crate) async fn stop(&self, steps: &[(Signal, Duration)]) {
        for (signal, grace) in steps.iter().copied().chain([(Signal::KILL, KILL_LIMIT)]) {
            if self.ended().is_some() {
                return;
            }
            self.signal(signal);
            let _ = tokio::time::timeout(grace, self.exited()).await;
        }
    }

    /// The same where nothing can be awaited.
    pub(crate) fn stop_blocking(&self, steps: &[(Signal, Duration)]) {
        for (signal, grace) in steps.iter().copied().chain([(Signal::KILL, KILL_LIMIT)]) {
            self.signal(signal);
            let end = Instant::now() + grace;
            while self.ended().is_none() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Asks `probe` until it gives something, the process ends, or `limit` has passed.
/// An error quotes the first of the logs that has anything in it.
pub(crate) async fn until_ready<T, F>(
    what: &'static str,
    process: &Process,
    logs: &[PathBuf],
    limit: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(3);
    loop {
        if let Some(ready) = probe().await {
            return Ok(ready);
        }
        if let Some(status) = process.ended() {
            let (log, tail) = files::tail_of_first(logs);
            return Err(DevstackError::Exited {
                what,
                status,
                log,
                tail,
            });
        }
        if start.elapsed() > limit {
            let (log, tail) = files::tail_of_first(logs);
            return Err(DevstackError::NotReady {
                what,
                waited_s: limit.as_secs(),
                log,
                tail,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(Duration::from_millis(50));
    }
}

/// A port of 127.0.0.1 that is free now. Somebody else may take it before its user does.
pub(crate) fn free_port() -> Result<u16> {
    let address = Path::new("127.0.0.1:0");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| Ok(it.local_addr()?.port()));
    port.map_err(DevstackError::io("listen on", address))
}

pub(crate) fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Waits in two steps, so that the pid stays the child's until `mine` says that it is not.
fn wait(mut child: Child, mine: &Mutex<bool>) -> String {
    let pid = WaitId::Pid(Pid::from_child(&child));
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(pid.clone(), ended).err() == Some(rustix::io::Errno::INTR) {}
    let mut mine = mine.lock().unwrap_or_else(PoisonError::into_inner);
    *mine = false;
    child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string())
}
