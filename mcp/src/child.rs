//! A program that does not outlive this one, nor leave others behind.
//!
//! Each has a thread, which forks it, waits for it and ends with it: the signal that the kernel sends
//! when a parent dies is sent when the *thread* dies that forked. It leads a process group of its own,
//! which is killed as a whole before the leader's pid can be given to anyone else.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Secret;

/// What is kept of what it says on its standard error.
const TAIL_BYTES: usize = 4 << 10;

/// A running program, or one that has ended. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    exit: watch::Receiver<Option<String>>,
    /// Whether the pid is still its own.
    mine: Arc<Mutex<bool>>,
    tail: Arc<Mutex<VecDeque<u8>>>,
}

/// Its standard input and output.
pub(crate) struct Pipes {
    pub(crate) stdin: tokio::process::ChildStdin,
    pub(crate) stdout: tokio::process::ChildStdout,
}

type Started = (
    Pid,
    Option<ChildStdin>,
    Option<ChildStdout>,
    Option<ChildStderr>,
);

/// A command with this environment and no other; where `setpriv` is there to arrange it, the program
/// is killed should we die without a chance to do it.
pub(crate) fn command<'a>(
    program: &str,
    args: &[String],
    env: impl Iterator<Item = (&'a String, &'a Secret)>,
) -> Command {
    let mut command = match setpriv() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        false => Command::new(program),
    };
    command
        .args(args)
        .env_clear()
        .envs(env.map(|(name, value)| (name, value.reveal())))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Whether there is one that knows the option: BusyBox has a lesser one.
fn setpriv() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let mut trial = Command::new("setpriv");
        trial
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        trial.status().is_ok_and(|status| status.success())
    })
}

impl Child {
    /// Starts it. Inside a runtime.
    pub(crate) fn spawn(mut command: Command) -> io::Result<(Self, Pipes)> {
        let (started, start) = mpsc::sync_channel::<io::Result<Started>>(1);
        let (ended, exit) = watch::channel(None);
        let mine = Arc::new(Mutex::new(true));
        let shared = Arc::clone(&mine);
        thread::Builder::new()
            .name("mcp-server".to_owned())
            .spawn(move || match command.spawn() {
                Ok(mut child) => {
                    let pid = Pid::from_child(&child);
                    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
                    let _ = started.send(Ok((pid, pipes.0, pipes.1, pipes.2)));
                    ended.send_replace(Some(wait(child, &shared)));
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })?;
        let (pid, stdin, stdout, stderr) = start.recv().map_err(io::Error::other)??;
        let child = Self {
            pid,
            exit,
            mine,
            tail: Arc::default(),
        };
        let no_pipe = || io::Error::other("it has no standard input or output");
        let pipes = Pipes {
            stdin: tokio::process::ChildStdin::from_std(stdin.ok_or_else(no_pipe)?)?,
            stdout: tokio::process::ChildStdout::from_std(stdout.ok_or_else(no_pipe)?)?,
        };
        if let Some(stderr) = stderr {
            let stderr = tokio::process::ChildStderr::from_std(stderr)?;
            tokio::spawn(drain(stderr, Arc::clone(&child.tail)));
        }
        Ok((child, pipes))
    }

    /// How it ended, in words; waits a moment for it.
    pub(crate) async fn ended_within(&self, limit: Duration) -> Option<String> {
        let mut exit = self.exit.clone();
        let ended = timeout(limit, exit.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }

    /// The last that it said on its standard error.
    pub(crate) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = tail.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    /// Asks it to end, after its standard input was closed, and kills it where it does not.
    pub(crate) async fn stop(&self, grace: Duration) {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            if let Some(signal) = signal {
                self.signal(signal);
            }
            if self.ended_within(grace).await.is_some() {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner);
        if *mine {
            // The only failure left is that it has just ended.
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits in two steps, so that the pid stays its own until `mine` says that it is not, and what it
/// started goes with it.
fn wait(mut child: process::Child, mine: &Mutex<bool>) -> String {
    let pid = Pid::from_child(&child);
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), ended).err() == Some(rustix::io::Errno::INTR) {}
    let mut mine = mine.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = kill_process_group(pid, Signal::KILL);
    *mine = false;
    child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Reads all of it, so that the program never waits for us, and keeps the end.
async fn drain(mut stderr: tokio::process::ChildStderr, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(buffer.iter().take(read));
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}
