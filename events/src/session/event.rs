//! What a session records.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OnBusy;
use crate::aggregate::events;
use crate::command::Budget;
use crate::envelope::Actor;
use crate::ids::{RunId, SessionId};
use crate::run::PreviousRun;

events! {
    /// What a session records.
    SessionEvent {
        /// It began.
        SessionOpened(SessionOpened) = "nexus.session.opened.v1",
        /// A run joined it.
        SessionRunAttached(SessionRunAttached) = "nexus.session.run-attached.v1",
        /// A run waits for those before it to end.
        SessionRunQueued(SessionRunQueued) = "nexus.session.run-queued.v1",
        /// A run that waited ended, and never joined.
        SessionRunLeft(SessionRunLeft) = "nexus.session.run-left.v1",
        /// It takes no further runs.
        SessionClosed(SessionClosed) = "nexus.session.closed.v1",
    }
}

/// It began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionOpened {
    /// The session.
    pub session_id: SessionId,
    /// Who opened it.
    pub user: Actor,
    /// What all its runs together may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What policy is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_context: Option<serde_json::Map<String, serde_json::Value>>,
    /// What a run gets that is started while another of it goes on; it is refused when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_busy: Option<OnBusy>,
    /// The caller's own labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The run that opened it by naming no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_by_run: Option<RunId>,
}

/// A run joined it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRunAttached {
    /// The run.
    pub run_id: RunId,
    /// The run before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousRun>,
}

/// A run waits for those before it to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRunQueued {
    /// The run.
    pub run_id: RunId,
}

/// A run that waited ended, and never joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRunLeft {
    /// The run.
    pub run_id: RunId,
}

/// It takes no further runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionClosed {}
