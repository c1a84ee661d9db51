//! A message in events. Blocks come one after the other, so that of several calls that a model
//! writes at the same time the first goes out as it comes and the others when it is whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use nexus_events::{Problem, RunId};
use serde_json::{Value, json};

use super::answer::{OutMessage, OutUsage, stop_reason};
use super::errors::AnthropicError;
use crate::openai::answer::{CallDelta, ChunkDelta};
use crate::openai::collect::Collected;
use crate::openai::stream::Voice;

/// Tells a message.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) run: RunId,
    pub(crate) model: String,
    request_id: String,
    began: bool,
    open: Option<Open>,
    /// The next block.
    index: usize,
    /// Text and calls that wait for the open call to be whole.
    text: String,
    calls: BTreeMap<usize, Waiting>,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    /// The call of this place.
    Call(usize),
}

/// A call that waits.
#[derive(Debug, Default)]
struct Waiting {
    id: String,
    name: String,
    arguments: String,
}

impl Told {
    pub(crate) fn new(run: RunId, model: String, request_id: String) -> Self {
        Self {
            run,
            model,
            request_id,
            began: false,
            open: None,
            index: 0,
            text: String::new(),
            calls: BTreeMap::new(),
        }
    }

    fn begin(&mut self, out: &mut Vec<Bytes>) {
        if !std::mem::replace(&mut self.began, true) {
            let message = OutMessage::begun(self.run, &self.model);
            let start = json!({ "type": "message_start", "message": message });
            out.push(frame("message_start", &start));
        }
    }

    fn say(&mut self, text: &str, out: &mut Vec<Bytes>) {
        if matches!(self.open, Some(Open::Call(_))) {
            self.text.push_str(text);
            return;
        }
        if self.open.is_none() {
            self.start(Open::Text, &json!({ "type": "text", "text": "" }), out);
        }
        self.delta(&json!({ "type": "text_delta", "text": text }), out);
    }

    fn call(&mut self, call: CallDelta, out: &mut Vec<Bytes>) {
        let (place, arguments) = (call.index, call.function.arguments);
        if !matches!(self.open, Some(Open::Call(_))) {
            self.open_call(
                place,
                &call.id.unwrap_or_default(),
                &call.function.name.unwrap_or_default(),
                out,
            );
            return self.argue(&arguments, out);
        }
        if self.open == Some(Open::Call(place)) {
            return self.argue(&arguments, out);
        }
        let waiting = self.calls.entry(place).or_default();
        waiting.id.push_str(&call.id.unwrap_or_default());
        let name = call.function.name.unwrap_or_default();
        waiting.name.push_str(&name);
        waiting.arguments.push_str(&arguments);
    }

    fn open_call(&mut self, place: usize, id: &str, name: &str, out: &mut Vec<Bytes>) {
        let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
        self.start(Open::Call(place), &block, out);
    }

    fn argue(&mut self, arguments: &str, out: &mut Vec<Bytes>) {
        if !arguments.is_empty() {
            let delta = json!({ "type": "input_json_delta", "partial_json": arguments });
            self.delta(&delta, out);
        }
    }

    fn start(&mut self, open: Open, block: &Value, out: &mut Vec<Bytes>) {
        self.stop(out);
        self.open = Some(open);
        let start = json!({
            "type": "content_block_start", "index": self.index, "content_block": block,
        });
        out.push(frame("content_block_start", &start));
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<Bytes>) {
        let delta = json!({
            "type": "content_block_delta", "index": self.index, "delta": delta,
        });
        out.push(frame("content_block_delta", &delta));
    }

    fn stop(&mut self, out: &mut Vec<Bytes>) {
        if self.open.take().is_some() {
            let stop = json!({ "type": "content_block_stop", "index": self.index });
            out.push(frame("content_block_stop", &stop));
            self.index += 1;
        }
    }
}

impl Voice for Told {
    fn piece(&mut self, delta: ChunkDelta) -> Vec<Bytes> {
        let mut out = vec![];
        self.begin(&mut out);
        if let Some(text) = delta.content {
            self.say(&text, &mut out);
        }
        for call in delta.tool_calls {
            self.call(call, &mut out);
        }
        out
    }

