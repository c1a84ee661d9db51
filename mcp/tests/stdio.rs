//! Programs that speak MCP, well and badly, as real processes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use std::time::{Duration, Instant};

use nexus_mcp::{
    Answer, CallError, McpServerConfig, RemoteCall, Secret, Servers, Wanted, imported,
};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_server.py");
/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(ways: &[&str]) -> McpServerConfig {
    let mut args = vec![SERVER.to_owned()];
    args.extend(ways.iter().map(|way| (*way).to_owned()));
    McpServerConfig {
        name: "fake".into(),
        command: Some("python3".into()),
        args,
        ..McpServerConfig::default()
    }
}

fn servers(config: McpServerConfig) -> Servers {
    Servers::new(vec![config], &|name| std::env::var(name).ok()).unwrap()
}

struct Stand(Servers);

impl Stand {
    fn new(ways: &[&str]) -> Self {
        Self(servers(config(ways)))
    }

    async fn ask(
        &self,
        tenant: &str,
        tool: &str,
        arguments: Value,
        time: Duration,
    ) -> Result<Answer, CallError> {
        let Value::Object(arguments) = arguments else {
            panic!("no object");
        };
        let mut meta = Map::new();
        meta.insert("nexus/idempotency-key".into(), "k-1".into());
        let call = RemoteCall {
            tenant,
            server: "fake",
            tool,
            arguments: &arguments,
            meta,
            time,
        };
        self.0.call(call).await
    }

    async fn call(&self, tool: &str) -> Result<Answer, CallError> {
        self.ask("acme", tool, json!({}), PATIENCE).await
    }

    async fn done(&self, tool: &str) -> Value {
        match self.call(tool).await {
            Ok(Answer::Done(value)) => value,
            other => panic!("{tool}: {other:?}"),
        }
    }

    async fn lost(&self, tool: &str) -> String {
        match self.call(tool).await {
            Err(CallError::Lost(reason)) => reason,
            other => panic!("{tool}: {other:?}"),
        }
    }
}

fn runs(pid: &Value) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie that nobody has waited for yet has ended.
    !status.is_empty() && !status.contains(") Z ")
}

