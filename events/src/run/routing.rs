//! Which endpoint a model call took and why: what the events tell of a route.
//!
//! A sentence was there before and stays, for people; this is what programs read. It is bounded, for
//! whoever is routed among a hundred endpoints writes no book about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Usage;

/// Most attempts and most skipped endpoints that are told.
pub const MOST_TOLD: usize = 16;

/// The route of one model call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Routing {
    /// How the endpoint was chosen: `priority`, `weighted`, `least_latency`, `least_cost`,
    /// `least_busy`; `only` where there is one.
    pub strategy: String,
    /// The provider that answered; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What was tried, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<RouteAttempt>,
    /// What was not tried when the last choice was made, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedEndpoint>,
    /// How long no endpoint was open, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waited_ms: u64,
}

/// One attempt at one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteAttempt {
    /// The provider.
    pub endpoint: String,
    /// `answered`, or the stable code of what went wrong; `outrun` where another was faster.
    pub outcome: String,
    /// What it is charged.
    pub usage: Usage,
    /// What that costs at this endpoint.
    pub cost_usd_micros: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// It was sent because another did not begin to answer in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hedge: bool,
}

/// An endpoint that was not tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedEndpoint {
    /// The provider.
    pub endpoint: String,
    /// Why.
    pub reason: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
