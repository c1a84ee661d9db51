//! What the models share: rows folded by key in the order of their first change, and columns made
//! of rows for `UNNEST`.

use std::collections::HashMap;
use std::hash::Hash;

use nexus_events::{Actor, Tenant, Timestamp};

/// Where an event is, and who acted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// Whose.
    pub(crate) tenant: &'a Tenant,
    /// Sequence of its commit.
    pub(crate) seq: u64,
    /// Its place in the commit.
    pub(crate) position: u32,
    /// When the commit was decided.
    pub(crate) time: Timestamp,
    /// Who acted.
    pub(crate) actor: Option<&'a Actor>,
}

/// Rows by key, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Rows<K, R> {
    rows: Vec<R>,
    index: HashMap<K, usize>,
}

impl<K, R> Default for Rows<K, R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            index: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq, R> Rows<K, R> {
    /// The row of a key; a new one where there is none.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> R) -> &mut R {
        let rows = &mut self.rows;
        let at = *self.index.entry(key).or_insert_with(|| {
            rows.push(new());
            rows.len() - 1
        });
        &mut rows[at]
    }

    /// All rows.
    pub(crate) fn all(&self) -> &[R] {
        &self.rows
    }
}

/// One column of many rows.
pub(crate) fn col<'a, R, T>(
    rows: impl IntoIterator<Item = &'a R>,
    value: impl Fn(&'a R) -> T,
) -> Vec<T>
where
    R: 'a,
{
    rows.into_iter().map(value).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    //! Events for the tests of the models.
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use std::sync::LazyLock;

    use nexus_events::model::{FinishReason, ToolCall, Usage};
    use nexus_events::run::{
        AgentRef, LlmCompleted, PolicyDecided, PolicyPoint, RunStarted, SessionLink,
    };
    use nexus_events::{RunId, SessionId};
    use uuid::Uuid;

    use super::*;

    static TENANT: LazyLock<Tenant> = LazyLock::new(|| "acme".parse().unwrap());

    pub(crate) const RUN: RunId = RunId::new(Uuid::from_u128(7));

    pub(crate) fn at(seq: u64) -> At<'static> {
        let time = Timestamp::from_millis(1_000 * seq.cast_signed());
        At {
            tenant: &TENANT,
            seq,
            position: 0,
            time,
            actor: None,
        }
    }

    pub(crate) fn started(session: SessionId) -> RunStarted {
        RunStarted {
            run_id: RUN,
            session: SessionLink {
                id: session,
                previous: None,
                budget: None,
                policy_context: None,
            },
            user: Actor {
                user: "ada".into(),
                roles: vec![],
                ..Actor::default()
            },
            agent: AgentRef {
                name: "default".into(),
                version: "1".into(),
            },
            model: "m".into(),
            tools: vec!["calculator".into()],
            pins: Default::default(),
            input: "hello".into(),
            given: None,
            invoke: None,
            budget: None,
            parent: None,
            max_turns: 4,
            prompt_tokens: None,
            queued: None,
            metadata: Default::default(),
            trace_id: None,
        }
    }

    pub(crate) fn decided(point: PolicyPoint, allowed: bool) -> PolicyDecided {
        PolicyDecided {
            point,
            allowed,
            reasons: vec!["so".into(), "it is".into()],
            rules: vec![],
            bundle: "builtin".into(),
            duration_us: 1,
            ..PolicyDecided::default()
        }
    }

    pub(crate) fn answered(turn: u32, calls: &[&str]) -> LlmCompleted {
        let call = |id: &&str| ToolCall {
            id: (*id).to_owned(),
            name: "calculator".into(),
            arguments: serde_json::json!({}),
        };
        LlmCompleted {
            turn,
            provider: "p".into(),
            model: "m".into(),
            text: format!("answer {turn}").into(),
            tool_calls: calls.iter().map(call).collect(),
            finish: if calls.is_empty() {
                FinishReason::Stop
            } else {
                FinishReason::ToolCalls
            },
            usage: Usage {
                input_tokens: 90,
                output_tokens: 10,
                ..Usage::default()
            },
            cost_usd_micros: 5,
            duration_ms: 20,
            time_to_first_token_ms: None,
            attempts: 1,
            response_id: None,
            route: "r".into(),
            routing: None,
            findings: vec![],
            cached: None,
        }
    }
}
