//! Policy from the command line, against a platform of separate processes: a bundle's life, history
//! judged again, and the policy role killed while it judges.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, until};

const NO_BOB: &str = "package nexus.agent.policy\nimport rego.v1\n\
    default allow := false\nallow if input.user.id != \"bob\"\n\
    test_bob if not allow with input as {\"user\": {\"id\": \"bob\"}}\n";

async fn start(platform: &Platform, user: &str) -> String {
    let request = platform.http().post(platform.url("/v1/runs"));
    let body = json!({ "input": "calculate" });
    let answer = request
        .header("nexus-user", user)
        .json(&body)
        .send()
        .await
        .unwrap();
    let started: Value = answer.json().await.unwrap();
    started["run_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{started}"))
        .to_owned()
}

/// A model that calls the calculator, and answers with what it says.
fn calculating() -> Options {
    let call = ScriptedCall::new("calculator", &json!({ "expression": "6*7" }));
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("42"),
            ..Rule::default()
        },
        Rule {
            reply: Reply::tools([call]),
            ..Rule::default()
        },
    ];
    Options {
        script: Script {
            rules,
            ..Script::default()
        },
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_tried_before_it_decides_and_taken_back() {
    let mut platform = Platform::start(Options::default()).await;
    let mut runs = vec![];
    for user in ["ann", "bob", "ann", "bob"] {
        runs.push(start(&platform, user).await);
    }
    // It dies in the middle of the runs; none is lost.
    platform.kill_and_restart("policy");
    for run in &runs {
        assert_eq!(platform.ended(run).await["status"], "completed");
    }
    std::fs::write(platform.stack.dir().join("new.rego"), NO_BOB).unwrap();
    let tests = platform
        .command(&["policies", "test", "new.rego"])
        .output()
        .unwrap();
    assert!(tests.status.success(), "{tests:?}");

    let report = platform.json(&[
        "policies", "backtest", "new.rego", "--since", "1h", "--json",
    ]);
    assert_eq!(
        (&report["decisions"], &report["changed"]),
        (&json!(8), &json!(4)),
        "{report}"
    );
    assert_eq!(report["by_user"], json!({ "bob": 4 }));
    let same = platform.json(&["policies", "backtest", "builtin", "--json"]);
    assert_eq!(
        (&same["decisions"], &same["changed"]),
        (&json!(8), &json!(0)),
        "{same}"
    );
    let explained = platform.json(&["policies", "explain", &runs[1], "--json"]);
    let decisions = explained["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 2);
    assert!(
        decisions.iter().all(|one| one["remarks"] == json!([])),
        "{explained}"
    );

    let published = platform.json(&["policies", "publish", "new.rego", "--json"]);
    let digest = published["digest"].as_str().unwrap().to_owned();
    platform.json(&["policies", "shadow", &digest, "--json"]);
    until("its differences are counted", || async {
        let run = start(&platform, "bob").await;
        assert_eq!(
            platform.ended(&run).await["status"],
            "completed",
            "a shadow changes nothing"
        );
        let status = platform.json(&["policies", "shadow", "--status", "--json"]);
        status["items"][0]["shadow"]["by_kind"]["would_deny"].as_u64() > Some(0)
    })
    .await;

    platform.json(&["policies", "activate", &digest, "--json"]);
    until("it decides", || async {
        let run = start(&platform, "bob").await;
        platform.ended(&run).await["status"] == "failed"
    })
    .await;
    let back = platform.json(&["policies", "rollback", "--json"]);
    assert_eq!(back["digest"], "builtin");
    until("the one before decides again", || async {
        let run = start(&platform, "bob").await;
        platform.ended(&run).await["status"] == "completed"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_calls_of_real_runs_are_judged_again() {
    let platform = Platform::start(calculating()).await;
    let run = start(&platform, "ann").await;
    platform.ended(&run).await;
    let explained = platform.json(&["policies", "explain", &run, "--turn", "1", "--json"]);
    let decisions = explained["decisions"].as_array().unwrap();
    let tool = decisions
        .iter()
        .find(|one| one["recorded"]["point"]["at"] == "tool.call");
    let tool = tool.unwrap_or_else(|| panic!("{explained}"));
    assert_eq!(tool["input"]["tool"]["name"], "calculator");
    assert_eq!(tool["remarks"], json!([]));
    let same = platform.json(&["policies", "backtest", "builtin", "--json"]);
    assert_eq!(same["changed"], 0, "{same}");
}

/// What the model of a member of `hr` writes to a calculator is nobody's business.
const SECRET: &str = "package nexus.agent.policy\nimport rego.v1\ndefault allow := true\n\
    obligations := {\"redact\": [\"expression\"]} if {\n\
    input.point == \"llm.call\"\n\"hr\" in input.user.groups\n}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_marks_is_left_out_before_it_is_recorded() {
    let platform = Platform::start(calculating()).await;
    std::fs::write(platform.stack.dir().join("secret.rego"), SECRET).unwrap();
    let published = platform.json(&["policies", "publish", "secret.rego", "--json"]);
    let digest = published["digest"].as_str().unwrap();
    platform.json(&["policies", "activate", digest, "--json"]);
    // Whoever listens to the fragments as they come.
    let client = async_nats::connect(platform.stack.nats.url())
        .await
        .unwrap();
    let mut fragments = client.subscribe("nexus.default.live.run.*").await.unwrap();
    client.flush().await.unwrap();
    let heard: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let ears = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(fragment) = fragments.next().await {
            let run = fragment.subject.rsplit('.').next().unwrap().to_owned();
            let text = String::from_utf8(fragment.payload.to_vec()).unwrap();
            ears.lock().unwrap().entry(run).or_default().push_str(&text);
        }
    });
    let says = |groups: &'static str| {
        let (platform, heard) = (&platform, &heard);
        async move {
            let request = platform.http().post(platform.url("/v1/runs"));
            let body = json!({ "input": "calculate" });
            let request = request.header("nexus-groups", groups).json(&body);
            let started: Value = request.send().await.unwrap().json().await.unwrap();
            let run = started["run_id"].as_str().unwrap().to_owned();
            assert_eq!(platform.ended(&run).await["status"], "completed");
            let url = platform.url(&format!("/v1/runs/{run}/events"));
            let events = platform.http().get(url).send().await.unwrap();
            let live = || heard.lock().unwrap().get(&run).cloned().unwrap_or_default();
            until("the fragments were heard", || async {
                live().contains("calculator") && live().contains("42")
            })
            .await;
            (events.text().await.unwrap(), live())
        }
    };
    until(
        "the bundle decides, and the group is known to it",
        || async {
            let (events, live) = says("staff, hr").await;
            let decides = events.contains("[redacted]");
            assert!(!decides || !live.contains("6*7"), "{live}");
            decides && !events.contains("6*7")
        },
    )
    .await;
    let (events, live) = says("staff").await;
    assert!(events.contains("6*7"), "others are not concerned");
    assert!(live.contains("6*7"), "{live}");
}
