//! The one HTTP request that is needed: `GET` a path on this machine to learn whether a server is
//! ready. A client crate was the alternative; it would be the largest dependency here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(2);
const ANSWER_BYTES: u64 = 16 << 10;

/// The status code of `GET http://address/path`.
pub(crate) async fn status(address: SocketAddr, path: &str) -> io::Result<u16> {
    let answer = tokio::time::timeout(LIMIT, exchange(address, path)).await??;
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

async fn exchange(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
