//! What is read of a program's output before anybody reads it as a message: lines of bounded length,
//! and bounded in all while nothing is answered. `rmcp` drops a line that is too long and goes on, so
//! that a call whose answer it was would wait for its whole time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// So many of the largest messages may come without one that answers a call.
const MOST_UNANSWERED: u64 = 16;

/// Counts what comes, and says why no more is read.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since_answer: AtomicU64,
    broken: std::sync::OnceLock<String>,
}

impl Meter {
    /// A call was answered.
    pub(crate) fn answered(&self) {
        self.since_answer.store(0, Ordering::Relaxed);
    }

    /// Why no more is read.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }
}

/// A reader that ends where a server goes too far.
pub(crate) struct Metered<R> {
    inner: R,
    meter: Arc<Meter>,
    most: u64,
    line: u64,
}

impl<R> Metered<R> {
    /// At most `most` bytes a line.
    pub(crate) fn new(inner: R, meter: Arc<Meter>, most: u64) -> Self {
        Self {
            inner,
            meter,
            most,
            line: 0,
        }
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (most, meter) = (self.most, &self.meter);
        let broken = |reason: String| {
            let _ = meter.broken.set(reason.clone());
            Err(io::Error::new(io::ErrorKind::InvalidData, reason))
        };
        let mut lines = bytes.split(|byte| *byte == b'\n');
        self.line += lines.next().map_or(0, <[u8]>::len) as u64;
        for line in lines {
            if self.line > most {
                break;
            }
            self.line = line.len() as u64;
        }
        if self.line > most {
            return broken(format!("it sent a message of more than {most} bytes"));
        }
        let sent = bytes.len() as u64;
        let since = meter.since_answer.fetch_add(sent, Ordering::Relaxed) + sent;
        if since > most.saturating_mul(MOST_UNANSWERED) {
            return broken(format!("it sent {since} bytes and answered no call"));
        }
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            let new = buffer.filled().get(before..).unwrap_or_default();
            if let Err(error) = self.count(new) {
                buffer.set_filled(before);
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(text: String, most: u64) -> (io::Result<usize>, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        let mut reader = Metered::new(text.as_bytes(), Arc::clone(&meter), most);
        let mut all = Vec::new();
        (reader.read_to_end(&mut all).await, meter)
    }

    #[tokio::test]
    async fn lines_are_bounded_wherever_they_are_cut() {
        let (all, meter) = read(format!("{}\n{}\n", "a".repeat(100), "b".repeat(100)), 100).await;
        assert_eq!(all.unwrap(), 202);
        assert_eq!(meter.broken(), None);
        let (all, meter) = read(format!("x\n{}\ny\n", "a".repeat(101)), 100).await;
        assert!(all.is_err());
        assert!(meter.broken().unwrap().contains("more than 100"));
        let (all, _) = read("a".repeat(101), 100).await;
        assert!(all.is_err());
    }

    #[tokio::test]
    async fn a_flood_that_answers_nothing_ends() {
        let (all, meter) = read("{}\n".repeat(10_000), 100).await;
        assert!(all.is_err());
        assert!(meter.broken().unwrap().contains("answered no call"));
    }
}
