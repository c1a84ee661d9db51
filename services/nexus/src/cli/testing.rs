//! A gateway for tests: a socket that answers what the test scripted, one connection a request, and
//! remembers what was asked.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::endpoint::Connection;
use super::http::Gateway;

/// The scripted gateway. Answers are given in order; then nobody listens any more.
pub(crate) struct Scripted {
    /// A client of it.
    pub(crate) gateway: Gateway,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Listens, and gives these answers: status line, headers and body, as they go over the wire.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        // Whichever test is first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(request);
                socket.write_all(answer.as_bytes()).await.unwrap();
                // Closing it cuts whatever was begun.
            }
        });
        let connection = Connection {
            url: Some(url),
            tenant: Some("acme".to_owned()),
            ..Connection::default()
        };
        Self {
            gateway: Gateway::new(&connection).unwrap(),
            asked,
        }
    }

    /// The requests that came.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn read_request(socket: &mut tokio::net::TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let read = socket.read(&mut byte).await.unwrap();
        assert!(read > 0, "the request was cut");
        request.extend_from_slice(&byte[..read]);
    }
}

/// An answer with a JSON body.
pub(crate) fn json(status: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    let kind = "content-type: application/json\r\nconnection: close";
    format!(
        "HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A stream of events that is cut after them.
pub(crate) fn cut_stream(frames: &str) -> String {
    let chunk = format!("{:x}\r\n{frames}\r\n", frames.len());
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
    )
}
