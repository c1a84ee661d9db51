//! The official clients of OpenAI and Anthropic for Node, unmodified, against the platform as it is
//! started. The cases are in `openai/client.mjs` and `anthropic/client.mjs`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use nexus_modelserver::{Options, Reply, Rule, Script};

use support::Platform;

const OPENAI: [&str; 8] = [
    "plain",
    "stream",
    "tools",
    "models",
    "errors",
    "responses",
    "responsesTools",
    "background",
];
const ANTHROPIC: [&str; 4] = ["plain", "stream", "tools", "errors"];

/// Says six hundred words, ten a second, to whoever asks for it.
fn model() -> Options {
    let slow = Reply {
        chunk_delay_ms: 100,
        ..Reply::text("word ".repeat(600))
    };
    let rules = vec![Rule {
        contains: Some("slowly please".to_owned()),
        reply: slow,
        ..Rule::default()
    }];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

/// Runs a case; gives the words that it prints.
async fn case(platform: &Platform, node: &Path, script: &str, name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = Command::new(node);
    command
        .arg(tests.join(script))
        .args([&platform.url(""), name])
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{script} {name}: {said}{complaint}"
    );
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_node_clients_work_unmodified() {
    let Some(folder) = std::env::var_os("NEXUS_TEST_NODE") else {
        eprintln!(
            "skipped: NEXUS_TEST_NODE names no folder with bin/node and clients/node_modules"
        );
        return;
    };
    let node = Path::new(&folder).join("bin/node");
    let platform = Platform::start(model()).await;
    for (script, cases) in [
        ("openai/client.mjs", &OPENAI[..]),
        ("anthropic/client.mjs", &ANTHROPIC[..]),
    ] {
        for name in cases {
            let said = case(&platform, &node, script, name).await;
            if *name == "plain" {
                let run = platform.ended(&said).await;
                assert_eq!(
                    (&run["user_id"], &run["input"]),
                    (&"ada".into(), &"hello there".into())
                );
            }
        }
    }
}