async fn gone(pid: &Value) {
    let began = Instant::now();
    while runs(pid) {
        assert!(began.elapsed() < PATIENCE, "process {pid} still runs");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn both_revisions_list_and_call() {
    for (ways, version) in [(vec![], "2.1.0"), (vec!["modern"], "3.0.0")] {
        let stand = Stand::new(&ways);
        let listing = stand.0.list("acme", "fake").await.unwrap();
        let imported = imported(&config(&ways), &listing, &Wanted::default());
        assert_eq!(imported.refused, []);
        let echo = &imported.tools[0];
        let told = (echo.name.as_str(), echo.version.as_str(), echo.idempotent);
        assert_eq!(
            (imported.tools.len(), told),
            (19, ("fake_echo", version, false))
        );
        let arguments = json!({ "text": "é\n", "n": [1, { "a": null }] });
        let answer = stand.ask("acme", "echo", arguments.clone(), PATIENCE).await;
        assert_eq!(answer, Ok(Answer::Done(arguments)), "{ways:?}");
        let meta = stand.done("meta").await;
        assert_eq!(meta["nexus/idempotency-key"], "k-1", "{meta}");
        let Ok(Answer::Failed { code, message }) = stand.call("fail").await else {
            panic!("it fails");
        };
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("tool_failed", "there is no room")
        );
        let Ok(Answer::Failed { code, .. }) = stand.call("none").await else {
            panic!("there is none");
        };
        assert_eq!(code, "bad_arguments");
    }
}

#[tokio::test]
async fn calls_go_side_by_side_and_a_late_one_is_cancelled() {
    let stand = Stand::new(&[]);
    let before = stand.done("pid").await;
    let began = Instant::now();
    let slow = || stand.ask("acme", "slow", json!({ "s": 1.0 }), PATIENCE);
    let (a, b, c) = tokio::join!(slow(), slow(), slow());
    assert!(
        began.elapsed() < Duration::from_millis(2500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((a.clone(), b, c), (a.clone(), a.clone(), a));
    let late = stand
        .ask("acme", "silent", json!({}), Duration::from_millis(200))
        .await;
    assert_eq!(late, Err(CallError::Lost("no answer within 200 ms".into())));
    let began = Instant::now();
    while stand.done("cancelled").await["ids"] != 1 {
        assert!(began.elapsed() < PATIENCE, "nobody was told");
    }
    // Whoever does not answer one call serves others on.
    let after = stand.done("pid").await;
    assert_eq!(
        (&after["pid"], &after["calls"]),
        (&before["pid"], &json!(2))
    );
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_leaves_it_open_and_comes_again() {
    let stand = Stand::new(&[]);
    let before = stand.done("pid").await;
    let reason = stand.lost("die").await;
    assert!(reason.contains("exit status: 3"), "{reason}");
    let after = stand.done("pid").await;
    assert_ne!(before["pid"], after["pid"]);
}

#[tokio::test]
async fn a_list_is_of_the_program_as_it_is_now_and_disturbs_no_call() {
    let stand = Stand::new(&[]);
    let before = stand.done("pid").await["pid"].clone();
    let slow = stand.ask("acme", "slow", json!({ "s": 1.5 }), PATIENCE);
    let list = async {
        sleep(Duration::from_millis(300)).await;
        stand.0.list("acme", "fake").await.unwrap();
        runs(&before)
    };
    let (answer, still_runs) = tokio::join!(slow, list);
    assert_eq!(
        (answer, still_runs),
        (Ok(Answer::Done(json!("late"))), true)
    );
    assert_ne!(stand.done("pid").await["pid"], before);
    gone(&before).await;
}

#[tokio::test]
async fn output_is_bounded_and_a_flood_ends_the_server() {
    let stand = Stand(servers(McpServerConfig {
        max_message: Some(serde_json::from_value(json!("1MB")).unwrap()),
        ..config(&[])
    }));
    for (tool, why) in [
        ("huge", "more than 1048576 bytes"),
        ("endless", "more than 1048576 bytes"),
        ("flood", "answered no call"),
    ] {
        let pid = stand.done("pid").await["pid"].clone();
        let reason = stand.lost(tool).await;
        assert!(reason.contains(why), "{tool}: {reason}");
        stand.done("pid").await;
        gone(&pid).await;
    }
}

#[tokio::test]
async fn noise_requests_and_strange_answers_do_no_harm() {
    let stand = Stand::new(&[]);
    assert_eq!(stand.done("garbage").await, json!("after all"));
    assert_eq!(stand.done("stderr").await, json!("said"));
    let asked = stand.done("ask").await;
    assert_eq!(asked["sampling"], json!(-32601), "{asked}");
    assert_eq!(asked["roots"]["roots"], json!([]), "{asked}");
    assert_eq!(asked["elicitation"]["action"], "decline", "{asked}");
    for (tool, expected) in [("input", "needs_input"), ("wrong", "bad_answer")] {
        let Ok(Answer::Failed { code, .. }) = stand.call(tool).await else {
            panic!("{tool} gives no result");
        };
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn tenants_share_no_server_and_a_place_is_made_for_the_next() {
    let stand = Stand(servers(McpServerConfig {
        tenants: vec!["acme".into(), "umbrella".into(), "initech".into()],
        connections: Some(2),
        ..config(&[])
    }));
    let pid = async |tenant: &str| match stand.ask(tenant, "pid", json!({}), PATIENCE).await {
        Ok(Answer::Done(value)) => value["pid"].clone(),
        other => panic!("{other:?}"),
    };
    let acme = pid("acme").await;
    let umbrella = pid("umbrella").await;
    assert_ne!(acme, umbrella);
    let initech = pid("initech").await;
    assert!(initech != acme && initech != umbrella);
    gone(&acme).await;
    assert!(runs(&umbrella));
    let stranger = stand.ask("stranger", "pid", json!({}), PATIENCE).await;
    let Err(CallError::NotSent { code, .. }) = stranger else {
        panic!("{stranger:?}");
    };
    assert_eq!(code, "no_such_server");
}

#[tokio::test]
async fn what_a_server_started_goes_with_it_and_it_sees_no_secret_of_ours() {
    let given = ("GIVEN".to_owned(), Secret::from("g"));
    let stand = Stand(servers(McpServerConfig {
        env: [given].into(),
        ..config(&["stubborn"])
    }));
    let env = stand.done("env").await;
    assert_eq!(env["GIVEN"], "g");
    assert!(
        env["PATH"].is_string() && env.get("CARGO_MANIFEST_DIR").is_none(),
        "{env}"
    );
    let pids = stand.done("fork").await;
    assert!(runs(&pids["pid"]) && runs(&pids["child"]));
    drop(stand);
    gone(&pids["pid"]).await;
    gone(&pids["child"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_come_to_speak_was_sent_nothing() {
    let missing = McpServerConfig {
        command: Some("/nonexistent/program".into()),
        ..config(&[])
    };
    let mute = McpServerConfig {
        start_timeout: Some(serde_json::from_value(json!("300ms")).unwrap()),
        ..config(&["mute"])
    };
    for config in [missing, mute] {
        let stand = Stand(servers(config));
        let error = stand.call("echo").await;
        let Err(CallError::NotSent { code, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(code, "server_unreachable");
    }
}
