//! A client of HTTP that does next to nothing: requests are bytes made before, answers are read to
//! their end and forgotten, connections are kept. The usual client costs more a request than the
//! gateway does, on the cores that the gateway needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::BenchError;
use super::stats::Samples;

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// More than any answer that is asked for here.
const MOST_BYTES: usize = 4 << 20;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

/// The address in a URL of ours.
///
/// # Errors
/// [`BenchError::Http`]: it has none.
pub(super) fn address(url: &str) -> Result<SocketAddr, BenchError> {
    let host = url.strip_prefix("http://").unwrap_or(url);
    let parsed = host.trim_end_matches('/').parse();
    parsed.map_err(|_| BenchError::Http(format!("{url} is not plain HTTP at an address")))
}

/// A request without a body.
pub(super) fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n").into_bytes()
}

/// A request with a JSON body.
pub(super) fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// [`BenchError::Http`].
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, BenchError> {
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_| lost("no connection in time"))?;
        let stream = stream.map_err(|error| lost(&error))?;
        stream.set_nodelay(true).map_err(|error| lost(&error))?;
        Ok(Self {
            stream,
            buffer: vec![],
        })
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// [`BenchError::Http`]: no answer, or one that cannot be read.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, BenchError> {
        let asked = tokio::time::timeout(ANSWER_LIMIT, self.exchange(request)).await;
        let (status, from, to) = asked.map_err(|_| lost("no answer in time"))??;
        let body = self.buffer.get(from..to).unwrap_or_default();
        Ok(Answer { status, body })
    }

    /// Asks, and reads the head of an answer that goes on; what follows stays to be read.
    ///
    /// # Errors
    /// [`BenchError::Http`].
    pub(super) async fn open(mut self, request: &[u8]) -> Result<TcpStream, BenchError> {
        let opened = tokio::time::timeout(ANSWER_LIMIT, async {
            self.write(request).await?;
            loop {
                if let Some(head) = Head::find(&self.buffer)? {
                    return Ok::<_, BenchError>(head.status);
                }
                self.read().await?;
            }
        });
        match opened.await.map_err(|_| lost("no answer in time"))?? {
            200 => Ok(self.stream),
            status => Err(lost(&format!("a stream was answered with {status}"))),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, usize, usize), BenchError> {
        self.write(request).await?;
        loop {
            if let Some(head) = Head::find(&self.buffer)? {
                let end = match head.length {
                    Some(length) => head.end + length,
                    None if self.buffer.ends_with(b"0\r\n\r\n") => self.buffer.len(),
                    None => usize::MAX,
                };
                if self.buffer.len() >= end {
                    return Ok((head.status, head.end, end));
                }
            }
            self.read().await?;
        }
    }

    async fn write(&mut self, request: &[u8]) -> Result<(), BenchError> {
        self.buffer.clear();
        let written = self.stream.write_all(request).await;
        written.map_err(|error| lost(&error))
    }

    async fn read(&mut self) -> Result<(), BenchError> {
        let read = self.stream.read_buf(&mut self.buffer).await;
        match read.map_err(|error| lost(&error))? {
            0 => Err(lost("the connection was closed")),
            _ if self.buffer.len() > MOST_BYTES => Err(lost("an answer is too long")),
            _ => Ok(()),
        }
    }
}

/// What must be known of an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// Of the body; absent where it comes in chunks.
    length: Option<usize>,
}

impl Head {
    fn find(buffer: &[u8]) -> Result<Option<Self>, BenchError> {
        let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(buffer.get(..at).unwrap_or_default());
        let text = text.map_err(|_| lost("an answer has no readable head"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().ok())?
        });
        Ok(Some(Self {
            status: status.ok_or_else(|| lost("an answer has no status"))?,
            end: at + 4,
            length,
        }))
    }
}

/// How long a phase waits for its first answer.
const MOST_SILENCE: Duration = Duration::from_secs(60);

