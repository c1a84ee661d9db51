//! Where guests write: a buffer that ends the call when it is full, and one that keeps the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::cpu::Meter;
use crate::error::Fault;
use bytes::Bytes;

/// The most that is taken in one piece.
const PIECE: usize = 64 << 10;

/// Bytes that a guest has written, shared with whoever reads them.
#[derive(Clone)]
pub(crate) struct Sink {
    shared: Arc<Mutex<VecDeque<u8>>>,
    limit: usize,
    /// Ends the call when the buffer is full; without it the oldest bytes go.
    meter: Option<Arc<Meter>>,
}

impl Sink {
    /// Keeps the last bytes.
    pub(crate) fn tail(limit: u64) -> Self {
        Self {
            shared: Arc::default(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            meter: None,
        }
    }

    /// Keeps all, or ends the call.
    pub(crate) fn whole(limit: u64, meter: Arc<Meter>) -> Self {
        Self {
            meter: Some(meter),
            ..Self::tail(limit)
        }
    }

    pub(crate) fn push(&self, bytes: &[u8]) -> wasmtime::Result<()> {
        let mut kept = self.lock();
        match &self.meter {
            Some(meter) if kept.len().saturating_add(bytes.len()) > self.limit => {
                return Err(meter.stop(Fault::OutputExceeded));
            }
            Some(_) => kept.extend(bytes),
            None => {
                let bytes = end_of(bytes, self.limit);
                let excess = (kept.len() + bytes.len()).saturating_sub(self.limit);
                kept.drain(..excess);
                kept.extend(bytes);
            }
        }
        Ok(())
    }

    /// What is in it, which is no longer in it.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.lock()).into()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_of(bytes: &[u8], limit: usize) -> &[u8] {
    let from = bytes.len().saturating_sub(limit);
    bytes.get(from..).unwrap_or_default()
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    /// Only the third preview of WASI asks for it, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes).map_err(StreamError::Trap)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_tail_keeps_the_end() {
        let tail = Sink::tail(4);
        for bytes in [&b"ab"[..], b"cde", b"", b"f"] {
            tail.push(bytes).unwrap();
        }
        assert_eq!(tail.take(), b"cdef");
        tail.push(b"0123456789").unwrap();
        assert_eq!(tail.take(), b"6789");
    }

    #[test]
    fn a_full_buffer_ends_the_call() {
        let meter = Arc::new(Meter::new(Duration::from_secs(1)));
        let whole = Sink::whole(4, Arc::clone(&meter));
        whole.push(b"abcd").unwrap();
        whole.push(b"e").unwrap_err();
        assert_eq!(meter.fault(), Some(Fault::OutputExceeded));
    }
}
