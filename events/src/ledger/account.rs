//! One scope in one window: what it may spend, what it did, and what happens when it has too little.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amounts, Limits, Scope, Unit, Window};
use crate::time::Timestamp;

/// What happens to a step that does not fit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// The run fails, with the figures.
    #[default]
    Reject,
    /// The run waits its turn and goes on when budget returns. Nobody overtakes it.
    Park,
    /// The agent's next cheaper model is taken; where there is none, the run fails.
    Downgrade,
    /// The run waits until a person grants more, or refuses. Others may overtake it.
    Approve,
}

impl OnExhausted {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reject, Self::Park, Self::Downgrade, Self::Approve];

    /// As in tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Park => "park",
            Self::Downgrade => "downgrade",
            Self::Approve => "approve",
        }
    }

    /// True for the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Percentages of a limit at which spending is worth a word: ascending, four at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
#[schemars(with = "Vec<u8>")]
pub struct Thresholds([u8; 4]);

impl Default for Thresholds {
    fn default() -> Self {
        Self([80, 95, 0, 0])
    }
}

impl Thresholds {
    /// True for 80 and 95.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The percentages.
    pub fn percents(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().copied().filter(|percent| *percent > 0)
    }

    /// The highest one that this much of a limit reaches.
    fn reached(&self, spent: u64, limit: u64) -> Option<u8> {
        let reaches =
            |percent: &u8| u128::from(spent) * 100 >= u128::from(limit) * u128::from(*percent);
        self.percents().filter(reaches).max()
    }
}

impl TryFrom<Vec<u8>> for Thresholds {
    type Error = &'static str;

    fn try_from(mut percents: Vec<u8>) -> Result<Self, Self::Error> {
        percents.sort_unstable();
        percents.dedup();
        if percents.len() > 4 || percents.iter().any(|percent| !(1..=100).contains(percent)) {
            return Err("thresholds are at most four percentages from 1 to 100");
        }
        let mut all = [0; 4];
        for (place, percent) in all.iter_mut().zip(percents) {
            *place = percent;
        }
        Ok(Self(all))
    }
}

impl From<Thresholds> for Vec<u8> {
    fn from(thresholds: Thresholds) -> Self {
        thresholds.percents().collect()
    }
}

/// A scope in a window.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct AccountKey {
    /// Whose.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
}

/// What a scope may spend in a window, and what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The limits.
    pub limits: Limits,
    /// What happens when it has too little.
    pub on_exhausted: OnExhausted,
    /// When spending is worth a word.
    pub thresholds: Thresholds,
    /// What is held.
    pub reserved: Amounts,
    /// What was spent in the window.
    pub spent: Amounts,
    /// The window's number; spend of an earlier one no longer counts.
    pub window_number: i64,
    /// The highest threshold of each unit that was told in the window.
    pub told: Amounts,
    /// The run that it belongs to has ended: it goes when nothing is held in it any more.
    pub ended: bool,
}

impl Account {
    /// As it stands at `now`: a window that has passed took its spend with it. A clock that goes
    /// back never reopens a window.
    #[must_use]
    pub fn at(mut self, window: Window, now: Timestamp) -> Self {
        let number = window.number(now);
        if number > self.window_number {
            self.window_number = number;
            self.spent = Amounts::default();
            self.told = Amounts::default();
        }
        self
    }

    /// What counts against the limits.
    pub fn used(&self) -> Amounts {
        self.spent.plus(self.reserved)
    }

    /// Thresholds that the spending has reached and nobody was told of: unit and percentage.
    pub fn thresholds_to_tell(&self) -> impl Iterator<Item = (Unit, u8)> + '_ {
        Unit::ALL.into_iter().filter_map(|unit| {
            let (limit, spent) = (self.limits.get(unit)?, self.spent.get(unit));
            let reached = self
                .thresholds
                .reached(spent, limit)
                .filter(|_| spent > 0)?;
            (u64::from(reached) > self.told.get(unit)).then_some((unit, reached))
        })
    }
}
