//! Servers over HTTP: one of the protocol's own library, and some that behave badly.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexus_mcp::{
    Answer, CallError, McpServerConfig, Protocol, RemoteCall, Servers, Wanted, imported,
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(url: String, protocol: Protocol) -> McpServerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    McpServerConfig {
        name: "far".into(),
        url: Some(url),
        protocol,
        bearer_env: Some("TOKEN".into()),
        ..McpServerConfig::default()
    }
}

fn servers(config: McpServerConfig) -> Servers {
    let token = |name: &str| (name == "TOKEN").then(|| "hunter2".to_owned());
    Servers::new(vec![config], &token).unwrap()
}

async fn call(servers: &Servers, tool: &str, arguments: Value) -> Result<Answer, CallError> {
    let Value::Object(arguments) = arguments else {
        panic!("no object");
    };
    let call = RemoteCall {
        tenant: "acme",
        server: "far",
        tool,
        arguments: &arguments,
        meta: Map::new(),
        time: PATIENCE,
    };
    servers.call(call).await
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the environment that `NEXUS_TEST_PYTHON` names, with the library `mcp`. Without one the test has
/// nothing to run and says so.
#[tokio::test]
async fn the_protocols_own_library_is_understood_in_both_revisions() {
    let Ok(python) = std::env::var("NEXUS_TEST_PYTHON") else {
        eprintln!("skipped: NEXUS_TEST_PYTHON does not name a Python with mcp");
        return;
    };
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http_server.py");
    let server = Command::new(python)
        .args([script, &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(server);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the server does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for protocol in [Protocol::Auto, Protocol::Handshake, Protocol::Stateless] {
        let config = config(format!("http://127.0.0.1:{port}/mcp"), protocol);
        let servers = servers(config.clone());
        let listing = servers.list("acme", "far").await.unwrap();
        let tools = imported(&config, &listing, &Wanted::default()).tools;
        let add = tools.iter().find(|tool| tool.name == "far_add").unwrap();
        assert_eq!(
            (add.version.as_str(), add.description.as_str()),
            ("4.5.6", "Adds two numbers.")
        );
        let sum = call(&servers, "add", json!({ "a": 40, "b": 2 })).await;
        assert_eq!(
            sum,
            Ok(Answer::Done(json!({ "result": 42 }))),
            "{protocol:?}"
        );
        let failed = call(&servers, "fail", json!({ "why": "too late" })).await;
        let Ok(Answer::Failed { code, message }) = failed else {
            panic!("{failed:?}");
        };
        assert!(
            code == "tool_failed" && message.contains("fail"),
            "{code} {message}"
        );
    }
}

/// Answers `server/discover`, and every call with this; notes what it was asked.
async fn fake(answer: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answer.clone(), Arc::clone(&notes)));
        }
    });
    (url, asked)
}

async fn converse(mut stream: TcpStream, answer: String, notes: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let body = loop {
        let Ok(read @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        request.extend(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((_, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(body) = serde_json::from_str::<Value>(body) {
            break body;
        }
    };
    notes
        .lock()
        .unwrap()
        .push(String::from_utf8_lossy(&request).into_owned());
    let response = match body["method"].as_str() {
        Some("server/discover") => {
            let result = json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} }, "ttlMs": 0, "cacheScope": "private" });
            ok(&json!({ "jsonrpc": "2.0", "id": body["id"], "result": result }).to_string())
        }
        _ => answer.replace("$ID", &body["id"].to_string()),
    };
    let _ = stream.write_all(response.as_bytes()).await;
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn only_an_answer_is_one_and_no_request_goes_elsewhere_or_twice() {
    let (elsewhere, other) = fake(String::new()).await;
    let redirect = format!("HTTP/1.1 307 Go\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let huge = ok(&format!("\"{}\"", "x".repeat(20 << 20)));
    let stream = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n",
        "x".repeat(8 << 20)
    );
    let cases = [
        (redirect, false),
        (cut.to_owned(), false),
        (huge, false),
        (stream, false),
        (ok("this is no JSON"), false),
        (String::new(), false),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
            false,
        ),
        (
            "HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 401 Who\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n".to_owned(),
            true,
        ),
    ];
    for (answer, not_sent) in cases {
        let shown: String = answer.chars().take(60).collect();
        let (url, asked) = fake(answer).await;
        let servers = servers(config(url, Protocol::Stateless));
        let began = Instant::now();
        let error = call(&servers, "add", json!({})).await.unwrap_err();
        assert!(
            began.elapsed() < PATIENCE / 2,
            "{shown}: {:?}",
            began.elapsed()
        );
        assert_eq!(
            matches!(error, CallError::NotSent { .. }),
            not_sent,
            "{shown}: {error:?}"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
        let asked = asked.lock().unwrap();
        let calls = asked
            .iter()
            .filter(|request| request.contains("tools/call\""));
        assert_eq!(calls.count(), 1, "{shown}");
        assert!(
            asked
                .iter()
                .all(|request| request.contains("Bearer hunter2")),
            "{asked:?}"
        );
    }
    assert!(other.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_was_sent_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", free.local_addr().unwrap());
    drop(free);
    let servers = servers(config(url, Protocol::Auto));
    let error = call(&servers, "add", json!({})).await;
    assert!(matches!(error, Err(CallError::NotSent { .. })), "{error:?}");
}
