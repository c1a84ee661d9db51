//! What the ledger records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ask::{Ask, Refusal, Shortage};
use super::{Amounts, Limits, OnExhausted, Scope, Thresholds, Unit, Window};
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
        /// Spending reached a part of a limit that is worth a word.
        ThresholdReached(ThresholdReached) = "nexus.ledger.threshold-reached.v1",
        /// Nobody settled in time; what was held went back.
        ReservationExpired(ReservationExpired) = "nexus.ledger.reservation-expired.v1",
        /// A call waits until budget returns, or until a person grants more.
        ReservationParked(Box<ReservationParked>) = "nexus.ledger.reservation-parked.v1",
        /// What it waited for is there, and now something else is missing.
        ReservationRequeued(ReservationRequeued) = "nexus.ledger.reservation-requeued.v1",
        /// A call that waited gets nothing.
        ReservationRefused(ReservationRefused) = "nexus.ledger.reservation-refused.v1",
        /// Nobody waits for it any more.
        ReservationWithdrawn(ReservationWithdrawn) = "nexus.ledger.reservation-withdrawn.v1",
        /// A run ended that held nothing but its place among the runs in flight.
        RunReleased(RunReleased) = "nexus.ledger.run-released.v1",
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
    /// What happens when it has too little.
    #[serde(default, skip_serializing_if = "OnExhausted::is_default")]
    pub on_exhausted: OnExhausted,
    /// Percentages of a limit at which spending is worth a word.
    #[serde(default, skip_serializing_if = "Thresholds::is_default")]
    pub thresholds: Thresholds,
    /// The run that brought them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_by: Option<RunId>,
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
        let by = match &mut self {
            Self::LimitsSet(set) if set.brought_by.is_none() => &mut set.by,
            Self::ReservationRefused(refused) if refused.by.is_some() => &mut refused.by,
            _ => return self,
        };
        let mut actor = actor.clone();
        if actor.user.is_empty() {
            actor.user = "bus".to_owned();
        }
        *by = Some(actor);
        self
    }
}

/// A call may spend this much: it holds in all of its scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetReserved {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who will spend; none for somebody outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// In which turn.
    #[serde(default)]
    pub turn: u32,
    /// For which tool call; for the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
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
    /// The run's first: from here on it is one of the runs in flight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opens_run: bool,
}

/// A call spent this much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetSettled {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// What was spent.
    pub spent: Amounts,
    /// The reservation had expired: nothing was held for it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The run ended and is no longer in flight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_run: bool,
}

/// A provider reported more than was reserved. It is spent all the same, and blocks the next
/// reservation where it leaves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetOverrun {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// What was spent beyond what was held.
    pub excess: Amounts,
}

/// Spending reached a part of a limit: once a window, and again after the limit was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdReached {
    /// Whose.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// Of what.
    pub unit: Unit,
    /// The part of the limit, in percent.
    pub percent: u8,
    /// The limit.
    pub limit: u64,
    /// What was spent.
    pub spent: u64,
}

/// Nobody settled in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationExpired {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Who held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// What went back.
    pub amounts: Amounts,
}

/// A call waits. It keeps its place while others that need the same come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationParked {
    /// What it wants.
    pub ask: Ask,
    /// What it waits for.
    pub shortage: Shortage,
}

/// What it waited for is there, and now something else is missing; it keeps its rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationRequeued {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// What it waits for now.
    pub shortage: Shortage,
}

/// A call that waited gets nothing: a person said so, or it came to need what a limit rejects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationRefused {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The run that waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Why.
    pub refusal: Refusal,
    /// Who said so; none where a limit did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

/// Nobody waits for it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationWithdrawn {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The run that waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The run ended and is no longer in flight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_run: bool,
}

/// A run ended that held nothing but its place among the runs in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunReleased {
    /// The run.
    pub run_id: RunId,
}
