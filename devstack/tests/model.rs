//! The local model. The first run fetches 524 MB into the cache of this user.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use nexus_devstack::{Cache, LocalModel, LocalModelOptions, Progress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn http(address: &str, request: String) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_local_model_is_healthy_and_answers() {
    let cache = Cache::discover().unwrap();
    let place = tempfile::tempdir().unwrap();
    let options = LocalModelOptions {
        log_file: Some(place.path().join("model.log")),
        ..LocalModelOptions::default()
    };
    let progress = Progress::new(|line| println!("{line}"));
    let mut model = LocalModel::start(&cache, &progress, options).await.unwrap();
    assert!(LocalModel::is_installed(&cache));

    let base = model.base_url();
    let address = base
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/v1")
        .unwrap()
        .to_owned();
    let head = format!("Host: {address}\r\nConnection: close\r\n");
    let health = http(&address, format!("GET /health HTTP/1.1\r\n{head}\r\n")).await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let models = http(&address, format!("GET /v1/models HTTP/1.1\r\n{head}\r\n")).await;
    assert!(
        models.contains(&format!("\"{}\"", model.model_name())),
        "{models}"
    );

    let body = r#"{"messages":[{"role":"user","content":"Say hello."}],"max_tokens":4}"#;
    let chat = format!(
        "POST /v1/chat/completions HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chat = tokio::time::timeout(Duration::from_secs(120), http(&address, chat))
        .await
        .unwrap();
    assert!(chat.contains("\"completion_tokens\":"), "{chat}");

    model.stop().await;
    TcpStream::connect(&address).await.unwrap_err();
}
