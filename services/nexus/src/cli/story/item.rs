//! What comes over a run's stream, read: facts by the types of the log, fragments as the model's role
//! publishes them.

use nexus_events::Timestamp;
use nexus_events::aggregate::Event as _;
use nexus_events::run::RunEvent;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What comes over the stream.
#[derive(Debug)]
pub(crate) enum Item {
    /// Something that was recorded.
    Fact {
        /// When.
        time: Option<Timestamp>,
        /// What.
        event: Box<RunEvent>,
    },
    /// A fragment of an answer.
    Live(Live),
    /// Something that this version does not know.
    Unknown(String),
}

/// Fragments, as the model's role publishes them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Live {
    /// More text.
    Text {
        /// The turn.
        turn: u32,
        /// The fragment.
        text: String,
    },
    /// More of a tool call; shown when it is whole.
    ToolCall {},
    /// The call is made again: what came in this turn so far is void.
    Restart {
        /// The turn.
        turn: u32,
        /// Why.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", default)]
    type_name: String,
    time: Option<Timestamp>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Item {
    /// Reads the data of a stream's event.
    ///
    /// # Errors
    /// It is not JSON of the shape that the gateway sends.
    pub(crate) fn read(data: &str) -> Result<Self, serde_json::Error> {
        let wire: Wire<'_> = serde_json::from_str(data)?;
        match (wire.type_name.as_str(), wire.data) {
            (name, Some(data)) if name.starts_with("nexus.") => {
                Ok(match RunEvent::decode(name, data) {
                    Ok(event) => Self::Fact {
                        time: wire.time,
                        event: Box::new(event),
                    },
                    // A newer platform than this program: the rest of the story is still told.
                    Err(_) => Self::Unknown(wire.type_name),
                })
            }
            ("text" | "tool_call" | "restart", _) => serde_json::from_str(data).map(Self::Live),
            _ => Ok(Self::Unknown(wire.type_name)),
        }
    }
}
