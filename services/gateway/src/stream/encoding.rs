//! What a stream's records look like on the way to its reader: frames of server-sent events, or
//! messages of a WebSocket. The pumps do not care; whoever writes to the connection does.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::record::EventRecord;
use super::sse;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Frames of server-sent events.
    Sse,
    /// JSON texts `{"id","event","data"}`, one a message.
    Socket,
}

/// A message of a WebSocket.
#[derive(Serialize)]
struct Message<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    event: &'a str,
    data: T,
}

impl Encoding {
    /// What a stream begins with, if anything.
    pub(crate) fn opening(self) -> Option<Bytes> {
        match self {
            Self::Sse => Some(Bytes::from_static(sse::RETRY.as_bytes())),
            Self::Socket => None,
        }
    }

    /// A sign of life. A WebSocket has frames of its own for it: what stands for one is empty.
    pub(crate) fn heartbeat(self) -> Bytes {
        match self {
            Self::Sse => Bytes::from_static(sse::HEARTBEAT.as_bytes()),
            Self::Socket => Bytes::new(),
        }
    }

    /// An event.
    pub(crate) fn event(self, record: &EventRecord) -> Option<Bytes> {
        match self {
            Self::Sse => sse::event(record),
            Self::Socket => text(&Message {
                id: Some(&record.id),
                event: &record.type_name,
                data: record,
            }),
        }
    }

    /// A delta; none where it is not JSON.
    pub(crate) fn delta(self, data: &str) -> Option<Bytes> {
        match self {
            Self::Sse => Some(sse::delta(data)),
            Self::Socket => text(&Message {
                id: None,
                event: sse::DELTA,
                data: serde_json::from_str::<&RawValue>(data).ok()?,
            }),
        }
    }
}

fn text(message: &impl Serialize) -> Option<Bytes> {
    serde_json::to_vec(message).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_delta_is_the_same_in_both() {
        let data = r#"{"type":"text","turn":1,"text":"a\nb"}"#;
        let message: Value =
            serde_json::from_slice(&Encoding::Socket.delta(data).unwrap()).unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(message, json!({ "event": "delta", "data": data }));
        assert!(Encoding::Socket.delta("{").is_none());
        assert!(
            Encoding::Sse
                .delta("{}")
                .unwrap()
                .starts_with(b"event: delta")
        );
    }
}
