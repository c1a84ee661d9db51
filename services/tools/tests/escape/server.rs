//! A server on loopback that counts its connections and answers as hostile servers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Server {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream));
            }
        });
        Self { port, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The head of a request and its body, as far as they came in one go.
async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn answer(mut stream: TcpStream) {
    let request = request(&mut stream).await;
    let target = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let _ = match path {
        "/echo" => reply(&mut stream, "200 OK", "", request.as_bytes()).await,
        "/to" | "/to308" => {
            let status = if path == "/to" {
                "302 Found"
            } else {
                "308 Permanent Redirect"
            };
            let location = format!("Location: {}\r\n", query.replace("%23", "#"));
            reply(&mut stream, status, &location, b"").await
        }
        "/loop" => reply(&mut stream, "302 Found", "Location: /loop\r\n", b"").await,
        "/packed" => {
            reply(
                &mut stream,
                "200 OK",
                "Content-Encoding: gzip\r\n",
                &[0x1f, 0x8b, 8, 0xff],
            )
            .await
        }
        "/endless" => endless(&mut stream).await,
        "/head" => endless_head(&mut stream).await,
        "/silent" => silent(&mut stream).await,
        _ => reply(&mut stream, "200 OK", "", b"ok").await,
    };
}

async fn reply(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

/// A body without an end; the writer stops when nobody reads.
async fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    loop {
        stream.write_all(&[b'x'; 8192]).await?;
    }
}

async fn endless_head(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
    loop {
        stream.write_all(b"X-More: more more more\r\n").await?;
    }
}

/// Begins a body and then says nothing until the other side has gone.
async fn silent(stream: &mut TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        .await?;
    stream.read_exact(&mut [0; 1]).await.map(drop)
}