/// How long requests are sent for, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drive {
    /// Connections, each with one request at a time.
    pub(super) connections: usize,
    /// What is not counted at the beginning.
    pub(super) warm_up: Duration,
    /// What is counted.
    pub(super) length: Duration,
}

/// Sends requests over kept connections, each connection its next as soon as it is answered; `request`
/// makes them from a number that never comes twice, `before` and `after` are called where counting
/// begins and ends.
///
/// # Errors
/// [`BenchError::Http`]: an answer that is not as expected.
pub(super) async fn drive<C>(
    address: SocketAddr,
    drive: Drive,
    expected: u16,
    request: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static,
    look: impl Fn() -> C,
) -> Result<(Samples, Duration, C, C), BenchError> {
    let (tell, stop) = watch::channel(false);
    let answered = Arc::new(AtomicBool::new(false));
    let counted = Instant::now() + drive.warm_up;
    let mut tasks = JoinSet::new();
    for index in 0..drive.connections.max(1) {
        let (stop, request, answered) = (stop.clone(), request.clone(), Arc::clone(&answered));
        let mut wire = Wire::connect(address).await?;
        tasks.spawn(async move {
            let (mut times, mut turn) = (Samples::default(), index);
            while !*stop.borrow() {
                let bytes = request(turn);
                turn += drive.connections.max(1);
                let began = Instant::now();
                let answer = wire.ask(&bytes).await?;
                if answer.status != expected {
                    let body = String::from_utf8_lossy(answer.body).into_owned();
                    let body: String = body.chars().take(500).collect();
                    return Err(lost(&format!(
                        "{} instead of {expected}: {body}",
                        answer.status
                    )));
                }
                if began >= counted && !*stop.borrow() {
                    times.add(began.elapsed());
                    answered.store(true, Ordering::Relaxed);
                }
            }
            Ok::<_, BenchError>(times)
        });
    }
    tokio::time::sleep_until(counted.into()).await;
    let (began, before) = (Instant::now(), look());
    tokio::time::sleep(drive.length).await;
    let mut times = Samples::default();
    // On a machine that is busy with something else a short phase may see no answer at all.
    while !answered.load(Ordering::Relaxed) {
        if let Some(done) = tasks.try_join_next() {
            times.join(done.map_err(|error| lost(&error))??);
        }
        if began.elapsed() > drive.length + MOST_SILENCE {
            return Err(lost("nothing was answered for a minute"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tell.send_replace(true);
    let (took, after) = (began.elapsed(), look());
    while let Some(done) = tasks.join_next().await {
        times.join(done.map_err(|error| lost(&error))??);
    }
    Ok((times, took, before, after))
}

pub(super) fn lost(reason: &(impl std::fmt::Display + ?Sized)) -> BenchError {
    BenchError::Http(reason.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_head_is_found_once_it_is_whole() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\n{ }";
        assert_eq!(Head::find(&answer[..30]).unwrap(), None);
        let head = Head::find(answer).unwrap().unwrap();
        assert_eq!((head.status, head.end, head.length), (202, 44, Some(3)));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(Head::find(chunked).unwrap().unwrap().length, None);
        assert!(Head::find(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn addresses_are_those_of_plain_http() {
        let found = address("http://127.0.0.1:8080/").unwrap();
        assert_eq!(found.port(), 8080);
        assert!(address("https://127.0.0.1:8080").is_err());
    }

    #[tokio::test]
    async fn requests_go_one_after_another_over_kept_connections() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut read = vec![0; 1024];
                    while stream.read(&mut read).await.is_ok_and(|n| n > 0) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        let how = Drive {
            connections: 2,
            warm_up: Duration::ZERO,
            length: Duration::from_millis(50),
        };
        let (times, took, ..) = drive(address, how, 200, |_| get("/", ""), || ())
            .await
            .unwrap();
        assert!(times.len() > 2 && took >= how.length);
        let wrong = drive(address, how, 202, |_| get("/", ""), || ()).await;
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("200 instead of 202")
        );
    }
}
