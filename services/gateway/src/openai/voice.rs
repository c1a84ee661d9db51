//! A chat completion in chunks.

use bytes::Bytes;
use nexus_events::Problem;
use serde::Serialize;

use super::answer::{Chunk, ChunkChoice, ChunkDelta, Head, finish};
use super::collect::Collected;
use super::errors::OpenAiError;
use super::stream::Voice;
use crate::stream::sse::HEARTBEAT;

/// Tells a chat completion.
pub(crate) struct Chat {
    pub(crate) head: Head,
    /// A last chunk has the usage.
    pub(crate) includes_usage: bool,
    began: bool,
}

impl Chat {
    pub(crate) fn new(head: Head, includes_usage: bool) -> Self {
        Self {
            head,
            includes_usage,
            began: false,
        }
    }

    fn chunk(&self, delta: ChunkDelta, finish_reason: Option<&'static str>) -> Bytes {
        let choice = ChunkChoice {
            index: 0,
            delta,
            logprobs: None,
            finish_reason,
        };
        frame(&Chunk {
            choices: vec![choice],
            ..self.empty(&self.head.id())
        })
    }

    fn empty<'a>(&'a self, id: &'a str) -> Chunk<'a> {
        Chunk {
            id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.model,
            choices: vec![],
            usage: self.includes_usage.then_some(None),
        }
    }

    fn role(&mut self) -> Option<&'static str> {
        (!std::mem::replace(&mut self.began, true)).then_some("assistant")
    }
}

impl Voice for Chat {
    fn piece(&mut self, mut delta: ChunkDelta) -> Vec<Bytes> {
        delta.role = self.role();
        vec![self.chunk(delta, None)]
    }

    fn last(&mut self, collected: &Collected) -> Vec<Bytes> {
        let delta = ChunkDelta {
            role: self.role(),
            ..ChunkDelta::default()
        };
        let mut frames = vec![self.chunk(delta, Some(finish(collected)))];
        if self.includes_usage {
            frames.push(frame(&Chunk {
                usage: Some(Some(collected.usage.into())),
                ..self.empty(&self.head.id())
            }));
        }
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        frames
    }

    fn error(&self, problem: &Problem) -> Bytes {
        frame(&OpenAiError::of(problem))
    }

    fn beat(&self) -> Bytes {
        Bytes::from_static(HEARTBEAT.as_bytes())
    }
}

fn frame<T: Serialize>(value: &T) -> Bytes {
    // Strings and numbers: it always encodes, and JSON in one line has no line break.
    let json = serde_json::to_string(value).unwrap_or_default();
    format!("data: {json}\n\n").into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::RunId;
    use serde_json::Value;

    use super::*;

    fn value(frame: &Bytes) -> Value {
        let text = std::str::from_utf8(frame).unwrap();
        serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap()
    }

    #[test]
    fn the_first_chunk_says_whose_it_is() {
        let head = Head {
            run: RunId::derive(&["x"]),
            model: "small".into(),
            created: 7,
        };
        let mut voice = Chat::new(head, true);
        let piece = || ChunkDelta {
            content: Some("He".into()),
            ..ChunkDelta::default()
        };
        let first = value(&voice.piece(piece())[0]);
        assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
        let next = value(&voice.piece(piece())[0]);
        assert_eq!(next["choices"][0]["delta"]["role"], Value::Null);
        let last = voice.last(&Collected::default());
        assert_eq!(last.len(), 3);
        assert_eq!(value(&last[0])["choices"][0]["finish_reason"], "stop");
        assert_eq!(value(&last[1])["usage"]["total_tokens"], 0);
    }
}
