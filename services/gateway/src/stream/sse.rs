//! Server-sent events, as bytes: one frame an event, `id` its place in the log, `event` its type.
//! Deltas have no id, so that a reader resumes after the last fact and not in the middle of a text.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::sync::mpsc;

use super::record::EventRecord;

/// How long a browser waits before it connects again, in milliseconds; the first frame says so.
pub(crate) const RETRY: &str = "retry: 1000\n\n";
/// A sign of life for proxies.
pub(crate) const HEARTBEAT: &str = ": still here\n\n";
/// The type of a delta.
pub(crate) const DELTA: &str = "delta";

/// Which events a reader wants; all where nothing is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Types(Option<BTreeSet<String>>);

impl Types {
    /// Reads `?types=`: types separated by commas.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        Self(text.map(|text| {
            text.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        }))
    }

    pub(crate) fn wants(&self, type_name: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|wanted| wanted.contains(type_name))
    }

    pub(crate) fn wants_deltas(&self) -> bool {
        self.wants(DELTA)
    }
}

/// The frame of an event.
pub(crate) fn event(record: &EventRecord) -> Option<Bytes> {
    let data = serde_json::to_string(record).ok()?;
    Some(frame(Some(&record.id), &record.type_name, &data))
}

/// The frame of a delta; `data` is JSON.
pub(crate) fn delta(data: &str) -> Bytes {
    frame(None, DELTA, data)
}

fn frame(id: Option<&str>, event: &str, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + event.len() + 48);
    if let Some(id) = id {
        text.push_str("id: ");
        text.push_str(id);
        text.push('\n');
    }
    text.push_str("event: ");
    text.extend(event.chars().filter(|c| !c.is_control()));
    text.push_str("\ndata: ");
    // Line breaks in JSON are white space, and would end the field.
    text.extend(
        data.chars()
            .map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }),
    );
    text.push_str("\n\n");
    text.into()
}

/// Why a stream ended before its run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The run has ended and all of it was given.
    RunOver,
    /// The reader went away.
    ReaderGone,
    /// It did not take what came.
    SlowReader,
    /// The gateway stops.
    Stopping,
    /// The log cannot be read.
    LogUnreadable,
    /// A session has more runs than are followed.
    TooManyRuns,
}

impl Closed {
    /// As a label and for the reader.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::RunOver => "run_over",
            Self::ReaderGone => "reader_gone",
            Self::SlowReader => "slow_reader",
            Self::Stopping => "stopping",
            Self::LogUnreadable => "log_unreadable",
            Self::TooManyRuns => "too_many_runs",
        }
    }

    fn frame(self) -> Option<Bytes> {
        let detail = match self {
            Self::RunOver | Self::ReaderGone => return None,
            Self::SlowReader => "too much waited to be read; connect again with Last-Event-ID",
            Self::Stopping => "the gateway stops; connect again with Last-Event-ID",
            Self::LogUnreadable => "the event log cannot be read now; connect again later",
            Self::TooManyRuns => "the session has too many runs; follow its runs one by one",
        };
        let data = json!({ "reason": self.reason(), "detail": detail }).to_string();
        Some(frame(None, "closed", &data))
    }
}

/// The body of an event stream: frames as they come, and a last one that says why it ended.
pub(crate) struct Frames {
    pub(crate) frames: mpsc::Receiver<Bytes>,
    pub(crate) closed: Arc<OnceLock<Closed>>,
    pub(crate) done: bool,
}

impl Stream for Frames {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        match self.frames.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => {
                self.done = true;
                let last = self.closed.get().and_then(|closed| closed.frame());
                Poll::Ready(last.map(Ok))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_cannot_be_broken_from_inside() {
        let text = frame(Some("7"), "a\nid: 9", "{\n\"x\":\r1}");
        assert_eq!(text, "id: 7\nevent: aid: 9\ndata: { \"x\": 1}\n\n");
    }

    #[test]
    fn types_are_chosen_by_name() {
        let all = Types::parse(None);
        assert!(all.wants("nexus.run.started.v1") && all.wants_deltas());
        let some = Types::parse(Some("nexus.run.started.v1, delta"));
        assert!(some.wants("nexus.run.started.v1") && some.wants_deltas());
        assert!(!some.wants("nexus.run.paused.v1"));
        assert!(!Types::parse(Some("")).wants_deltas());
    }
}
