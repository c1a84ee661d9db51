//! This machine: room on the disk, and what `nexus up` would need of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_devstack::{Cache, LocalModel};
use tokio::process::Command;

use super::finding::Finding;
use super::verdict;
use crate::cli::endpoint::Connection;

const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at it.
pub(crate) async fn check(connection: &Connection) -> Vec<Finding> {
    vec![disk(connection), local_model(), python().await]
}

fn disk(connection: &Connection) -> Finding {
    let dir = connection
        .endpoints_file()
        .and_then(|file| file.parent().map(Path::to_owned));
    let dir = dir.and_then(existing).unwrap_or_else(|| PathBuf::from("/"));
    match rustix::fs::statvfs(&dir) {
        Ok(stat) => {
            let total = stat.f_blocks.saturating_mul(stat.f_frsize);
            let mut finding = verdict::disk(stat.f_bavail.saturating_mul(stat.f_frsize), total);
            finding.found.push_str(&format!(" in {}", dir.display()));
            finding
        }
        Err(error) => Finding::skipped("disk space", format!("{}: {error}", dir.display())),
    }
}

/// The directory or the nearest one above it that is there.
fn existing(dir: PathBuf) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned)
}

fn local_model() -> Finding {
    let check = "local model";
    match Cache::discover() {
        Ok(cache) if LocalModel::is_installed(&cache) => {
            Finding::ok(check, format!("in {}", cache.dir().display()))
        }
        // It comes with the first question, so that its absence is nothing wrong.
        Ok(_) => Finding::skipped(
            check,
            "not fetched yet; `nexus install --model` does it now",
        ),
        Err(error) => Finding::warn(check, error.to_string(), "set NEXUS_CACHE_DIR"),
    }
}

async fn python() -> Finding {
    let check = "python";
    let advice = "`apt-get install python3 python3-pip`: what the machine lacks is fetched with it";
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--version"]).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::ok(check, text.lines().next().unwrap_or_default())
        }
        Ok(Ok(_)) => Finding::warn(check, "python3 has no pip", advice),
        Ok(Err(error)) => Finding::warn(check, format!("python3: {error}"), advice),
        Err(_) => Finding::warn(check, "python3 does not answer", advice),
    }
}
