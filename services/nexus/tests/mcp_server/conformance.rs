//! The protocol's conformance suite, for both revisions. It comes from npm: `NEXUS_TEST_NODE` names the
//! folder with `bin/node` and the packages of `.ci/node`. Without it there is nothing to run, and the
//! test says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::Platform;
use crate::{model, register};

const SUITE: &str = "mcp/node_modules/@modelcontextprotocol/conformance/dist/index.js";

fn suite() -> Option<(PathBuf, PathBuf)> {
    let folder = std::env::var_os("NEXUS_TEST_NODE").map(PathBuf::from);
    let found = folder.map(|folder| (folder.join("bin/node"), folder.join(SUITE)));
    let found = found.filter(|(_, script)| script.exists());
    if found.is_none() {
        eprintln!("skipped: NEXUS_TEST_NODE names no folder with bin/node and {SUITE}");
    }
    found
}

/// What the suite calls, as far as a tool of a platform can be that.
async fn tools(platform: &Platform) {
    let simple = json!({ "source": "'This is a simple text response for testing.'" });
    register(platform, "test_simple_text", &simple).await;
    let failing = json!({
        "source": "throw new Error('This tool intentionally returns an error for testing')",
    });
    register(platform, "test_error_handling", &failing).await;
    register(
        platform,
        "test_tool_with_progress",
        &json!({ "source": "'done'" }),
    )
    .await;
    let schema: Value = serde_json::from_str(include_str!("schema_2020_12.json")).unwrap();
    let schema = json!({ "source": "'done'", "input_schema": schema });
    register(platform, "json_schema_2020_12_tool", &schema).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suite() {
    let Some((node, script)) = suite() else {
        return;
    };
    let platform = Platform::start(model()).await;
    tools(&platform).await;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp_server");
    for revision in ["2026-07-28", "2025-11-25"] {
        let expected = here.join(format!("conformance-{revision}.yaml"));
        let results = platform.stack.dir().join(revision);
        let mut command = Command::new(&node);
        command
            .arg(&script)
            .args(["server", "--url", &platform.url("/mcp")])
            .args(["--requirements", revision, "--expected-failures"])
            .arg(expected)
            .arg("-o")
            .arg(results)
            .current_dir(platform.stack.dir())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().expect("node runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{revision}: {said}{complaint}");
        assert!(
            said.contains("tools-list"),
            "{revision}: nothing was run: {said}"
        );
    }
}
