//! Windows of time in which limits count: UTC, reset at the boundary.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A window.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// For ever.
    #[default]
    Lifetime,
    /// The clock hour.
    Hour,
    /// The calendar day.
    Day,
    /// The calendar month.
    Month,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lifetime, Self::Hour, Self::Day, Self::Month];

    /// The window's number at a moment: it changes at the boundary and only there.
    pub fn number(self, at: Timestamp) -> i64 {
        const HOUR_MS: i64 = 3_600_000;
        match self {
            Self::Lifetime => 0,
            Self::Hour => at.as_millis().div_euclid(HOUR_MS),
            Self::Day => at.as_millis().div_euclid(24 * HOUR_MS),
            Self::Month => {
                let date = at.to_datetime();
                i64::from(date.year()) * 12 + i64::from(u8::from(date.month()))
            }
        }
    }

    /// As in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn windows_change_at_their_boundary() {
        let before = Timestamp::parse_rfc3339("2026-11-30T23:59:59.999Z").unwrap();
        let after = before.plus_millis(1);
        for window in [Window::Hour, Window::Day, Window::Month] {
            assert_eq!(
                window.number(after),
                window.number(before) + 1,
                "{window:?}"
            );
        }
        assert_eq!(
            Window::Lifetime.number(after),
            Window::Lifetime.number(before)
        );
    }
}
