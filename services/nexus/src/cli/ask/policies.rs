//! `nexus policies`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Asker;
use super::policy_history::{BacktestArgs, ExplainArgs};
use super::policy_local::{self, EvaluateArgs};
use crate::cli::error::CliError;
use crate::cli::fields;
use crate::cli::http::Request;

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
    /// Decide by the bundle that was active before this one
    Rollback,
    /// Ask a bundle beside the active one, without effect, and count where it differs
    Shadow {
        /// Its digest, or `builtin`
        #[arg(required_unless_present_any = ["off", "status"])]
        digest: Option<String>,
        /// Ask none any more
        #[arg(long, conflicts_with = "digest")]
        off: bool,
        /// How its answers compare
        #[arg(long, conflicts_with_all = ["digest", "off"])]
        status: bool,
    },
    /// Run the tests of a bundle here, without a platform
    Test(PolicyFiles),
    /// Decide on an input: by files here, or by a bundle of the platform
    Evaluate(EvaluateArgs),
    /// Why a run's steps were judged as they were
    Explain(ExplainArgs),
    /// What another bundle would have changed in the decisions of the past
    Backtest(BacktestArgs),
}

/// A bundle in files.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyFiles {
    /// Rego files, or directories that hold them
    #[arg(required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// A JSON document that the rules see as `data`
    #[arg(long, value_name = "FILE")]
    pub(super) data: Option<PathBuf>,
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
                let (modules, data) = files(&paths, data.as_deref())?;
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
            Self::Rollback => {
                let path = ["v1", "policies", "rollback"];
                let answer = asker.post(&path, &json!({})).await?;
                let digest = answer.get("digest").and_then(Value::as_str);
                let digest = digest.unwrap_or("the bundle before");
                asker
                    .output
                    .done(&format!("{digest} decides from now on, again"), &answer)
            }
            Self::Shadow { status: true, .. } => {
                let request = Request::at(&["v1", "policies"]);
                let mut answer: Value = asker.gateway.get(request).await?;
                if let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
                    items.retain(|item| {
                        let is = |path| item.pointer(path).is_some_and(|value| !value.is_null());
                        item.get("in_shadow") == Some(&Value::Bool(true)) || is("/shadow")
                    });
                }
                asker.output.list(fields::SHADOWS, &answer)
            }
            Self::Shadow { digest, .. } => {
                let request = Request::at(&["v1", "policies", "shadow"]);
                let body = json!({ "digest": digest });
                let answer: Value = asker.gateway.put(request, &body).await?;
                let sentence = match digest {
                    Some(digest) => format!("{digest} is asked too from now on, without effect"),
                    None => "no bundle is in shadow any more".to_owned(),
                };
                asker.output.done(&sentence, &answer)
            }
            Self::Test(files) => policy_local::test(&files, asker.output),
            Self::Evaluate(args) => args.run(asker).await,
            Self::Explain(args) => args.run(asker).await,
            Self::Backtest(args) => args.run(asker).await,
        }
    }
}

/// Modules by path, and the data document.
pub(super) type Files = (BTreeMap<String, String>, Map<String, Value>);

/// Modules and data of a bundle in files.
pub(super) fn files(paths: &[PathBuf], data: Option<&Path>) -> Result<Files, CliError> {
    Ok((
        modules(paths)?,
        data.map_or_else(|| Ok(Map::new()), document)?,
    ))
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

pub(super) fn document(path: &Path) -> Result<Map<String, Value>, CliError> {
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
