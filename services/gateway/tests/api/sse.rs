//! A reader of event streams.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nexus_events::RunId;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::world::Api;

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Sse {
    bytes: BoxStream<'static, String>,
    buffer: String,
    /// Comments and `retry` lines that came.
    pub(crate) asides: Vec<String>,
}

impl Api {
    /// Opens a stream after `last`.
    pub(crate) async fn stream(
        &self,
        run: RunId,
        last: Option<&str>,
        query: &str,
    ) -> Result<Sse, StatusCode> {
        let path = format!("/v1/runs/{run}/events{query}");
        self.stream_at(&path, last).await
    }

    /// The same of any path.
    pub(crate) async fn stream_at(
        &self,
        path: &str,
        last: Option<&str>,
    ) -> Result<Sse, StatusCode> {
        let mut request = self
            .request(Method::GET, path)
            .header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(response.status());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let bytes = response.bytes_stream().map(|chunk| {
            chunk.map_or_else(
                |_| String::new(),
                |chunk| String::from_utf8(chunk.into()).unwrap(),
            )
        });
        Ok(Sse {
            bytes: bytes.boxed(),
            buffer: String::new(),
            asides: vec![],
        })
    }
}

impl Sse {
    /// The next frame; none when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let block = self.block().await?;
            match parse(&block) {
                Some(frame) => return Some(frame),
                None => self.asides.push(block),
            }
        }
    }

    /// The next block, whatever it is.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(block);
            }
            let more = tokio::time::timeout(Duration::from_secs(30), self.bytes.next());
            self.buffer.push_str(&more.await.expect_soon()?);
        }
    }

    /// All frames up to the end.
    pub(crate) async fn all(mut self) -> Vec<Frame> {
        let mut frames = vec![];
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

trait Soon<T> {
    fn expect_soon(self) -> T;
}

impl<T> Soon<T> for Result<T, tokio::time::error::Elapsed> {
    fn expect_soon(self) -> T {
        self.unwrap_or_else(|_| panic!("nothing came for 30 s"))
    }
}

fn parse(block: &str) -> Option<Frame> {
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
    };
    let data = field("data")?;
    Some(Frame {
        id: field("id"),
        event: field("event").unwrap(),
        data: serde_json::from_str(&data).unwrap(),
    })
}
