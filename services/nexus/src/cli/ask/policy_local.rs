//! `nexus policies test` and `evaluate`: a bundle in files, compiled and asked here. It is the same
//! engine that decides in the platform, so that an author needs none to know what it will say.

use std::path::PathBuf;

use nexus_policy::engine::{Bundle, Module, dry_decision};
use serde_json::{Value, json};

use super::Asker;
use super::policies::{PolicyFiles, files};
use crate::cli::error::CliError;
use crate::cli::fields;
use crate::cli::print::{self, Output};

/// `policies evaluate`.
#[derive(Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// Rego files, or directories that hold them; without any, a bundle of the platform is asked
    paths: Vec<PathBuf>,
    /// A JSON document that the rules see as `data`
    #[arg(long, value_name = "FILE", requires = "paths")]
    data: Option<PathBuf>,
    /// The input, a JSON document
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// A bundle of the platform: its digest, or `builtin`; the active one when absent
    #[arg(long, conflicts_with = "paths")]
    digest: Option<String>,
}

impl EvaluateArgs {
    /// Decides and shows the decision.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let what = self.input.display();
        let read =
            std::fs::read(&self.input).map_err(CliError::io(format!("cannot read {what}")))?;
        let input: Value = serde_json::from_slice(&read)
            .map_err(|error| CliError::Usage(format!("{what} must hold JSON: {error}")))?;
        let decision = if self.paths.is_empty() {
            let body = json!({ "input": input, "digest": self.digest });
            asker.post(&["v1", "policies", "evaluate"], &body).await?
        } else {
            let files = PolicyFiles {
                paths: self.paths,
                data: self.data,
            };
            let decision = dry_decision(&compile(&files)?, &input);
            serde_json::to_value(decision).unwrap_or_default()
        };
        asker.output.one(fields::DECISION, &decision)
    }
}

/// Runs the tests; a failure is said with file, line and reason, and is an error.
///
/// # Errors
/// [`CliError`].
pub(super) fn test(files: &PolicyFiles, output: Output) -> Result<(), CliError> {
    let outcomes = compile(files)?.run_tests();
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    if output.json {
        output.value(&serde_json::to_value(&outcomes).unwrap_or_default())?;
    } else {
        let lines: String = outcomes
            .iter()
            .map(|outcome| format!("{outcome}\n"))
            .collect();
        print::write(&lines)?;
    }
    match (outcomes.len(), failed) {
        (_, 1..) => Err(CliError::Tests(format!(
            "{failed} of {} tests failed",
            outcomes.len()
        ))),
        (0, _) => {
            print::hint("no tests: rules whose names begin with test_ are");
            Ok(())
        }
        (count, _) => {
            print::hint(&format!("{count} tests passed"));
            Ok(())
        }
    }
}

fn compile(files_of: &PolicyFiles) -> Result<Bundle, CliError> {
    let (modules, data) = files(&files_of.paths, files_of.data.as_deref())?;
    let modules: Vec<Module> = (modules.into_iter())
        .map(|(path, text)| Module { path, text })
        .collect();
    Bundle::compile(&modules, Value::Object(data))
        .map_err(|error| CliError::Tests(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;
    use crate::cli::exit::Exit;

    fn bundle(text: &str) -> (tempfile::TempDir, PolicyFiles) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.rego"), text).unwrap();
        let files = PolicyFiles {
            paths: vec![dir.path().to_owned()],
            data: None,
        };
        (dir, files)
    }

    #[test]
    fn tests_fail_with_an_exit_code_and_a_broken_bundle_with_its_line() {
        let (_dir, good) = bundle("package a\nallow := true\ntest_yes := allow\n");
        assert!(test(&good, Output::default()).is_ok());
        let (_dir, bad) = bundle("package a\nallow := true\ntest_no := false\n");
        let failed = test(&bad, Output::default()).unwrap_err();
        assert_eq!(failed.to_string(), "1 of 1 tests failed");
        assert_eq!(failed.exit(), Exit::Failed);
        let (_dir, broken) = bundle("package a\nallow := )\n");
        let said = test(&broken, Output::default()).unwrap_err().to_string();
        assert!(said.starts_with("a.rego:2:"), "{said}");
    }
}
