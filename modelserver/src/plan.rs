//! From a request and a reply to the exact steps of the answer: pieces, delays, and what goes wrong.
//!
//! Pure, so that each fault is one rewrite of a list of steps; `route` only carries the steps out.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::behaviour::{self, Content};
use crate::script::{Fault, Reply, ScriptedCall, UsageReport, WireTokens};
use crate::wire::{ChatRequest, Head, call_id, tokens};

const ARGUMENT_PIECES: usize = 3;

/// One step of an answer's body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Bytes to send, and how many tokens of output they carry.
    Piece(Bytes, u64),
    Delay(Duration),
    /// Nothing more, with the connection open.
    Hang,
    /// The connection is dropped.
    Cut,
}

/// A body, step by step.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) input_tokens: u64,
    pub(crate) streams: bool,
}

/// Plans the answer. Faults of the status line are not of its concern.
pub(crate) fn plan(request: &ChatRequest, reply: &Reply, id: String, created: u64) -> Plan {
    let content = content(request, reply);
    let streams = request.mode.streams();
    let head = Head {
        id,
        model: request.model.clone(),
        created,
        wants_usage: request.mode.wants_usage(),
        unknown_enums: reply.fault == Some(Fault::UnknownEnums),
    };
    let answer = Answer {
        request,
        reply,
        head: &head,
        input_tokens: request.tokens(),
    };
    let pieces = if streams {
        answer.streamed(&content)
    } else {
        vec![answer.whole(&content)]
    };
    let mut steps: Vec<Step> = pieces
        .into_iter()
        .map(|(text, n)| Step::Piece(text.into(), n))
        .collect();
    if let Some(fault) = &reply.fault {
        steps = apply(fault, steps);
    }
    if reply.chunk_delay_ms > 0 {
        steps = delayed(steps, Duration::from_millis(reply.chunk_delay_ms));
    }
    Plan {
        steps,
        input_tokens: answer.input_tokens,
        streams,
    }
}

fn content(request: &ChatRequest, reply: &Reply) -> Content {
    if reply.text.is_none() && reply.tool_calls.is_empty() {
        return behaviour::respond(request);
    }
    Content {
        text: reply.text.clone().unwrap_or_default(),
        calls: reply.tool_calls.clone(),
    }
}

struct Answer<'a> {
    request: &'a ChatRequest,
    reply: &'a Reply,
    head: &'a Head,
    input_tokens: u64,
}

type Piece = (String, u64);

impl Answer<'_> {
    /// All pieces of a stream, `[DONE]` included.
    fn streamed(&self, content: &Content) -> Vec<Piece> {
        let role = if self.head.unknown_enums {
            "narrator"
        } else {
            "assistant"
        };
        let first = json!({ "role": role, "content": "", "refusal": null });
        let mut pieces = vec![(self.head.delta(&first, None), 0)];
        pieces.extend(self.text(&content.text));
        for (index, call) in content.calls.iter().enumerate() {
            pieces.extend(self.call(index, call));
        }
        let (output, limited) = limit(&mut pieces, self.request.max_output());
        if self.reply.fault != Some(Fault::NoFinish) {
            let finish = self.finish(content, limited);
            pieces.push((self.head.delta(&json!({}), Some(finish)), 0));
        }
        if let Some(usage) = self.usage(output).filter(|_| self.head.wants_usage) {
            pieces.push((self.head.usage(usage), 0));
        }
        pieces.push(("data: [DONE]\n\n".into(), 0));
        pieces
    }

    fn text<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Piece> + 'a {
        let pieces = match self.reply.chunks {
            Some(n) => split(text, n),
            None => text.split_inclusive(' ').collect(),
        };
        pieces.into_iter().map(|piece| {
            (
                self.head.delta(&json!({ "content": piece }), None),
                tokens(piece),
            )
        })
    }

    fn call(&self, index: usize, call: &ScriptedCall) -> Vec<Piece> {
        let opening = json!({ "tool_calls": [{
            "index": index, "id": call_id(index, call), "type": "function",
            "function": { "name": call.name, "arguments": "" } }] });
        let mut pieces = vec![(self.head.delta(&opening, None), tokens(&call.name))];
        for part in split(&call.arguments, call.chunks.unwrap_or(ARGUMENT_PIECES)) {
            let delta = json!({ "tool_calls": [{
                "index": index, "function": { "arguments": part } }] });
            pieces.push((self.head.delta(&delta, None), tokens(part)));
        }
        pieces
    }

    fn whole(&self, content: &Content) -> Piece {
        let text = self.text(&content.text).map(|(_, n)| n);
        let calls = content
            .calls
            .iter()
            .enumerate()
            .flat_map(|(i, c)| self.call(i, c));
        let counted: u64 = text.chain(calls.map(|(_, n)| n)).sum();
        let output = counted.min(self.request.max_output());
        let keep = usize::try_from(output.saturating_mul(4)).unwrap_or(usize::MAX);
        let text = content.text.get(..keep).unwrap_or(&content.text);
        let finish = self.finish(content, output < counted);
        (
            self.head
                .whole(text, &content.calls, finish, self.usage(output)),
            output,
        )
    }

    fn finish(&self, content: &Content, limited: bool) -> &str {
        match &self.reply.finish_reason {
            Some(reason) => reason,
            None if self.head.unknown_enums => "serendipity",
            None if limited => "length",
            None if content.calls.is_empty() => "stop",
            None => "tool_calls",
        }
    }

    fn usage(&self, output: u64) -> Option<WireTokens> {
        match self.reply.usage {
            UsageReport::Honest => Some(WireTokens {
                input: self.input_tokens,
                output,
                cached: 0,
            }),
            UsageReport::Missing => None,
            UsageReport::Lie(figures) => Some(figures),
        }
    }
}

