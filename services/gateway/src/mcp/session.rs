//! Sessions of the older revision. Nothing needs to be remembered of one, so that any gateway serves
//! any of them, before and after a restart: the id is a name that was drawn by lot and no more. What
//! a client says later about one of its requests ("cancel 7") finds that request's run, because the
//! run's id derives from caller, session and request.
//!
//! A table of sessions, or a signature over what one is, were the alternatives: the first is state
//! that only one gateway has, and there is nothing in an id that would be worth signing. Who calls is
//! said by the credential of each request, never by the session.

use axum::http::HeaderMap;
use nexus_events::RunId;
use serde_json::Value;
use uuid::Uuid;

use super::headers::single;
use super::wire::{INVALID_REQUEST, RpcError};
use crate::identity::Caller;

/// Header with a session's id.
pub(super) const SESSION: &str = "mcp-session-id";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session(Uuid);

impl Session {
    /// A new one.
    pub(super) fn begin() -> Self {
        Self(Uuid::now_v7())
    }

    /// That of a request; none where it names none.
    ///
    /// # Errors
    /// There can be no such session: the client begins a new one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, RpcError> {
        let Some(text) = single(headers, SESSION)? else {
            return Ok(None);
        };
        match Uuid::try_parse(text) {
            Ok(id) if id.get_version_num() == 7 => Ok(Some(Self(id))),
            _ => {
                let detail = "there is no such session; send `initialize` again";
                Err(RpcError::new(INVALID_REQUEST, detail).with_status(404))
            }
        }
    }

    /// As its header has it.
    pub(super) fn text(self) -> String {
        self.0.to_string()
    }

    /// The run of one of its requests.
    pub(super) fn run_of(self, caller: &Caller, request: &Value) -> RunId {
        let (tenant, user) = (caller.tenant.as_str(), caller.actor.user.as_str());
        // 7 and "7" are two requests.
        let request = request.to_string();
        RunId::derive(&["mcp", tenant, user, &self.text(), &request])
    }
}
