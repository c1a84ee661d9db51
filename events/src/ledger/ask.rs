//! What somebody wants the ledger to hold, and what is said when it does not fit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountKey, Amounts, Limits, OnExhausted, Scope, Unit, Window};
use crate::catalog::Price;
use crate::command::RunRef;
use crate::ids::ReservationId;

/// What a model call, a tool call or somebody outside wants to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ask {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The run's step that will spend; none for somebody outside, who cannot be made to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<RunStep>,
    /// Every scope that it counts in.
    pub scopes: Vec<Scope>,
    /// Limits that come with the run, its session and its parents, set where the ledger has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_limits: Vec<OwnLimits>,
    /// The model, for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Bound on the prompt's tokens.
    pub input_tokens: u64,
    /// Tokens that the answer may have, if budget allows.
    pub max_output_tokens: u64,
    /// Fewer than this many are not worth a call.
    pub min_output_tokens: u64,
    /// Time that it may take in milliseconds, if budget allows.
    pub time_ms: u64,
    /// Less than this is not worth a call.
    pub min_time_ms: u64,
    /// Micro-dollars beside what tokens cost.
    #[serde(default)]
    pub extra_cost_usd_micros: u64,
    /// Tools that it calls.
    #[serde(default)]
    pub tool_calls: u64,
    /// What tokens cost.
    pub price: Price,
    /// Cheaper models that may be taken instead, dearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cheaper: Vec<Cheaper>,
    /// How long the reservation may be held.
    pub hold_ms: u64,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStep {
    /// The run.
    pub run: RunRef,
    /// Its turn.
    pub turn: u32,
    /// The tool call within the turn; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// A budget that a run brings with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnLimits {
    /// Whose.
    pub scope: Scope,
    /// The limits, for a lifetime.
    pub limits: Limits,
    /// What happens when it has too little.
    #[serde(default, skip_serializing_if = "OnExhausted::is_default")]
    pub on_exhausted: OnExhausted,
}

impl OwnLimits {
    /// The account that they are for.
    pub(super) fn key(&self) -> AccountKey {
        AccountKey {
            scope: self.scope.clone(),
            window: Window::Lifetime,
        }
    }
}

/// A cheaper model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cheaper {
    /// Its name.
    pub model: String,
    /// What it costs.
    pub price: Price,
    /// Tokens that its answer may have.
    pub max_output_tokens: u64,
}

impl Ask {
    /// What these tokens of answer make the whole call hold.
    pub(super) fn amounts(&self, output_tokens: u64, time_ms: u64) -> Amounts {
        let tokens_cost = (self.price).most_usd_micros(self.input_tokens, output_tokens);
        Amounts {
            tokens: self.input_tokens.saturating_add(output_tokens),
            cost_usd_micros: tokens_cost.saturating_add(self.extra_cost_usd_micros),
            time_ms,
            tool_calls: self.tool_calls,
            runs: 0,
        }
    }

    /// The least that is worth a call.
    pub(super) fn least(&self) -> Amounts {
        let output = self.min_output_tokens.min(self.max_output_tokens);
        self.amounts(output, self.min_time_ms.min(self.time_ms))
    }

    /// How many tokens of answer this much money buys after the rest is paid.
    pub(super) fn affordable_output(&self, cost_usd_micros: u64) -> u64 {
        let money = cost_usd_micros.saturating_sub(self.extra_cost_usd_micros);
        self.price.affordable_output(self.input_tokens, money)
    }

    /// The same with another model.
    pub(super) fn with(&self, cheaper: &Cheaper) -> Self {
        Self {
            model: Some(cheaper.model.clone()),
            price: cheaper.price,
            max_output_tokens: self.max_output_tokens.min(cheaper.max_output_tokens),
            ..self.clone()
        }
    }
}

/// An account that has too little, with the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shortage {
    /// The scope that has too little.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// Of what.
    pub unit: Unit,
    /// The limit.
    pub limit: u64,
    /// What was spent.
    pub spent: u64,
    /// What is held.
    pub reserved: u64,
    /// The least that the call needs.
    pub needed: u64,
    /// What the account does then.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
}

impl Shortage {
    /// The account.
    pub fn key(&self) -> AccountKey {
        AccountKey {
            scope: self.scope.clone(),
            window: self.window,
        }
    }

    /// What is missing.
    pub fn missing(&self) -> u64 {
        let used = self.spent.saturating_add(self.reserved);
        used.saturating_add(self.needed).saturating_sub(self.limit)
    }
}

/// Why a reservation was refused, and what the run may do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The figures.
    pub shortage: Shortage,
    /// A cheaper model that would fit; the run fails where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade_to: Option<String>,
    /// What a person said who refused more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Shortage> for Refusal {
    fn from(shortage: Shortage) -> Self {
        Self {
            shortage,
            downgrade_to: None,
            reason: None,
        }
    }
}

impl Refusal {
    /// The figures and what to do, for people.
    pub fn describe(&self) -> String {
        let Shortage {
            scope,
            unit,
            limit,
            spent,
            reserved,
            needed,
            ..
        } = &self.shortage;
        let of = match scope.id() {
            id if id.is_empty() => scope.kind().to_owned(),
            id => format!("{} {id}", scope.kind()),
        };
        let left = limit.saturating_sub(spent.saturating_add(*reserved));
        let figures = format!(
            "it needs at least {needed} {}, and the {of} has {left} left: \
             limit {limit}, spent {spent}, reserved {reserved}",
            unit.as_str()
        );
        match (&self.reason, unit) {
            (Some(reason), _) => format!("{figures}; more was refused: {reason}"),
            (None, Unit::Runs) => format!("{figures}; raise the limit or wait for a run to end"),
            (None, _) => format!("{figures}; raise the limit or wait for what is reserved"),
        }
    }
}
