//! What a process leaves behind when it is killed: nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nexus_devstack::testing::TestStack;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const MARK: &str = "the stack is in ";

/// Not a test but the process that the test below kills.
#[tokio::test]
#[ignore = "waits to be killed"]
async fn a_process_with_a_stack() {
    let stack = TestStack::start().await.unwrap();
    println!(
        "\n{MARK}{} {} {}",
        stack.dir().display(),
        stack.nats.pid(),
        stack.postgres.pid()
    );
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_leaves_neither_servers_nor_files() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_process_with_a_stack",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(line) = line.strip_prefix(MARK) {
            break line.to_owned();
        }
    };
    let mut words = line.split(' ');
    let dir = Path::new(words.next().unwrap());
    let pids: Vec<&str> = words.collect();
    let runs = |pid: &str| {
        // A process that has ended has an empty command line until it is reaped.
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    };
    assert!(
        dir.exists() && pids.len() == 2 && pids.iter().all(|pid| runs(pid)),
        "{line}"
    );

    child.kill().await.unwrap();
    let gone = async {
        while dir.exists() || pids.iter().any(|pid| runs(pid)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap();
}
