//! Server-sent events as they come together from the pieces of a body. Only their data: what kind an
//! event is, the protocols that are read here say in the data too.

use std::time::Duration;

use futures_util::StreamExt;

use super::error::Failure;
use super::guard::{Bounded, Watch};

/// Most bytes of one event's data.
const MAX_DATA_BYTES: usize = 4 << 20;

/// How long a caller waits for the end of a body after its last event.
const END: Duration = Duration::from_millis(20);

/// Reads a body's events.
pub(super) struct Events<'w> {
    body: Bounded,
    watch: &'w Watch,
    parser: Parser,
    ready: std::collections::VecDeque<String>,
}

impl<'w> Events<'w> {
    pub(super) fn new(body: Bounded, watch: &'w Watch) -> Self {
        Self {
            body,
            watch,
            parser: Parser::default(),
            ready: Default::default(),
        }
    }

    /// Waits for the end of a body whose last event was read, so that its connection can be used for
    /// the next call; a server that is slow with it has its connection left to the background.
    pub(super) async fn end(&mut self) {
        let _ = tokio::time::timeout(END, self.body.next()).await;
    }

    /// The data of the next event, or none at the body's end. What is not ended by an empty line is
    /// no event.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Ok(Some(data));
            }
            match self.body.next().await {
                None => return Ok(None),
                Some(Ok(bytes)) => self.ready = self.parser.push(&bytes)?.into(),
                Some(Err(_)) => {
                    let failure = self.watch.failure();
                    return Err(
                        failure.unwrap_or_else(|| Failure::truncated("the connection failed"))
                    );
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    data: Option<String>,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            self.line.extend_from_slice(line);
            rest = after.get(1..).unwrap_or_default();
            let line = std::mem::take(&mut self.line);
            events.extend(self.line(line)?);
        }
        self.line.extend_from_slice(rest);
        match self.line.len() > MAX_DATA_BYTES {
            true => Err(too_long()),
            false => Ok(events),
        }
    }

    fn line(&mut self, line: Vec<u8>) -> Result<Option<String>, Failure> {
        let line = String::from_utf8(line).map_err(|_| Failure::malformed("it is not UTF-8"))?;
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            return Ok(self.data.take());
        }
        let Some(value) = line.strip_prefix("data:") else {
            return Ok(None);
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match &mut self.data {
            Some(data) if data.len().saturating_add(value.len()) > MAX_DATA_BYTES => {
                return Err(too_long());
            }
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
        Ok(None)
    }
}

fn too_long() -> Failure {
    Failure::malformed("an event of the stream is too long")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    const BODY: &str =
        ": comment\r\nevent: a\r\ndata: {\"x\":\"ü\"}\r\n\r\ndata:1\ndata: 2\n\n\n\ndata: open";

    #[test]
    fn events_are_the_same_wherever_the_body_is_cut() {
        let body = BODY.as_bytes();
        for at in 0..=body.len() {
            let mut parser = Parser::default();
            let (first, second) = body.split_at(at);
            let mut events = parser.push(first).unwrap();
            events.extend(parser.push(second).unwrap());
            assert_eq!(events, ["{\"x\":\"ü\"}", "1\n2"], "cut at {at}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_a_failure() {
        let long = vec![b'x'; MAX_DATA_BYTES + 1];
        assert!(Parser::default().push(&long).is_err());
        assert!(Parser::default().push(b"data: \xff\n").is_err());
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(MAX_DATA_BYTES / 2));
        parser.push(line.as_bytes()).unwrap();
        parser.push(line.as_bytes()).unwrap();
        assert!(parser.push(line.as_bytes()).is_err());
    }
}