/// Drops what exceeds `max` tokens; returns the tokens that are left and whether any were dropped.
fn limit(pieces: &mut Vec<Piece>, max: u64) -> (u64, bool) {
    let mut total = 0;
    let fits = pieces.iter().position(|(_, n)| {
        total += n;
        total > max
    });
    match fits {
        Some(at) => {
            pieces.truncate(at);
            (pieces.iter().map(|(_, n)| n).sum(), true)
        }
        None => (total, false),
    }
}

/// `text` in at most `n` pieces of about the same length, cut between characters.
fn split(text: &str, n: usize) -> Vec<&str> {
    let size = text.len().div_ceil(n.max(1)).max(1);
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let at = (size..rest.len())
            .find(|i| rest.is_char_boundary(*i))
            .unwrap_or(rest.len());
        let (piece, left) = rest.split_at(at);
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn apply(fault: &Fault, steps: Vec<Step>) -> Vec<Step> {
    let broken = || {
        Step::Piece(
            "data: {\"id\":\"chatcmpl-0\",\"choices\":[{\"del\n\n".into(),
            0,
        )
    };
    let error = || {
        let text = "data: {\"error\":{\"message\":\"The server had an error\",\
            \"type\":\"server_error\",\"code\":null}}\n\n";
        Step::Piece(text.into(), 0)
    };
    match *fault {
        Fault::HangAfter(n) => first(steps, n, Step::Hang),
        Fault::CutAfter(n) => first(steps, n, Step::Cut),
        Fault::CutAfterBytes(n) => first_bytes(steps, n),
        Fault::Malformed(n) => insert(steps, n, broken()),
        Fault::ErrorInStream(n) => first(steps, n, error()),
        Fault::Status { .. } | Fault::Hang | Fault::NoFinish | Fault::UnknownEnums => steps,
    }
}

fn first(mut steps: Vec<Step>, n: usize, then: Step) -> Vec<Step> {
    steps.truncate(n);
    steps.push(then);
    steps
}

fn insert(mut steps: Vec<Step>, n: usize, step: Step) -> Vec<Step> {
    steps.insert(n.min(steps.len()), step);
    steps
}

fn first_bytes(steps: Vec<Step>, mut left: usize) -> Vec<Step> {
    let mut kept = Vec::new();
    for step in steps {
        let Step::Piece(mut bytes, n) = step else {
            continue;
        };
        let whole = bytes.len() <= left;
        bytes.truncate(left);
        left -= bytes.len();
        kept.push(Step::Piece(bytes, n));
        if !whole {
            break;
        }
    }
    kept.push(Step::Cut);
    kept
}

fn delayed(steps: Vec<Step>, delay: Duration) -> Vec<Step> {
    steps
        .into_iter()
        .flat_map(|step| [Step::Delay(delay), step])
        .skip(1)
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn request(extra: serde_json::Value) -> ChatRequest {
        let mut body = json!({ "model": "m", "stream": true,
            "messages": [{ "role": "user", "content": "hello" }] });
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    fn body(plan: &Plan) -> String {
        let piece = |s: &Step| match s {
            Step::Piece(bytes, _) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => format!("<{other:?}>"),
        };
        plan.steps.iter().map(piece).collect()
    }

    #[test]
    fn usage_is_sent_only_when_asked_and_is_the_sum_of_the_pieces() {
        let reply = Reply {
            chunks: Some(3),
            ..Reply::text("abcdefghi")
        };
        let plain = plan(&request(json!({})), &reply, "c".into(), 1);
        assert!(!body(&plain).contains("usage"));
        let asked = request(json!({ "stream_options": { "include_usage": true } }));
        let planned = plan(&asked, &reply, "c".into(), 1);
        let text = body(&planned);
        assert!(text.contains(r#""completion_tokens":3"#), "{text}");
        assert!(text.contains(r#""usage":null"#));
        assert!(text.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn max_tokens_is_obeyed() {
        let limited = request(json!({ "max_tokens": 2 }));
        let reply = Reply {
            chunks: Some(3),
            ..Reply::text("abcdefghi")
        };
        let text = body(&plan(&limited, &reply, "c".into(), 1));
        assert!(text.contains("def") && !text.contains("ghi"));
        assert!(text.contains(r#""finish_reason":"length""#));
    }

    #[test]
    fn a_cut_after_bytes_keeps_exactly_those() {
        for n in [0, 1, 50, 333] {
            let reply = Reply::fault(Fault::CutAfterBytes(n));
            let planned = plan(&request(json!({})), &reply, "c".into(), 1);
            assert_eq!(planned.steps.last(), Some(&Step::Cut));
            let sent = |s: &Step| {
                if let Step::Piece(bytes, _) = s {
                    bytes.len()
                } else {
                    0
                }
            };
            assert_eq!(planned.steps.iter().map(sent).sum::<usize>(), n);
        }
    }

    #[test]
    fn pieces_are_cut_between_characters_and_lose_nothing() {
        for n in 0..12 {
            assert_eq!(split("añb→c😀", n).concat(), "añb→c😀");
        }
        assert!(split("", 4).is_empty());
    }
}
