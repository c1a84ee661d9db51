//! A real nats-server: started, asked, stopped, killed and started again.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::time::Duration;

use nexus_devstack::testing::{TestDir, TestNats};
use nexus_devstack::{
    Cache, DevstackError, NatsAuth, NatsOptions, NatsServer, Progress, SyncInterval,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Speaks the client protocol as far as a test needs it; gives the lines that came before PONG.
async fn talk(port: u16, lines: &str) -> Vec<String> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let sent = format!("{lines}\r\nPING\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line.starts_with("PONG") {
            return answers;
        }
        answers.push(line.trim().to_owned());
    }
}

fn request(subject: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{body}"
    )
}

async fn make_stream(port: u16) {
    let body = r#"{"name":"KEPT","subjects":["kept.>"],"storage":"file"}"#;
    ask(
        port,
        &request("$JS.API.STREAM.CREATE.KEPT", body),
        "\"created\"",
    )
    .await;
    ask(port, &request("kept.a", "hello"), "\"seq\":1").await;
}

async fn has_message(port: u16) {
    ask(
        port,
        &request("$JS.API.STREAM.INFO.KEPT", ""),
        "\"messages\":1",
    )
    .await;
}

/// The answer comes when it comes, perhaps after the PONG: ask until then.
async fn ask(port: u16, lines: &str, expected: &str) {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        stream
            .write_all(format!("{lines}\r\n").as_bytes())
            .await
            .unwrap();
        let mut seen = String::new();
        while !seen.contains(expected) {
            assert_ne!(
                stream.read_line(&mut seen).await.unwrap(),
                0,
                "closed after: {seen}"
            );
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked)
        .await
        .unwrap();
}

#[tokio::test]
async fn data_outlive_a_stop_and_a_kill() {
    let mut test = TestNats::start().await.unwrap();
    let (port, first) = (test.nats.port(), test.nats.pid());
    make_stream(port).await;

    test.nats.stop().await;
    assert!(!test.nats.is_running());
    TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
    test.nats.restart().await.unwrap();
    assert_eq!(test.nats.port(), port);
    assert_ne!(test.nats.pid(), first);
    has_message(port).await;

    test.nats.kill().await;
    assert!(test.nats.exited().await.contains("signal: 9"));
    test.nats.restart().await.unwrap();
    has_message(port).await;
}

#[tokio::test]
async fn the_options_reach_the_server() {
    let dir = TestDir::create().unwrap();
    let mut options = NatsOptions::new(dir.path().join("nats"));
    options.name = "a_name".to_owned();
    options.sync_interval = SyncInterval::Always;
    options.auth = Some(NatsAuth {
        user: "me".into(),
        password: "secret".into(),
    });
    options.extra_config = "max_subscriptions: 77".to_owned();
    let nats = NatsServer::start(&Cache::discover().unwrap(), &Progress::log(), options)
        .await
        .unwrap();
    assert_eq!(
        nats.url(),
        format!("nats://me:secret@127.0.0.1:{}", nats.port())
    );
    let refused = talk(nats.port(), r#"CONNECT {"verbose":false}"#)
        .await
        .join("\n");
    assert!(refused.contains("Authorization Violation"), "{refused}");
    assert!(refused.contains(r#""server_name":"a_name""#), "{refused}");
    assert!(refused.contains(r#""max_payload":8388608"#), "{refused}");
    let admitted = talk(
        nats.port(),
        r#"CONNECT {"verbose":false,"user":"me","pass":"secret"}"#,
    );
    assert_eq!(admitted.await.len(), 1, "INFO alone");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let test = TestNats::start().await.unwrap();
    let dir = TestDir::create().unwrap();
    let (cache, progress) = (Cache::discover().unwrap(), Progress::log());

    let mut options = NatsOptions::new(dir.path().join("taken"));
    options.port = Some(test.nats.port());
    let error = NatsServer::start(&cache, &progress, options)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("address already in use"),
        "{error}"
    );

    let mut options = NatsOptions::new(dir.path().join("wrong"));
    options.extra_config = "nonsense: {".to_owned();
    let error = NatsServer::start(&cache, &progress, options)
        .await
        .unwrap_err();
    assert!(matches!(error, DevstackError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("Parse error"), "{error}");
}

/// As after `kill -9` of a `nexus up` whose servers went on.
#[tokio::test]
async fn a_server_that_was_left_running_is_replaced() {
    let dir = TestDir::create().unwrap();
    let data = dir.path().join("nats");
    let (cache, progress) = (Cache::discover().unwrap(), Progress::log());
    let left = NatsServer::start(&cache, &progress, NatsOptions::new(&data))
        .await
        .unwrap();
    make_stream(left.port()).await;
    let next = NatsServer::start(&cache, &progress, NatsOptions::new(&data))
        .await
        .unwrap();
    assert!(!left.is_running());
    has_message(next.port()).await;
    let Ok(status) = tokio::time::timeout(Duration::from_secs(5), left.exited()).await else {
        panic!("the old server still runs")
    };
    assert!(!status.is_empty());
}