    fn last(&mut self, collected: &Collected) -> Vec<Bytes> {
        let mut out = vec![];
        self.begin(&mut out);
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.stop(&mut out);
            self.say(&text, &mut out);
        }
        for (place, call) in std::mem::take(&mut self.calls) {
            self.open_call(place, &call.id, &call.name, &mut out);
            self.argue(&call.arguments, &mut out);
        }
        self.stop(&mut out);
        let end = json!({
            "type": "message_delta",
            "delta": { "stop_reason": stop_reason(collected), "stop_sequence": null },
            "usage": OutUsage::from(collected.usage),
        });
        out.push(frame("message_delta", &end));
        out.push(frame("message_stop", &json!({ "type": "message_stop" })));
        out
    }

    fn error(&self, problem: &Problem) -> Bytes {
        frame("error", &AnthropicError::of(problem, &self.request_id))
    }

    fn beat(&self) -> Bytes {
        frame("ping", &json!({ "type": "ping" }))
    }
}

fn frame<T: serde::Serialize>(event: &str, value: &T) -> Bytes {
    // Strings and numbers: it always encodes, and JSON in one line has no line break.
    let json = serde_json::to_string(value).unwrap_or_default();
    format!("event: {event}\ndata: {json}\n\n").into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::model::ToolCall;

    use super::*;
    use crate::openai::answer::FunctionDelta;

    fn call(index: usize, name: Option<&str>, arguments: &str) -> ChunkDelta {
        let call = CallDelta {
            index,
            id: name.map(|_| format!("c{index}")),
            function: FunctionDelta {
                name: name.map(str::to_owned),
                arguments: arguments.to_owned(),
            },
            ..CallDelta::default()
        };
        ChunkDelta {
            tool_calls: vec![call],
            ..ChunkDelta::default()
        }
    }

    fn text(text: &str) -> ChunkDelta {
        ChunkDelta {
            content: Some(text.to_owned()),
            ..ChunkDelta::default()
        }
    }

    fn told(deltas: Vec<ChunkDelta>, collected: &Collected) -> Vec<Value> {
        let mut voice = Told::new(RunId::derive(&["x"]), "small".into(), "req_1".into());
        let mut frames: Vec<Bytes> = deltas.into_iter().flat_map(|d| voice.piece(d)).collect();
        frames.extend(voice.last(collected));
        (frames.iter())
            .map(|frame| {
                let text = std::str::from_utf8(frame).unwrap();
                let (event, data) = text.trim().split_once("\ndata: ").unwrap();
                let value: Value = serde_json::from_str(data).unwrap();
                assert_eq!(event, format!("event: {}", value["type"].as_str().unwrap()));
                value
            })
            .collect()
    }

    fn types(events: &[Value]) -> Vec<(&str, Option<u64>)> {
        (events.iter())
            .map(|event| (event["type"].as_str().unwrap(), event["index"].as_u64()))
            .collect()
    }

    #[test]
    fn blocks_come_one_after_the_other_whatever_is_written_at_once() {
        let arguments = json!({ "a": 1 });
        let calls = (0..2).map(|index| ToolCall {
            id: format!("c{index}"),
            name: "go".to_owned(),
            arguments: arguments.clone(),
        });
        let collected = Collected {
            calls: calls.collect(),
            ..Collected::default()
        };
        let deltas = vec![
            text("Well"),
            text(", yes"),
            call(0, Some("go"), ""),
            call(0, None, "{\"a\""),
            call(1, Some("go"), "{\"a\""),
            call(0, None, ":1}"),
            call(1, None, ":1}"),
        ];
        let events = told(deltas, &collected);
        let (start, delta, stop) = (
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
        );
        let expected = [
            ("message_start", None),
            (start, Some(0)),
            (delta, Some(0)),
            (delta, Some(0)),
            (stop, Some(0)),
            (start, Some(1)),
            (delta, Some(1)),
            (delta, Some(1)),
            (stop, Some(1)),
            (start, Some(2)),
            (delta, Some(2)),
            (stop, Some(2)),
            ("message_delta", None),
            ("message_stop", None),
        ];
        assert_eq!(types(&events), expected);
        assert_eq!(events[9]["content_block"]["id"], "c1");
        assert_eq!(events[10]["delta"]["partial_json"], "{\"a\":1}");
        assert_eq!(events[12]["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn an_empty_answer_is_a_message_without_blocks() {
        let events = told(vec![], &Collected::default());
        let expected = [
            ("message_start", None),
            ("message_delta", None),
            ("message_stop", None),
        ];
        assert_eq!(types(&events), expected);
        assert_eq!(events[1]["delta"]["stop_reason"], "end_turn");
    }
}
