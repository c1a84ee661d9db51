//! A response as server-sent events, from any number on.

use bytes::Bytes;
use nexus_events::Problem;
use serde_json::json;

use super::tale::{Numbered, Tale};
use crate::openai::chunks::Live;
use crate::openai::collect::End;
use crate::openai::errors::OpenAiError;
use crate::openai::follow::Happened;
use crate::openai::sent::Diverged;
use crate::openai::stream::Teller;
use crate::stream::sse::HEARTBEAT;

/// Tells a response.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) tale: Tale,
    /// The reader has all up to this number.
    after: Option<u64>,
}

impl Events {
    pub(crate) fn new(tale: Tale, after: Option<u64>) -> Self {
        Self { tale, after }
    }

    fn frames(&mut self) -> Vec<Bytes> {
        let told = self.tale.told().into_iter();
        told.filter_map(|event| self.frame(event)).collect()
    }

    /// The frame of an event, or of what of it the reader has not.
    fn frame(&mut self, numbered: Numbered) -> Option<Bytes> {
        let Numbered {
            number,
            mut event,
            from,
        } = numbered;
        if let Some(after) = self.after {
            if number <= after {
                return None;
            }
            let had = from.and_then(|from| usize::try_from(after.checked_sub(from)?).ok());
            if let Some(had) = had {
                let rest = event["delta"].as_str().and_then(|text| text.get(had..));
                if let Some(rest) = rest.map(str::to_owned) {
                    event["delta"] = rest.into();
                }
            }
        }
        self.after = Some(number);
        event["sequence_number"] = number.into();
        Some(framed(&event))
    }
}

impl Teller for Events {
    const WAITS: bool = false;

    fn live(&mut self, live: Live) -> Result<Vec<Bytes>, Diverged> {
        self.tale.live(&live)?;
        Ok(self.frames())
    }

    fn happened(&mut self, happened: &Happened, _: bool) -> Result<Vec<Bytes>, Diverged> {
        self.tale.happened(happened)?;
        Ok(self.frames())
    }

    fn end(&self) -> Option<&End> {
        self.tale.end()
    }

    fn last(&mut self, _: &End) -> Vec<Bytes> {
        self.tale.finish();
        self.frames()
    }

    fn error(&self, problem: &Problem) -> Bytes {
        let (code, message) = OpenAiError::of(problem).error.told();
        framed(&json!({
            "type": "error", "code": code, "message": message, "param": null,
            // Nothing that is recorded: whoever comes back goes on after what came before it.
            "sequence_number": self.after.unwrap_or(0),
        }))
    }

    fn beat(&self) -> Bytes {
        Bytes::from_static(HEARTBEAT.as_bytes())
    }
}

fn framed(event: &serde_json::Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {event}\n\n").into()
}
