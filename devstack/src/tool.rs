//! Runs a program that does one thing and ends.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::{DevstackError, Result, files};

/// Runs a program to its end, within a time; it is killed when that is over.
pub(crate) async fn run(
    program: &Path,
    limit: Duration,
    arrange: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<Output> {
    let mut command = Command::new(program);
    arrange(&mut command)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await;
    output
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(DevstackError::io("run", program))
}

/// An error with the end of its output, unless it succeeded.
pub(crate) fn expect_success(what: &'static str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let (status, output) = (output.status.to_string(), files::tail_of(&printed));
    Err(DevstackError::Tool {
        what,
        status,
        output,
    })
}
