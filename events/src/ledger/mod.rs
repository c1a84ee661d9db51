//! The ledger: one per tenant. Limits, reservations and spend by scope and window; a reservation is
//! a fact before a token is spent, and it holds in all of its scopes or in none.
//!
//! A counter in a database (or in NATS) was the alternative: it is faster for one scope, but cannot
//! hold several scopes at once, does not say who holds what, and cannot be replayed.

mod decide;
mod event;
mod state;
mod window;

pub use decide::{Ask, Refusal, expire, reserve, set_limits, settle};
pub use event::{
    BudgetOverrun, BudgetReserved, BudgetSettled, LedgerEvent, LimitsSet, ReservationExpired,
};
pub use state::{Account, AccountKey, Ledger, Reservation};
pub use window::Window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{RunId, SessionId};

/// Who spends.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Scope {
    /// The whole tenant.
    Tenant,
    /// One user.
    User(String),
    /// One agent.
    Agent(String),
    /// One conversation.
    Session(SessionId),
    /// One run and its children.
    Run(RunId),
}

impl Scope {
    /// The scope's kind, as in routes and tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User(_) => "user",
            Self::Agent(_) => "agent",
            Self::Session(_) => "session",
            Self::Run(_) => "run",
        }
    }

    /// The scope's id; empty for the tenant.
    pub fn id(&self) -> String {
        match self {
            Self::Tenant => String::new(),
            Self::User(id) | Self::Agent(id) => id.clone(),
            Self::Session(id) => id.to_string(),
            Self::Run(id) => id.to_string(),
        }
    }

    /// Reads what [`Self::kind`] and [`Self::id`] wrote; the tenant's id is ignored.
    pub fn parse(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "tenant" => Some(Self::Tenant),
            "user" => Some(Self::User(id.to_owned())),
            "agent" => Some(Self::Agent(id.to_owned())),
            "session" => id.parse().ok().map(Self::Session),
            "run" => id.parse().ok().map(Self::Run),
            _ => None,
        }
    }
}

/// Amounts in the ledger's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Input and output tokens.
    pub tokens: u64,
    /// Micro-dollars.
    pub cost_usd_micros: u64,
    /// Milliseconds of model calls and tools.
    pub time_ms: u64,
}

impl Amounts {
    /// Sum, unit by unit.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// Difference, unit by unit, never below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    /// True when every unit is zero.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            tokens: f(self.tokens, other.tokens),
            cost_usd_micros: f(self.cost_usd_micros, other.cost_usd_micros),
            time_ms: f(self.time_ms, other.time_ms),
        }
    }
}

/// Limits in the ledger's units; absent means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Input and output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Micro-dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd_micros: Option<u64>,
    /// Milliseconds of model calls and tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
}

impl Limits {
    /// True when nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// What is left of each unit after `used`; absent means unlimited.
    pub fn left(&self, used: Amounts) -> Self {
        let left = |limit: Option<u64>, used| limit.map(|limit| limit.saturating_sub(used));
        Self {
            tokens: left(self.tokens, used.tokens),
            cost_usd_micros: left(self.cost_usd_micros, used.cost_usd_micros),
            time_ms: left(self.time_ms, used.time_ms),
        }
    }
}

#[cfg(test)]
mod tests;
