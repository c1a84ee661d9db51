//! What a gateway refused for who asks or for what they may do. These are facts that nothing
//! decides upon: each gateway writes a log of its own (`nexus.<tenant>.evt.access.<gateway>`), so
//! that none waits for another, and a flood is counted before it reaches the log.
//!
//! One log a tenant was the alternative: all gateways would meet at its last sequence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, AggregateKind, Position, events};
use crate::source::Source;
use crate::time::Timestamp;

/// Longest text in an access event, in characters.
pub const TEXT_CHARS: usize = 300;

events! {
    /// What a gateway records of requests that it refused.
    AccessEvent {
        /// A request was refused.
        AccessDenied(AccessDenied) = "nexus.access.denied.v1",
        /// More requests were refused than are recorded one by one.
        DenialsCounted(DenialsCounted) = "nexus.access.denials-counted.v1",
    }
}

/// A request was refused. It names the route and never the path, a query or a header's value, where
/// credentials could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessDenied {
    /// The route's pattern, such as `/v1/runs/{run_id}`.
    pub route: String,
    /// The method.
    pub method: String,
    /// The answer's status: 401 or 403.
    pub status: u16,
    /// Stable code of the answer.
    pub code: String,
    /// Why.
    pub reason: String,
    /// The tenant that was asked for, where that is not the one whose log this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_tenant: Option<String>,
    /// From where.
    #[serde(default)]
    pub source: Source,
}

impl AccessDenied {
    /// The same with every text cut to what is kept.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let claimed = self.claimed_tenant.as_mut();
        let texts = [
            &mut self.route,
            &mut self.method,
            &mut self.code,
            &mut self.reason,
        ];
        for text in texts.into_iter().chain(claimed) {
            if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS) {
                text.truncate(end);
            }
        }
        self
    }
}

/// Requests from one source that were refused and are not recorded one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DenialsCounted {
    /// How many.
    pub count: u64,
    /// From when.
    pub since: Timestamp,
    /// To when.
    pub until: Timestamp,
    /// From where; an IPv6 address stands for its network of 64 bits. None: from more sources than
    /// are told apart.
    #[serde(default)]
    pub source: Source,
}

/// What a gateway refused, as an aggregate: only that there is something.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// How many requests were refused.
    pub denied: u64,
}

impl Aggregate for Access {
    const KIND: AggregateKind = AggregateKind::Access;
    type Event = AccessEvent;

    fn evolve(&mut self, event: &AccessEvent, _: Position) {
        let more = match event {
            AccessEvent::AccessDenied(_) => 1,
            AccessEvent::DenialsCounted(counted) => counted.count,
        };
        self.denied = self.denied.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_denial_is_long() {
        let long = "ä".repeat(4_000);
        let denied = AccessDenied {
            route: long.clone(),
            method: long.clone(),
            status: 403,
            code: long.clone(),
            reason: long.clone(),
            claimed_tenant: Some(long),
            source: Source::default(),
        }
        .bounded();
        let claimed = denied.claimed_tenant.unwrap_or_default();
        for text in [
            denied.route,
            denied.method,
            denied.code,
            denied.reason,
            claimed,
        ] {
            assert_eq!(text.chars().count(), TEXT_CHARS);
        }
    }

    #[test]
    fn counted_denials_count() {
        let mut access = Access::default();
        let counted = DenialsCounted {
            count: 41,
            since: Timestamp::default(),
            until: Timestamp::default(),
            source: Source::default(),
        };
        access.evolve(&counted.into(), Position::default());
        assert_eq!(access.denied, 41);
    }
}
