//! The place of the one process that is active in a role of which only one shall be. The server
//! gives it with a message (`Nats-Pin-Id`) to one of the requests that wait, and takes it back when
//! no request with that id has come for [`LOSES_AFTER`]; deliveries, acknowledgements and requests
//! that merely stay open count for nothing. A process that is active therefore renews it every
//! second, busy or idle, by a request that can never be served: for one byte. A lease of our own on
//! a message with a time to live lost: it has to be checked before each pull and says nothing about
//! what the server has already sent.
//!
//! Nothing may rely on there being one only: when the place changes hands, the process that lost it
//! still has the commands that it was given. Expected sequences decide between the two.

use std::time::Duration;

use async_nats::Message;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use crate::metrics::{self, ByRole};

/// The group whose one member is active.
pub(crate) const GROUP: &str = "active";
/// Another process becomes active when the active one has not renewed its place for this long.
pub(crate) const LOSES_AFTER: Duration = Duration::from_secs(3);
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// A renewal is answered after this long, or at once when there is a message that it cannot take.
const RENEWAL_EXPIRES: Duration = Duration::from_millis(500);
const PIN_ID: &str = "Nats-Pin-Id";

/// What a process knows of its place.
pub(crate) struct Pin {
    role: String,
    /// Where it is the active one.
    id: Option<String>,
    renew_at: Instant,
    /// A renewal that is not yet answered.
    asked: Option<Instant>,
}

impl Pin {
    /// Of a process that stands by.
    pub(crate) fn new(role: &str) -> Self {
        let pin = Self {
            role: role.to_owned(),
            id: None,
            renew_at: Instant::now(),
            asked: None,
        };
        info!(
            role,
            "role stands by: whoever gets the next command is active"
        );
        pin.show();
        pin
    }

    /// Whether this is the active process, as far as is known.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// A message came: whoever gets one is active. Says whether the place is new.
    pub(crate) fn came_with(&mut self, message: &Message) -> bool {
        let id = message.headers.as_ref().and_then(|all| all.get(PIN_ID));
        // A process of an older version is served without one until the group has its first member.
        let Some(id) = id.map(|id| id.as_str()).filter(|id| !id.is_empty()) else {
            return false;
        };
        if self.id.as_deref() == Some(id) {
            return false;
        }
        self.id = Some(id.to_owned());
        self.renew_at = Instant::now() + RENEWED_EVERY;
        info!(role = self.role, "role active: this process has its place");
        self.show();
        true
    }

    /// The server knows of no such place any more.
    pub(crate) fn lost(&mut self) {
        if self.id.take().is_some() {
            info!(
                role = self.role,
                "role stands by: another process has its place"
            );
            self.show();
        }
    }

    /// The body of a renewal, when it is time for one. It is not time while the last one is
    /// unanswered: a process that hears nothing must lose its place.
    pub(crate) fn renewal(&self, now: Instant) -> Option<Value> {
        (self.id.is_some() && self.asked.is_none() && now >= self.renew_at).then(|| {
            let expires = u64::try_from(RENEWAL_EXPIRES.as_nanos()).unwrap_or(u64::MAX);
            self.on_request(json!({ "batch": 1, "max_bytes": 1, "expires": expires }))
        })
    }

    /// A renewal is on its way.
    pub(crate) fn renewing(&mut self, now: Instant) {
        self.asked = Some(now);
        self.renew_at = now + RENEWED_EVERY;
    }

    /// A renewal was answered, or its answer will never come.
    pub(crate) fn answered(&mut self) {
        self.asked = None;
    }

    /// When to look again: for the next renewal, or for an answer that is overdue.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        let overdue = self.asked.map(|asked| asked + LOSES_AFTER);
        overdue.or(self.id.as_ref().map(|_| self.renew_at))
    }

    /// Whether the server has been silent for so long that the place is lost.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now >= asked + LOSES_AFTER)
    }

    /// A request for messages as a member of the group makes it.
    pub(crate) fn on_request(&self, mut request: Value) -> Value {
        if let Some(fields) = request.as_object_mut() {
            fields.insert("group".to_owned(), GROUP.into());
            if let Some(id) = &self.id {
                fields.insert("id".to_owned(), id.as_str().into());
            }
        }
        request
    }

    fn show(&self) {
        let role = self.role.clone();
        let gauge = metrics::bus().active.get_or_create_owned(&ByRole { role });
        gauge.set(i64::from(self.id.is_some()));
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.id = None;
        self.show();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use async_nats::HeaderMap;

    use super::*;

    fn message(id: &str) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert(PIN_ID, id);
        Message {
            subject: "nexus.acme.cmd.test.do".into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_renewed_until_it_is_lost_and_one_answer_at_a_time_is_awaited() {
        let mut pin = Pin::new("test");
        assert_eq!(pin.on_request(json!({})), json!({ "group": GROUP }));
        assert!(pin.wakes_at().is_none() && !pin.came_with(&message("")));
        assert!(pin.came_with(&message("a")) && !pin.came_with(&message("a")));
        assert_eq!(pin.renewal(Instant::now()), None);

        tokio::time::advance(RENEWED_EVERY).await;
        assert_eq!(pin.renewal(Instant::now()).unwrap()["id"], "a");
        pin.renewing(Instant::now());
        tokio::time::advance(RENEWED_EVERY * 2).await;
        assert_eq!(pin.renewal(Instant::now()), None, "not yet answered");
        assert!(!pin.is_overdue(Instant::now()));
        tokio::time::advance(RENEWED_EVERY).await;
        assert!(pin.is_overdue(Instant::now()));
        pin.answered();
        assert!(!pin.is_overdue(Instant::now()) && pin.renewal(Instant::now()).is_some());

        pin.lost();
        assert!(pin.id().is_none() && pin.renewal(Instant::now()).is_none());
    }
}
