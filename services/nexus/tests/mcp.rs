//! Tools of MCP servers, with real processes: a server that others wrote is imported and used, and one
//! of ours whose call is broken off by kill -9 is not called twice by itself, nor left behind.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod support;

use std::path::Path;
use std::time::Duration;

use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};

use support::{Platform, list, until};

const FAKE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../mcp/tests/fake_server.py"
);

/// Wants this call, then answers.
fn model_that_calls(name: &str, arguments: &Value) -> Options {
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("that is all"),
            ..Rule::default()
        },
        Rule {
            reply: Reply::tools(vec![ScriptedCall::new(name, arguments)]),
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

/// Gives the tool role a configuration, and starts it with that.
fn configure(platform: &mut Platform, toml: &str) {
    std::fs::write(platform.stack.dir().join("nexus.toml"), toml).unwrap();
    platform.kill_and_restart("tools");
}

async fn run(platform: &Platform, tool: &str) -> String {
    let body = json!({ "input": "do it", "tools": [tool] });
    let (status, run) = platform.post("/v1/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

async fn count(platform: &Platform, run_id: &str, kind: &str) -> usize {
    let kind = format!("nexus.run.{kind}.v1");
    let events = platform.events(run_id).await;
    events.iter().filter(|event| event["type"] == *kind).count()
}

/// The time server of the protocol's own project, from the registry of Python packages, in the
/// environment that `NEXUS_TEST_PYTHON` names. Without one the test has nothing to run and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_others_is_imported_and_used() {
    let Ok(python) = std::env::var("NEXUS_TEST_PYTHON") else {
        eprintln!("skipped: NEXUS_TEST_PYTHON does not name a Python with mcp-server-time");
        return;
    };
    let arguments = json!({
        "source_timezone": "Asia/Tokyo", "time": "16:30", "target_timezone": "Asia/Kolkata",
    });
    let options = model_that_calls("clock_convert_time", &arguments);
    let mut platform = Platform::start(options).await;
    let toml = format!(
        "[[tools.mcp]]\nname = \"clock\"\ncommand = {python:?}\n\
         args = [\"-m\", \"mcp_server_time\", \"--local-timezone=UTC\"]\n\
         tools = [\"convert_*\"]\nidempotent = [\"convert_time\"]\n\
         category = \"data_analysis\"\n"
    );
    configure(&mut platform, &toml);

    let done = platform.json(&["tools", "import", "clock", "--json"]);
    assert_eq!(done["refused"], json!([]), "{done}");
    let tools = list(&done["tools"]);
    assert_eq!(tools.len(), 1, "{done}");
    assert_eq!(
        (&tools[0]["name"], &tools[0]["new"]),
        (&json!("clock_convert_time"), &json!(true))
    );
    let again = platform.json(&["tools", "import", "clock", "--json"]);
    assert_eq!(again["tools"][0]["new"], false, "{again}");
    assert_eq!(again["tools"][0]["digest"], tools[0]["digest"], "{again}");
    let refused = platform.json(&[
        "tools",
        "import",
        "clock",
        "--tool",
        "get_current_time",
        "--json",
    ]);
    assert_eq!(
        refused["refused"][0]["tool"], "get_current_time",
        "{refused}"
    );
    let (status, problem) = platform
        .post("/v1/tools/import", &json!({ "server": "none" }))
        .await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("server")),
        "{problem}"
    );

    let shown = platform.json(&["tools", "show", "clock_convert_time", "--json"]);
    let version = &list(&shown)[0];
    assert_eq!(version["kind"], "mcp", "{version}");
    assert!(
        version["input_schema"]["properties"]["target_timezone"].is_object(),
        "{version}"
    );
    let run_id = run(&platform, "clock_convert_time").await;
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    let output = &run["tool_calls"][0]["output"];
    assert_eq!(output["time_difference"], "-3.5h", "{run}");
    let at = output["target"]["datetime"].as_str().unwrap_or_default();
    assert!(at.contains("T13:00:00"), "{output}");
}

fn pids() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let names = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.bytes().all(|c| c.is_ascii_digit()))
        .collect()
}

/// Processes of the fake server that were given this mark.
fn marked(mark: &str) -> usize {
    let of_mark = |pid: &String| {
        let line = std::fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("fake_server.py") && line.contains(mark) && !line.contains("setpriv")
    };
    pids().iter().filter(|pid| of_mark(pid)).count()
}

async fn doubted(platform: &Platform, run_id: &str) -> bool {
    let (_, body) = platform.get("/v1/tool-calls?status=in_doubt").await;
    list(&body).iter().any(|call| call["run_id"] == *run_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_broken_off_is_in_doubt_and_its_server_does_not_stay() {
    let mut platform = Platform::start(model_that_calls("fake_silent", &json!({}))).await;
    let mark = format!("mark-{}", std::process::id());
    let toml = |idempotent: &str| {
        format!(
            "[[tools.mcp]]\nname = \"fake\"\ncommand = \"python3\"\n\
             args = [{FAKE:?}, {mark:?}, \"stubborn\"]\nidempotent = [{idempotent}]\n\
             category = \"http\"\ntimeout = \"3s\"\n"
        )
    };
    configure(&mut platform, &toml(""));
    let done = platform.json(&["tools", "import", "fake", "--tool", "silent", "--json"]);
    assert_eq!(
        (&done["tools"][0]["version"], marked(&mark)),
        (&json!("2.1.0"), 1),
        "{done}"
    );

    // The role dies in mid-call.
    let run_id = run(&platform, "fake_silent").await;
    until("the call was started", || async {
        count(&platform, &run_id, "tool-started").await == 1
    })
    .await;
    platform.kill_and_restart("tools");
    until("the call is in doubt", || doubted(&platform, &run_id)).await;
    until("the server is gone", || async { marked(&mark) == 0 }).await;
    assert_eq!(count(&platform, &run_id, "tool-started").await, 1);

    // The server does not answer in time: the same.
    let late = run(&platform, "fake_silent").await;
    until("the late call is in doubt", || doubted(&platform, &late)).await;
    assert_eq!(marked(&mark), 1);

    // The operator says that it may be executed twice: another definition, another version.
    configure(&mut platform, &toml("\"silent\""));
    until("the server is gone", || async { marked(&mark) == 0 }).await;
    let done = platform.json(&["tools", "import", "fake", "--tool", "silent", "--json"]);
    assert_eq!(done["tools"][0]["version"], "2.1.1", "{done}");
    let run_id = run(&platform, "fake_silent").await;
    let run = tokio::time::timeout(Duration::from_secs(60), platform.ended(&run_id)).await;
    let run = run.expect("it ends");
    assert_eq!(count(&platform, &run_id, "tool-in-doubt").await, 0, "{run}");
    assert_eq!(count(&platform, &run_id, "tool-failed").await, 1, "{run}");
}
