//! Servers that still run although the process that started them is gone: after `kill -9` on a
//! machine without `setpriv`, or for the moment that they need to stop.
//!
//! A pid in a file proves nothing, for pids are used again. A process counts as a leftover only if
//! its command line names the data directory, or if it works in it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::process::to_pid;
use crate::{DevstackError, Result, files};

/// How long a leftover may take to stop before it is killed, and again after that.
const GRACE: Duration = Duration::from_secs(10);

/// The process whose pid is in the file's first line, if its command line names `data_dir`.
pub(crate) fn find(pid_file: &Path, data_dir: &Path) -> Option<u32> {
    let text = files::read_short(pid_file).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    serves(pid, data_dir).then_some(pid)
}

/// Stops the server that a pid file tells of, if it still runs on this data directory.
pub(crate) async fn stop(
    what: &'static str,
    pid_file: &Path,
    data_dir: &Path,
    polite: Signal,
) -> Result<()> {
    let Some(pid) = find(pid_file, data_dir) else {
        return Ok(());
    };
    tracing::warn!(
        pid,
        "stopping a {what} that an earlier process left running"
    );
    for signal in [polite, Signal::KILL] {
        send(pid, signal);
        if gone_within(GRACE, || !serves(pid, data_dir)).await {
            return Ok(());
        }
    }
    let why = format!("process {pid}, a {what} of an earlier start, cannot be stopped");
    Err(DevstackError::BadFile {
        path: data_dir.to_path_buf(),
        why,
    })
}

/// Kills every `postgres` whose working directory is `dir`, and waits until none is left: after its
/// main process was killed, the others need a moment to notice, and no new server may start before.
/// Only a system with /proc can tell; elsewhere nothing happens.
pub(crate) async fn kill_postgres_in(dir: &Path) -> bool {
    gone_within(GRACE, || {
        let found = postgres_in(dir);
        found.iter().for_each(|pid| send(*pid, Signal::KILL));
        found.is_empty()
    })
    .await
}

fn postgres_in(dir: &Path) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir))
        .filter(|pid| {
            files::read_short(Path::new(&format!("/proc/{pid}/comm")))
                .is_ok_and(|name| name.trim() == "postgres")
        })
        .collect()
}

fn serves(pid: u32, data_dir: &Path) -> bool {
    let dir = data_dir.to_string_lossy();
    pid != std::process::id() && command_line(pid).is_some_and(|line| line.contains(&*dir))
}

fn command_line(pid: u32) -> Option<String> {
    if Path::new("/proc/self").exists() {
        // A process that has ended and was not yet reaped has an empty one.
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&line).into_owned());
    }
    let ps = Command::new("ps")
        .args(["-o", "command=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&ps.stdout).into_owned())
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

async fn gone_within(limit: Duration, mut gone: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !gone() {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}
