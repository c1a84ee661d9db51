//! Tools that are code, and those that reach out, in runs: what they may do is what their permissions
//! say, narrowed by policy, and what they must not do ends as an error that the model is told.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod support;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;
use nexus_modelserver::{Options, Reply, Rule, Script, ScriptedCall};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use support::{Platform, list, until};

/// A model that calls what it is told to: the prompt is the calls, as JSON.
fn obedient(calls: Vec<(&str, Value)>) -> Options {
    let calls: Vec<ScriptedCall> = (calls.into_iter())
        .map(|(name, arguments)| ScriptedCall::new(name, &arguments))
        .collect();
    let rules = vec![
        Rule {
            after_tool_result: Some(true),
            reply: Reply::text("that is all"),
            ..Rule::default()
        },
        Rule {
            reply: Reply::tools(calls),
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

/// The calls of a run with these tools, in their order, once it has ended well.
async fn calls(platform: &Platform, tools: &[&str]) -> Vec<Value> {
    let body = json!({ "input": "go", "tools": tools });
    let (status, run) = platform.post("/v1/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    let run = platform.ended(run["run_id"].as_str().unwrap()).await;
    assert_eq!(run["status"], "completed", "{run}");
    run["tool_calls"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn code_runs_within_its_limits_and_its_errors_are_told() {
    let code = |language: &str, code: &str| {
        (
            "code_execution",
            json!({ "language": language, "code": code, "input": { "n": 20 } }),
        )
    };
    let platform = Platform::start(obedient(vec![
        code("javascript", "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }\nfib(input.n)"),
        code("python", "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n\nprint('hello')\nfib(input['n'])"),
        code("javascript", "for (;;) {}"),
        code("javascript", "const all = []; for (;;) all.push('x'.repeat(1e6))"),
        code("cobol", "DISPLAY 1"),
        ("triple", json!({ "n": 14 })),
        ("triple", json!({ "n": "fourteen" })),
    ]))
    .await;
    std::fs::write(
        platform.stack.dir().join("triple.toml"),
        "name = \"triple\"\nversion = \"1.0.0\"\ndescription = \"Three times n.\"\n\
         category = \"data_analysis\"\nidempotent = true\n\
         [permissions]\nmax_cpu_time = \"2s\"\n\
         [input_schema]\ntype = \"object\"\nrequired = [\"n\"]\n\
         properties.n = { type = \"integer\" }\n\
         [output_schema]\ntype = \"object\"\nproperties.tripled = { type = \"integer\" }\n",
    )
    .unwrap();
    let source = "async function call(input) { return { tripled: input.n * 3 } }";
    std::fs::write(platform.stack.dir().join("triple.js"), source).unwrap();
    platform.json(&[
        "tools",
        "register",
        "triple.toml",
        "--javascript",
        "triple.js",
        "--json",
    ]);
    let calls = calls(&platform, &["code_execution", "triple"]).await;
    let [js, py, endless, hungry, cobol, tripled, wrong] = calls.as_slice() else {
        unreachable!("{calls:?}")
    };
    assert_eq!(js["output"]["result"], 6765, "{js}");
    assert_eq!(
        py["output"],
        json!({ "result": 6765, "printed": "hello\n" }),
        "{py}"
    );
    assert_eq!(endless["error_code"], "cpu_exceeded", "{endless}");
    assert_eq!(hungry["error_code"], "memory_exceeded", "{hungry}");
    assert_eq!(cobol["error_code"], "bad_arguments", "{cobol}");
    assert_eq!(tripled["output"], json!({ "tripled": 42 }), "{tripled}");
    assert_eq!(wrong["error_code"], "bad_arguments", "{wrong}");
}

/// Counts the requests that it gets.
struct Witness {
    port: u16,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

async fn witness() -> Witness {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
    let log = Arc::clone(&seen);
    let answer = move |method: axum::http::Method, headers: HeaderMap| {
        log.lock().unwrap().push((method.to_string(), headers));
        async { "seen; the key is sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF" }
    };
    let router = Router::new().fallback(any(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Witness { port, seen }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_be_reached_is_what_the_installation_says_and_policy_leaves() {
    let witness = witness().await;
    let url = format!("http://127.0.0.1:{}/", witness.port);
    let send = |method: &str| {
        (
            "http_request",
            json!({ "url": url, "method": method, "body": "x" }),
        )
    };
    let get = ("http_request", json!({ "url": url }));
    let write = ("file_write", json!({ "path": "notes.txt", "text": "kept" }));
    let read = ("file_read", json!({ "path": "notes.txt" }));
    let out = ("file_read", json!({ "path": "../../../etc/passwd" }));
    let mut platform = Platform::start(obedient(vec![get, send("POST"), write, read, out])).await;
    let tools = ["http_request", "file_write", "file_read"];
    let policy = "package nexus.agent.policy\nimport rego.v1\nallow := true\n";
    std::fs::write(platform.stack.dir().join("open.rego"), policy).unwrap();
    platform.json(&["policies", "publish", "open.rego", "--activate", "--json"]);

    // By default nobody is reached.
    until("the policy lets files be used", || async {
        let body = json!({ "input": "go", "tools": tools });
        let (_, run) = platform.post("/v1/runs", &body).await;
        let run = platform.ended(run["run_id"].as_str().unwrap()).await;
        let codes: Vec<_> = (run["tool_calls"].as_array().unwrap().iter())
            .map(|call| call["error_code"].clone())
            .collect();
        assert_eq!(codes.len(), 5, "{run}");
        codes[..2] == [json!("denied"), json!("denied")] && codes[4] == "denied"
    })
    .await;
    assert!(witness.seen.lock().unwrap().is_empty());

    // What the installation names is.
    let permissions = format!(
        "tools:\n  http_request:\n    permissions:\n      network:\n        \
         allowed_hosts: [\"127.0.0.1:{}\"]\n",
        witness.port
    );
    std::fs::write(platform.stack.dir().join("permissions.yaml"), permissions).unwrap();
    let config = "[tools]\npermissions = \"permissions.yaml\"\n";
    std::fs::write(platform.stack.dir().join("nexus.toml"), config).unwrap();
    platform.kill_and_restart("tools");
    let made = calls(&platform, &tools).await;
    assert_eq!(made[0]["output"]["status"], 200, "{made:?}");
    assert!(
        made[0]["output"].to_string().contains("[redacted"),
        "{made:?}"
    );
    assert_eq!(made[1]["output"]["status"], 200, "{made:?}");
    assert_eq!(made[4]["error_code"], "denied", "{made:?}");
    let seen = std::mem::take(&mut *witness.seen.lock().unwrap());
    // Calls of a turn go side by side.
    let keyed = |wanted: &str| {
        let mut of_method = seen.iter().filter(|(method, _)| method == wanted);
        let (_, headers) = of_method.next().unwrap();
        headers.contains_key("idempotency-key")
    };
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(!keyed("GET") && keyed("POST"));

    // And what policy leaves of it.
    let policy = format!(
        "{policy}obligations := {{\"permissions\": {{}}}} if input.point == \"tool.call\"\n"
    );
    std::fs::write(platform.stack.dir().join("closed.rego"), policy).unwrap();
    platform.json(&["policies", "publish", "closed.rego", "--activate", "--json"]);
    until("policy narrows what tools may touch", || async {
        let made = calls(&platform, &tools).await;
        made.iter().all(|call| call["error_code"] == "denied")
    })
    .await;
}

/// A server that takes a request and never answers: whether it did what it was asked is not known, so
/// that what may not happen twice is in doubt, and what only asks has failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_is_in_doubt_where_it_may_have_changed_something() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let silence = move |method: axum::http::Method| {
        log.lock().unwrap().push(method.to_string());
        std::future::pending::<&'static str>()
    };
    let router = Router::new().fallback(any(silence));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let url = format!("http://127.0.0.1:{port}/");
    let send = |method: &str| ("http_request", json!({ "url": url, "method": method }));
    let mut platform = Platform::start(obedient(vec![send("GET"), send("POST")])).await;
    let config = format!(
        "[tools]\npermissions = \"permissions.json\"\n[gateway]\nlisten = \"127.0.0.1:{}\"\n",
        platform.port
    );
    let permissions = json!({ "tools": { "http": { "permissions": { "network": {
        "allowed_hosts": [format!("127.0.0.1:{port}")], "timeout": "1s",
    } } } } });
    let dir = platform.stack.dir().to_owned();
    std::fs::write(dir.join("permissions.json"), permissions.to_string()).unwrap();
    std::fs::write(dir.join("nexus.toml"), config).unwrap();
    platform.kill_and_restart("tools");

    let body = json!({ "input": "go", "tools": ["http_request"] });
    let (_, run) = platform.post("/v1/runs", &body).await;
    let run_id = run["run_id"].as_str().unwrap().to_owned();
    until(
        "the request that may have changed something is in doubt",
        || async {
            let (_, doubts) = platform.get("/v1/tool-calls?status=in_doubt").await;
            list(&doubts).len() == 1
        },
    )
    .await;
    let (_, doubts) = platform.get("/v1/tool-calls?status=in_doubt").await;
    let call = list(&doubts)[0]["call_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run_id}/tool-calls/{call}/resolve");
    let word = json!({ "as": "failed", "reason": "I looked" });
    let (status, done) = platform.post(&path, &word).await;
    assert_eq!(status, 200, "{done}");
    let run = platform.ended(&run_id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["tool_calls"][0]["error_code"], "timeout", "{run}");
    assert_eq!(run["tool_calls"][1]["status"], "failed", "{run}");
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, ["GET", "POST"], "each once");
}
