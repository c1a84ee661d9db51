//! What every measurement gives: a part of a report with figures, each with its aim and with what the
//! machine does without the platform. One shape for all of them: what is rendered, compared and kept
//! is then written once. A type for each measurement was the way before, each with a table, a JSON
//! document and a golden of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chart::Chart;
use crate::bench::stats::Quantiles;
use crate::cli::format::{bytes, count};

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// In a second.
    PerSecond,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Bytes.
    Bytes,
    /// Millions of bytes in a second.
    MbPerSecond,
    /// Things.
    Count,
    /// One figure by another.
    Ratio,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// The value or more.
    AtLeast(f64),
    /// The value or less.
    AtMost(f64),
}

/// What this machine does without the platform.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Limit {
    /// Of what.
    pub(crate) what: String,
    /// In the figure's unit.
    pub(crate) value: f64,
}

/// One value that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// Of what.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: Unit,
    /// What is aimed at, where anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aim: Option<Aim>,
    /// What bounds it here, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<Limit>,
}

/// What one measurement found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Part {
    /// The measurement, as on the command line.
    pub(crate) name: &'static str,
    /// What was measured, and how.
    pub(crate) about: String,
    /// What it found.
    pub(crate) figures: Vec<Figure>,
    /// How figures depend on something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) charts: Vec<Chart>,
    /// Why there are no (further) figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

impl Unit {
    /// A value with its unit, with the digits that mean something.
    pub(crate) fn show(self, value: f64) -> String {
        let whole = |value: f64| value.round().max(0.0) as u64;
        match self {
            Self::PerSecond | Self::Count if value < 10.0 && value.fract() != 0.0 => {
                format!("{value:.1}")
            }
            Self::PerSecond | Self::Count => count(whole(value)),
            Self::Ms => format!("{} ms", digits(value)),
            Self::Us => format!("{} µs", digits(value)),
            Self::Bytes => bytes(whole(value)),
            Self::MbPerSecond => format!("{} MB/s", digits(value)),
            Self::Ratio => format!("{value:.2}"),
        }
    }

    /// For an axis.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::PerSecond => "a second",
            Self::Ms => "ms",
            Self::Us => "µs",
            Self::Bytes => "bytes",
            Self::MbPerSecond => "MB/s",
            Self::Count => "",
            Self::Ratio => "ratio",
        }
    }
}

fn digits(value: f64) -> String {
    let decimals = match value {
        ..0.1 => 3,
        0.1..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

impl Aim {
    /// Whether a value is as good as that.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    /// The bound itself.
    pub(crate) fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    /// For people.
    pub(crate) fn show(self, unit: Unit) -> String {
        let sign = match self {
            Self::AtLeast(_) => '≥',
            Self::AtMost(_) => '≤',
        };
        format!("{sign} {}", unit.show(self.bound()))
    }
}

impl Figure {
    /// A figure without aim or limit.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            aim: None,
            limit: None,
        }
    }

    /// With this aim.
    pub(crate) fn at_least(mut self, bound: f64) -> Self {
        self.aim = Some(Aim::AtLeast(bound));
        self
    }

    /// With this aim.
    pub(crate) fn at_most(mut self, bound: f64) -> Self {
        self.aim = Some(Aim::AtMost(bound));
        self
    }

    /// With what the machine does without the platform.
    pub(crate) fn beside(mut self, what: impl Into<String>, value: f64) -> Self {
        self.limit = Some(Limit {
            what: what.into(),
            value,
        });
        self
    }

    /// Whether it is as good as its aim, where it has one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.aim.map(|aim| aim.is_met(self.value))
    }

    /// What it is compared with, for people.
    pub(crate) fn limit_text(&self) -> String {
        let text = |limit: &Limit| format!("{} {}", self.unit.show(limit.value), limit.what);
        self.limit.as_ref().map(text).unwrap_or_default()
    }
}

impl Part {
    /// Without figures yet.
    pub(crate) fn new(name: &'static str, about: impl Into<String>) -> Self {
        Self {
            name,
            about: about.into(),
            figures: vec![],
            charts: vec![],
            failure: None,
        }
    }

