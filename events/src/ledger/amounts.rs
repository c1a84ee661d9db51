//! What is counted: five units, of which each scope may limit any.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A unit that is counted and can be limited.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Input and output tokens.
    Tokens,
    /// Micro-dollars.
    CostUsdMicros,
    /// Milliseconds of model calls and tools.
    TimeMs,
    /// Tools that were called.
    ToolCalls,
    /// Runs in flight: held while a run goes on, never spent.
    Runs,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Tokens,
        Self::CostUsdMicros,
        Self::TimeMs,
        Self::ToolCalls,
        Self::Runs,
    ];

    /// As in events, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::CostUsdMicros => "cost_usd_micros",
            Self::TimeMs => "time_ms",
            Self::ToolCalls => "tool_calls",
            Self::Runs => "runs",
        }
    }
}

/// Amounts in the ledger's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Input and output tokens.
    #[serde(default)]
    pub tokens: u64,
    /// Micro-dollars.
    #[serde(default)]
    pub cost_usd_micros: u64,
    /// Milliseconds of model calls and tools.
    #[serde(default)]
    pub time_ms: u64,
    /// Tools that were called.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
    /// Runs in flight.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runs: u64,
}

fn is_zero(amount: &u64) -> bool {
    *amount == 0
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

    /// With one unit changed.
    #[must_use]
    pub fn with(mut self, unit: Unit, amount: u64) -> Self {
        let place = match unit {
            Unit::Tokens => &mut self.tokens,
            Unit::CostUsdMicros => &mut self.cost_usd_micros,
            Unit::TimeMs => &mut self.time_ms,
            Unit::ToolCalls => &mut self.tool_calls,
            Unit::Runs => &mut self.runs,
        };
        *place = amount;
        self
    }

    /// One unit's amount.
    pub fn get(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::CostUsdMicros => self.cost_usd_micros,
            Unit::TimeMs => self.time_ms,
            Unit::ToolCalls => self.tool_calls,
            Unit::Runs => self.runs,
        }
    }

    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            tokens: f(self.tokens, other.tokens),
            cost_usd_micros: f(self.cost_usd_micros, other.cost_usd_micros),
            time_ms: f(self.time_ms, other.time_ms),
            tool_calls: f(self.tool_calls, other.tool_calls),
            runs: f(self.runs, other.runs),
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
    /// Tools that may be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Runs that may be in flight at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
}

impl Limits {
    /// True when nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// One unit's limit.
    pub fn get(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::CostUsdMicros => self.cost_usd_micros,
            Unit::TimeMs => self.time_ms,
            Unit::ToolCalls => self.tool_calls,
            Unit::Runs => self.runs,
        }
    }

    /// All of what is limited.
    pub(super) fn all(&self) -> Amounts {
        let with = |sum: Amounts, unit| sum.with(unit, self.get(unit).unwrap_or_default());
        Unit::ALL.into_iter().fold(Amounts::default(), with)
    }

    /// What is left of each unit after `used`; absent means unlimited.
    #[must_use]
    pub fn left(&self, used: Amounts) -> Self {
        self.map(|unit, limit| limit.saturating_sub(used.get(unit)))
    }

    /// Each limit raised by an amount; what is unlimited stays so.
    #[must_use]
    pub fn raised(&self, by: Amounts) -> Self {
        self.map(|unit, limit| limit.saturating_add(by.get(unit)))
    }

    fn map(&self, f: impl Fn(Unit, u64) -> u64) -> Self {
        let of = |unit| self.get(unit).map(|limit| f(unit, limit));
        Self {
            tokens: of(Unit::Tokens),
            cost_usd_micros: of(Unit::CostUsdMicros),
            time_ms: of(Unit::TimeMs),
            tool_calls: of(Unit::ToolCalls),
            runs: of(Unit::Runs),
        }
    }
}
