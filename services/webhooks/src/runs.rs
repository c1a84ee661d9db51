//! Of which agent and session a run is, for webhooks that choose by that. It stands in a run's first
//! commit and never changes, so it is read once.

use std::collections::HashMap;

use nexus_bus::read::{self, Stored};
use nexus_bus::{Bus, ReadError, topology};
use nexus_events::SessionId;
use nexus_events::webhook::WebhookSpec;
use serde::Deserialize;

/// Runs that are remembered; when they are more, all are forgotten and read again.
const MOST_KNOWN: usize = 4_096;

#[derive(Clone, Debug, Default)]
struct Run {
    agent: Option<String>,
    session: Option<SessionId>,
}

/// What is known of runs.
#[derive(Debug, Default)]
pub(crate) struct Runs(HashMap<String, Run>);

impl Runs {
    /// Whether a webhook that chooses runs is about this commit.
    pub(crate) async fn concerns(
        &mut self,
        bus: &Bus,
        spec: &WebhookSpec,
        aggregate: &str,
        stored: &Stored,
    ) -> Result<bool, ReadError> {
        if !spec.chooses_runs() {
            return Ok(true);
        }
        if let Some(session) = aggregate.strip_prefix("session/") {
            let wanted = spec.session_id.map(|id| id.to_string());
            return Ok(spec.agent.is_none() && wanted.as_deref() == Some(session));
        }
        if !aggregate.starts_with("run/") {
            return Ok(false);
        }
        if !self.0.contains_key(aggregate) {
            let first = match stored.follows() {
                Some(0) => Some(stored.body.clone()),
                _ => read::next(bus, topology::EVENTS, &stored.subject, 1)
                    .await?
                    .map(|first| first.body),
            };
            let run = first.and_then(|body| begun(&body)).unwrap_or_default();
            if self.0.len() >= MOST_KNOWN {
                self.0.clear();
            }
            self.0.insert(aggregate.to_owned(), run);
        }
        let Some(run) = self.0.get(aggregate) else {
            return Ok(false);
        };
        let agent = spec.agent.is_none() || spec.agent == run.agent;
        let session = spec.session_id.is_none() || spec.session_id == run.session;
        Ok(agent && session)
    }
}

/// What a run's first commit says.
fn begun(body: &[u8]) -> Option<Run> {
    #[derive(Deserialize)]
    struct First {
        data: Started,
    }
    #[derive(Deserialize)]
    struct Started {
        #[serde(default)]
        agent: Option<Agent>,
        session: Session,
    }
    #[derive(Deserialize)]
    struct Agent {
        name: String,
    }
    #[derive(Deserialize)]
    struct Session {
        id: SessionId,
    }
    let events: Vec<serde_json::Value> = serde_json::from_slice(body).ok()?;
    let First { data } = serde_json::from_value(events.into_iter().next()?).ok()?;
    Some(Run {
        agent: data.agent.map(|agent| agent.name),
        session: Some(data.session.id),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn the_first_commit_says_which_agent_and_session() {
        let started = include_str!("../../../events/fixtures/nexus.run.started.v1.json");
        let started: serde_json::Value = serde_json::from_str(started).unwrap();
        let body = serde_json::json!([{ "type": "nexus.run.started.v1", "data": started }]);
        let run = begun(body.to_string().as_bytes()).unwrap();
        assert_eq!(run.session.unwrap().to_string(), started["session"]["id"]);
        assert_eq!(run.agent.as_deref(), started["agent"]["name"].as_str());
        assert!(begun(b"[]").is_none());
    }
}