    /// One more figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// One more figure without aim or limit.
    pub(crate) fn plain(&mut self, name: impl Into<String>, value: f64, unit: Unit) {
        self.add(Figure::new(name, value, unit));
    }

    /// Median and 99th percentile of times, where there are any, with the aims for both.
    pub(crate) fn times(&mut self, name: &str, times: Option<Quantiles>, aims: [Option<f64>; 2]) {
        let Some(times) = times else { return };
        let [median, most] = aims;
        for (which, us, aim) in [("p50", times.p50_us, median), ("p99", times.p99_us, most)] {
            let figure = Figure::new(format!("{name}, {which}"), ms(us), Unit::Ms);
            self.add(match aim {
                Some(aim) => figure.at_most(aim),
                None => figure,
            });
        }
    }

    /// CPU time of one thing, by program.
    pub(crate) fn cpu(&mut self, of: &str, us: &BTreeMap<String, f64>) {
        for (program, us) in us {
            self.plain(format!("CPU {of}: {program}"), us / 1000.0, Unit::Ms);
        }
    }

    /// Memory, by program.
    pub(crate) fn memory(&mut self, bytes: &BTreeMap<String, u64>) {
        for (program, bytes) in bytes {
            self.plain(format!("memory: {program}"), *bytes as f64, Unit::Bytes);
        }
    }
}

/// Microseconds as milliseconds.
pub(crate) fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn values_are_shown_with_the_digits_that_mean_something() {
        for (unit, value, shown) in [
            (Unit::PerSecond, 15_000.4, "15,000"),
            (Unit::Count, 3.96, "4.0"),
            (Unit::Count, 4.0, "4"),
            (Unit::Ms, 0.018, "0.018 ms"),
            (Unit::Ms, 2.468, "2.47 ms"),
            (Unit::Ms, 1234.0, "1234 ms"),
            (Unit::Us, 14.32, "14.3 µs"),
            (Unit::Bytes, 5734.0, "5.5 KiB"),
            (Unit::MbPerSecond, 203.2, "203 MB/s"),
            (Unit::Ratio, 1.049, "1.05"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }

    #[test]
    fn an_aim_is_met_or_not() {
        let rate = Figure::new("x", 9.0, Unit::PerSecond);
        assert_eq!(rate.is_met(), None);
        assert_eq!(rate.clone().at_least(9.0).is_met(), Some(true));
        assert_eq!(rate.clone().at_least(10.0).is_met(), Some(false));
        assert_eq!(rate.at_most(8.0).is_met(), Some(false));
        assert_eq!(Aim::AtLeast(1500.0).show(Unit::PerSecond), "≥ 1,500");
        assert_eq!(Aim::AtMost(8.0).show(Unit::Ms), "≤ 8.00 ms");
    }

    #[test]
    fn times_are_two_figures_with_their_aims() {
        let mut part = Part::new("x", "");
        part.times("y", None, [None, None]);
        assert!(part.figures.is_empty());
        let times = Quantiles {
            n: 2,
            p50_us: 1_500,
            p95_us: 2_000,
            p99_us: 2_500,
            max_us: 2_500,
            mean_us: 1_700,
        };
        part.times("y", Some(times), [Some(1.0), None]);
        let names: Vec<_> = part
            .figures
            .iter()
            .map(|f| (f.name.as_str(), f.value))
            .collect();
        assert_eq!(names, [("y, p50", 1.5), ("y, p99", 2.5)]);
        assert_eq!(part.figures.first().unwrap().is_met(), Some(false));
    }

    #[test]
    fn the_json_says_what_it_counts() {
        let figure = Figure::new("runs", 1.5, Unit::PerSecond)
            .at_least(2.0)
            .beside("alone", 3.0);
        let json = serde_json::to_value(figure).unwrap();
        let expected = serde_json::json!({
            "name": "runs", "value": 1.5, "unit": "per_second",
            "aim": { "at_least": 2.0 }, "limit": { "what": "alone", "value": 3.0 },
        });
        assert_eq!(json, expected);
    }
}
