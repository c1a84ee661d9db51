//! The ledger: one per tenant. Limits, reservations and spend by scope and window; a reservation is
//! a fact before a token is spent, and it holds in all of its scopes or in none.
//!
//! A counter in a database (or in NATS) was the alternative: it is faster for one scope, but cannot
//! hold several scopes at once, does not say who holds what, and cannot be replayed.

mod account;
mod amounts;
mod ask;
mod event;
mod fit;
mod hold;
mod limits;
mod line;
mod reserve;
mod settle;
mod snapshot;
mod state;
mod window;

pub use account::{Account, AccountKey, OnExhausted, Thresholds};
pub use amounts::{Amounts, Limits, Unit};
pub use ask::{Ask, Cheaper, OwnLimits, Refusal, RunStep, Shortage};
pub use event::{
    BudgetOverrun, BudgetReserved, BudgetSettled, LedgerEvent, LimitsSet, ReservationExpired,
    ReservationParked, ReservationRefused, ReservationRequeued, ReservationWithdrawn, RunReleased,
    ThresholdReached,
};
pub use hold::{hold, release};
pub use limits::{grant, refuse, set_limits};
pub use line::{Answer, Waiting};
pub use reserve::{move_up, reserve};
pub use settle::{end_run, expire, settle};
pub use state::{Ledger, Reservation};
pub use window::Window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, RunId, SessionId};

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
    /// One API key.
    Key(KeyId),
    /// One agent.
    Agent(String),
    /// One conversation.
    Session(SessionId),
    /// One run and its children.
    Run(RunId),
}

impl Scope {
    /// What [`Self::kind`] gives.
    pub const KINDS: [&'static str; 6] = ["tenant", "user", "key", "agent", "session", "run"];

    /// The scope's kind, as in routes and tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User(_) => "user",
            Self::Key(_) => "key",
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
            Self::Key(id) => id.to_string(),
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
            "key" => id.parse().ok().map(Self::Key),
            "session" => id.parse().ok().map(Self::Session),
            "run" => id.parse().ok().map(Self::Run),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
