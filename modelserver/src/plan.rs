//! From a request and a reply to the exact steps of the answer: pieces, delays, and what goes wrong.
//!
//! Pure, so that each fault is one rewrite of a list of steps; `route` only carries the steps out.

use std::time::Duration;

use bytes::Bytes;

use crate::behaviour::{self, Content};
use crate::dialect::{Dialect, Ending, Part, Piece, Wire};
use crate::messages::MessagesHead;
use crate::script::{Fault, Reply, UsageReport, WireTokens};
use crate::wire::{ChatRequest, Head, tokens};

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
    let unknown_enums = reply.fault == Some(Fault::UnknownEnums);
    let model = request.model.clone();
    let dialect = match request.wire {
        Wire::Chat => Dialect::Chat(Head {
            id,
            model,
            created,
            wants_usage: request.mode.wants_usage(),
            unknown_enums,
        }),
        Wire::Messages => Dialect::Messages(MessagesHead {
            id,
            model,
            unknown_enums,
        }),
    };
    let answer = Answer {
        request,
        reply,
        dialect: &dialect,
        input_tokens: request.tokens(),
    };
    let pieces = if streams {
        answer.streamed(&content)
    } else {
        vec![answer.whole(&content)]
    };
    Plan {
        steps: steps(pieces, reply, &dialect),
        input_tokens: answer.input_tokens,
        streams,
    }
}

/// The pieces with what goes wrong, and the pauses between them.
fn steps(pieces: Vec<Piece>, reply: &Reply, dialect: &Dialect) -> Vec<Step> {
    let mut steps: Vec<Step> = pieces
        .into_iter()
        .map(|(text, n)| Step::Piece(text.into(), n))
        .collect();
    if let Some(fault) = &reply.fault {
        steps = apply(fault, steps, dialect);
    }
    if reply.chunk_delay_ms > 0 {
        steps = delayed(steps, Duration::from_millis(reply.chunk_delay_ms));
    }
    steps
}

/// A whole body of another route, of so many tokens of prompt and none of answer.
pub(crate) fn body(text: String, reply: &Reply, input_tokens: u64) -> Plan {
    let dialect = Dialect::Chat(Head::default());
    Plan {
        steps: steps(vec![(text, 0)], reply, &dialect),
        input_tokens,
        streams: false,
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
    dialect: &'a Dialect,
    input_tokens: u64,
}

impl Answer<'_> {
    /// All pieces of a stream, its last included.
    fn streamed(&self, content: &Content) -> Vec<Piece> {
        let mut parts = self.parts(content);
        let (output, limited) = limit(&mut parts, self.request.max_output());
        let finish = Some(self.finish(content, limited));
        let ending = Ending {
            finish: finish.filter(|_| self.reply.fault != Some(Fault::NoFinish)),
            usage: self.usage(output),
        };
        self.dialect.stream(&parts, ending)
    }

    /// What carries tokens, each with how many.
    fn parts<'a>(&self, content: &'a Content) -> Vec<(Part<'a>, u64)> {
        let text = content.text.as_str();
        let texts = match self.reply.chunks {
            Some(n) => split(text, n),
            None => text.split_inclusive(' ').collect(),
        };
        let mut parts: Vec<_> = (texts.into_iter())
            .map(|text| (Part::Text(text), tokens(text)))
            .collect();
        for (index, call) in content.calls.iter().enumerate() {
            parts.push((Part::Call(index, call), tokens(&call.name)));
            let pieces = split(&call.arguments, call.chunks.unwrap_or(ARGUMENT_PIECES));
            parts.extend(
                pieces
                    .into_iter()
                    .map(|p| (Part::Arguments(index, p), tokens(p))),
            );
        }
        parts
    }

    fn whole(&self, content: &Content) -> Piece {
        let counted: u64 = self.parts(content).iter().map(|(_, n)| n).sum();
        let output = counted.min(self.request.max_output());
        let keep = usize::try_from(output.saturating_mul(4)).unwrap_or(usize::MAX);
        let text = content.text.get(..keep).unwrap_or(&content.text);
        let ending = Ending {
            finish: Some(self.finish(content, output < counted)),
            usage: self.usage(output),
        };
        (self.dialect.whole(content, text, ending), output)
    }

    fn finish(&self, content: &Content, limited: bool) -> &str {
        match &self.reply.finish_reason {
            Some(reason) => reason,
            None if self.reply.fault == Some(Fault::UnknownEnums) => "serendipity",
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
                ..WireTokens::default()
            }),
            UsageReport::Missing => None,
            UsageReport::Lie(figures) => Some(figures),
        }
    }
}

/// Drops what exceeds `max` tokens; returns the tokens that are left and whether any were dropped.
fn limit(pieces: &mut Vec<(Part<'_>, u64)>, max: u64) -> (u64, bool) {
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

fn apply(fault: &Fault, steps: Vec<Step>, dialect: &Dialect) -> Vec<Step> {
    let broken = || Step::Piece(dialect.broken().into(), 0);
    let error = || Step::Piece(dialect.error().into(), 0);
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
    use serde_json::json;

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
