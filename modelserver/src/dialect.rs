//! What differs between the protocols: how a piece of an answer is written, and an error.
//!
//! A plan is made of [`Part`]s, limited and counted, before a dialect writes them: so every fault and
//! every count is the same in each protocol. A plan of its own for each would let them drift apart.

use crate::behaviour::Content;
use crate::messages::MessagesHead;
use crate::script::{ScriptedCall, WireTokens};
use crate::wire::Head;

/// Which protocol a request came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wire {
    /// OpenAI's chat completions.
    #[default]
    Chat,
    /// Anthropic's messages.
    Messages,
}

/// Something of an answer that carries tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    /// A call begins.
    Call(usize, &'a ScriptedCall),
    /// The next part of its arguments.
    Arguments(usize, &'a str),
}

/// A piece of a body, and how many tokens of output it carries.
pub(crate) type Piece = (String, u64);

/// The end of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    /// Why it ended, in OpenAI's words or as scripted; without it the stream never says.
    pub(crate) finish: Option<&'a str>,
    /// What is reported, if anything.
    pub(crate) usage: Option<WireTokens>,
}

/// Writes answers in one protocol.
pub(crate) enum Dialect {
    Chat(Head),
    Messages(MessagesHead),
}

impl Dialect {
    /// A stream, piece by piece.
    pub(crate) fn stream(&self, parts: &[(Part<'_>, u64)], ending: Ending<'_>) -> Vec<Piece> {
        match self {
            Self::Chat(head) => head.stream(parts, ending),
            Self::Messages(head) => head.stream(parts, ending),
        }
    }

    /// A whole body.
    pub(crate) fn whole(&self, content: &Content, text: &str, ending: Ending<'_>) -> String {
        match self {
            Self::Chat(head) => head.whole(
                text,
                &content.calls,
                ending.finish.unwrap_or_default(),
                ending.usage,
            ),
            Self::Messages(head) => head.whole(content, text, ending),
        }
    }

    /// A piece that is no JSON.
    pub(crate) fn broken(&self) -> &'static str {
        match self {
            Self::Chat(_) => "data: {\"id\":\"chatcmpl-0\",\"choices\":[{\"del\n\n",
            Self::Messages(_) => {
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"ind\n\n"
            }
        }
    }

    /// An error in the middle of a stream.
    pub(crate) fn error(&self) -> &'static str {
        match self {
            Self::Chat(_) => {
                "data: {\"error\":{\"message\":\"The server had an error\",\
                 \"type\":\"server_error\",\"code\":null}}\n\n"
            }
            Self::Messages(_) => {
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\
                 \"overloaded_error\",\"message\":\"The server had an error\"}}\n\n"
            }
        }
    }
}
