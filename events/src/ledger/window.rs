//! Windows of time in which limits count: UTC, reset at the boundary.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

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
    /// The clock minute.
    Minute,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Lifetime,
        Self::Hour,
        Self::Day,
        Self::Month,
        Self::Minute,
    ];

    /// The window's number at a moment: it changes at the boundary and only there.
    pub fn number(self, at: Timestamp) -> i64 {
        match self {
            Self::Lifetime => 0,
            Self::Minute => at.as_millis().div_euclid(MINUTE_MS),
            Self::Hour => at.as_millis().div_euclid(HOUR_MS),
            Self::Day => at.as_millis().div_euclid(DAY_MS),
            Self::Month => {
                let date = at.to_datetime();
                i64::from(date.year()) * 12 + i64::from(u8::from(date.month()))
            }
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) fn place(self) -> usize {
        match self {
            Self::Lifetime => 0,
            Self::Hour => 1,
            Self::Day => 2,
            Self::Month => 3,
            Self::Minute => 4,
        }
    }

    /// When the next one begins; never for a lifetime.
    pub fn next(self, now: Timestamp) -> Option<Timestamp> {
        let after = |length: i64| (now.as_millis().div_euclid(length) + 1).saturating_mul(length);
        let at = match self {
            Self::Lifetime => return None,
            Self::Minute => after(MINUTE_MS),
            Self::Hour => after(HOUR_MS),
            Self::Day => after(DAY_MS),
            Self::Month => {
                let mut days = (0..31).map(|n| after(DAY_MS).saturating_add(n * DAY_MS));
                let is_new =
                    |day: &i64| self.number(Timestamp::from_millis(*day)) > self.number(now);
                days.find(is_new)?
            }
        };
        Some(Timestamp::from_millis(at))
    }

    /// As in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Minute => "minute",
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
        for window in [Window::Minute, Window::Hour, Window::Day, Window::Month] {
            assert_eq!(
                window.number(after),
                window.number(before) + 1,
                "{window:?}"
            );
            assert_eq!(window.next(before), Some(after), "{window:?}");
            assert!(window.next(after) > Some(after), "{window:?}");
        }
        assert_eq!(
            Window::Lifetime.number(after),
            Window::Lifetime.number(before)
        );
    }
}
