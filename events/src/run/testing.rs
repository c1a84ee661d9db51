//! A run's beginning, for tests of whatever holds runs.

use super::{AgentRef, RunStarted, SessionLink};
use crate::envelope::Actor;
use crate::ids::RunId;

pub(crate) fn started(run_id: RunId) -> RunStarted {
    RunStarted {
        run_id,
        session: SessionLink {
            id: run_id.own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        user: Actor::default(),
        agent: AgentRef {
            name: "default".into(),
            version: "1".into(),
        },
        model: "m".into(),
        tools: vec![],
        pins: Default::default(),
        input: "hello".into(),
        given: None,
        invoke: None,
        budget: None,
        parent: None,
        max_turns: 4,
        metadata: Default::default(),
        trace_id: None,
        prompt_tokens: None,
        queued: None,
    }
}
