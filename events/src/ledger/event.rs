//! What the ledger records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amounts, Limits, Scope, Window};
use crate::aggregate::events;
use crate::envelope::Actor;
use crate::ids::{ReservationId, RunId};
use crate::time::Timestamp;

events! {
    /// What the ledger records.
    LedgerEvent {
        /// A scope got limits.
        LimitsSet(LimitsSet) = "nexus.ledger.limits-set.v1",
        /// A call may spend this much.
        BudgetReserved(BudgetReserved) = "nexus.ledger.budget-reserved.v1",
        /// A call spent this much; the rest went back.
        BudgetSettled(BudgetSettled) = "nexus.ledger.budget-settled.v1",
        /// A provider reported more than was reserved.
        BudgetOverrun(BudgetOverrun) = "nexus.ledger.budget-overrun.v1",
        /// Nobody settled in time; what was held went back.
        ReservationExpired(ReservationExpired) = "nexus.ledger.reservation-expired.v1",
    }
}

/// A scope got limits. They count what is spent from here on, and what is reserved now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsSet {
    /// Whose.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// The limits.
    pub limits: Limits,
    /// What they were, where the scope had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Limits>,
    /// Who set them: a commit of many commands has no single actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

impl LedgerEvent {
    /// The event with who asked for it, where it is one that people ask for. Whoever names nobody
    /// acts as the bus's own user.
    #[must_use]
    pub fn asked_by(mut self, actor: &Actor) -> Self {
        if let Self::LimitsSet(set) = &mut self {
            let mut by = actor.clone();
            if by.user.is_empty() {
                by.user = "bus".to_owned();
            }
            set.by = Some(by);
        }
        self
    }
}

/// A call may spend this much: it holds in all of its scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetReserved {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who will spend.
    pub run_id: RunId,
    /// In which turn.
    pub turn: u32,
    /// Every scope that it counts in.
    pub scopes: Vec<Scope>,
    /// What is held.
    pub amounts: Amounts,
    /// Bound on the prompt's tokens.
    pub input_tokens: u64,
    /// Tokens that the answer may have: what was asked for, or what was left.
    pub max_output_tokens: u64,
    /// When it goes back by itself.
    pub expires_at: Timestamp,
}

/// A call spent this much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetSettled {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who spent.
    pub run_id: RunId,
    /// What was spent.
    pub spent: Amounts,
    /// The reservation had expired: nothing was held for it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// A provider reported more than was reserved. It is spent all the same, and blocks the next
/// reservation where it leaves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetOverrun {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who spent.
    pub run_id: RunId,
    /// What was spent beyond what was held.
    pub excess: Amounts,
}

/// Nobody settled in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationExpired {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who held it.
    pub run_id: RunId,
    /// What went back.
    pub amounts: Amounts,
}
