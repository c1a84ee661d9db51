//! `nexus policies`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Asker;
use crate::cli::error::CliError;
use crate::cli::fields;

/// Files of one bundle.
const MOST_FILES: usize = 1000;
/// Bytes of one bundle.
const MOST_BYTES: u64 = 16 << 20;

/// What policy allows, as bundles of Rego.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PoliciesVerb {
    /// Bundles, and which one decides
    List,
    /// Publish a bundle; it is compiled and tested before it is accepted
    Publish {
        /// Rego files, or directories that hold them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// A JSON document that the rules see as `data`
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        /// Decide by it at once
        #[arg(long)]
        activate: bool,
    },
    /// Decide by a published bundle from now on
    Activate {
        /// Its digest, or `builtin`
        digest: String,
    },
}

impl PoliciesVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List => {
                asker
                    .list(&["v1", "policies"], vec![], fields::POLICIES)
                    .await
            }
            Self::Publish {
                paths,
                data,
                activate,
            } => {
                let modules = modules(&paths)?;
                let data = data.map_or_else(|| Ok(Map::new()), |path| document(&path))?;
                let body = json!({ "modules": modules, "data": data, "activate": activate });
                let answer = asker.post(&["v1", "policies"], &body).await?;
                let digest = answer
                    .get("digest")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                asker.output.done(digest, &answer)
            }
            Self::Activate { digest } => {
                let path = ["v1", "policies", &digest, "activate"];
                let answer = asker.post(&path, &json!({})).await?;
                asker
                    .output
                    .done(&format!("{digest} decides from now on"), &answer)
            }
        }
    }
}

/// Rego files by their path below what was named.
fn modules(paths: &[PathBuf]) -> Result<BTreeMap<String, String>, CliError> {
    let mut found = BTreeMap::new();
    let mut room = MOST_BYTES;
    for path in paths {
        let base = if path.is_dir() {
            path.as_path()
        } else {
            path.parent().unwrap_or(path)
        };
        collect(path, base, &mut room, &mut found)?;
    }
    if found.is_empty() {
        let what = "there is no file that ends in .rego".to_owned();
        return Err(CliError::Usage(what));
    }
    Ok(found)
}

fn collect(
    path: &Path,
    base: &Path,
    room: &mut u64,
    found: &mut BTreeMap<String, String>,
) -> Result<(), CliError> {
    let cannot = |what: &str| CliError::io(format!("cannot {what} {}", path.display()));
    let about = fs::metadata(path).map_err(cannot("read"))?;
    if about.is_dir() {
        let entries = fs::read_dir(path).map_err(cannot("list"))?;
        for entry in entries {
            let child = entry.map_err(cannot("list"))?;
            // A link may lead back up.
            let kind = child.file_type().map_err(cannot("list"))?;
            let child = child.path();
            let is_rego = child
                .extension()
                .is_some_and(|extension| extension == "rego");
            if kind.is_dir() || (is_rego && !kind.is_symlink()) {
                collect(&child, base, room, found)?;
            }
        }
        return Ok(());
    }
    let left = room
        .checked_sub(about.len())
        .filter(|_| found.len() < MOST_FILES);
    *room = left.ok_or_else(|| {
        let mib = MOST_BYTES >> 20;
        CliError::Usage(format!(
            "a bundle has at most {MOST_FILES} files and {mib} MiB"
        ))
    })?;
    let text = fs::read_to_string(path).map_err(cannot("read"))?;
    let name = path
        .strip_prefix(base)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned();
    if found.insert(name.clone(), text).is_some() {
        return Err(CliError::Usage(format!("two files are called {name}")));
    }
    Ok(())
}

fn document(path: &Path) -> Result<Map<String, Value>, CliError> {
    let read = fs::read(path).map_err(CliError::io(format!("cannot read {}", path.display())))?;
    serde_json::from_slice(&read).map_err(|error| {
        CliError::Usage(format!(
            "{} must hold a JSON object: {error}",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_directory_is_a_bundle_by_relative_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::write(dir.path().join("main.rego"), "package a").unwrap();
        fs::write(dir.path().join("lib/b.rego"), "package b").unwrap();
        fs::write(dir.path().join("README.md"), "no").unwrap();
        let found = modules(&[dir.path().to_owned()]).unwrap();
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["lib/b.rego", "main.rego"]
        );
        let one = modules(&[dir.path().join("lib/b.rego")]).unwrap();
        assert_eq!(one.keys().collect::<Vec<_>>(), ["b.rego"]);
    }

    #[test]
    fn nothing_to_publish_and_two_of_a_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(modules(&[dir.path().to_owned()]).is_err());
        fs::write(dir.path().join("a.rego"), "package a").unwrap();
        let twice = modules(&[dir.path().to_owned(), dir.path().join("a.rego")]);
        assert!(
            twice
                .unwrap_err()
                .to_string()
                .contains("two files are called a.rego")
        );
    }
}
