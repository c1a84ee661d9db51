//! A Python client that is run case by case against a platform. The interpreter is the one that
//! `NEXUS_TEST_PYTHON` names; without one there is nothing to run, and the test says so.

use std::path::Path;
use std::process::{Command, Stdio};

use super::support::Platform;

/// The cases of one script.
pub(crate) struct Client<'a> {
    pub(crate) python: String,
    pub(crate) platform: &'a Platform,
    /// Below this folder's parent.
    pub(crate) script: &'static str,
}

/// The interpreter.
pub(crate) fn interpreter(package: &str) -> Option<String> {
    let python = std::env::var("NEXUS_TEST_PYTHON").ok();
    if python.is_none() {
        eprintln!("skipped: NEXUS_TEST_PYTHON does not name a Python with the package {package}");
    }
    python
}

impl Client<'_> {
    /// Runs a case; gives the words that it prints.
    pub(crate) async fn case(&self, name: &str) -> String {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut command = Command::new(&self.python);
        command
            .arg(tests.join(self.script))
            .args([&self.platform.url(""), name])
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}{complaint}");
        said
    }
}
