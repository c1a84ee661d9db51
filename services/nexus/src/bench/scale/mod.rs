//! `nexus bench scaling`: whether what a run costs depends on what it should not depend on: how many
//! processes share the work, how many sessions there are, how long a conversation is already, and how
//! many runs wait.

mod parked;
mod sessions;
mod split;
mod turns;

use std::time::Duration;

use super::error::BenchError;
use super::report::{Chart, Part, Series, Unit};

/// Processes, sessions, turns, parked runs: what a run costs with one and with many
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScalingArgs {
    /// Seconds of each phase with as many runs as go
    #[arg(long, value_name = "S", default_value_t = 8)]
    pub(super) seconds: u64,
    /// The most sessions
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) sessions: u32,
    /// Runs that are timed beside each number of sessions
    #[arg(long, value_name = "N", default_value_t = 800, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) runs: u16,
    /// The most turns of a conversation
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(20..=10_000))]
    pub(super) turns: u32,
    /// Runs that wait for budget
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) parked: u32,
    /// 100,000 sessions, 1,000 turns, 100,000 parked runs
    #[arg(long, conflicts_with_all = ["sessions", "turns", "parked"])]
    pub(super) full: bool,
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &ScalingArgs) -> Result<Part, BenchError> {
    let mut args = args.clone();
    if args.full {
        (args.sessions, args.turns, args.parked) = (100_000, 1_000, 100_000);
    }
    let about =
        "What a run costs, by processes, by sessions, by turns before it, by runs that wait.";
    let mut part = Part::new("scaling", about);
    let work = async {
        split::measure(Duration::from_secs(args.seconds.max(1)), &mut part).await?;
        sessions::measure(args.sessions, usize::from(args.runs), &mut part).await?;
        turns::measure(args.turns, &mut part).await?;
        parked::measure(args.parked, &mut part).await
    };
    tokio::select! {
        done = work => done?,
        _ = tokio::signal::ctrl_c() => return Err(BenchError::Stopped),
    }
    Ok(part)
}

/// A chart of lines that grow point by point.
struct Lines(Chart);

impl Lines {
    fn new(title: &str, x: &str, unit: Unit, names: &[&str]) -> Self {
        let line = |name: &&str| Series {
            name: (*name).to_owned(),
            points: vec![],
        };
        Self(Chart {
            title: title.to_owned(),
            x: x.to_owned(),
            unit,
            log_x: true,
            series: names.iter().map(line).collect(),
        })
    }

    /// A point of each line, in their order.
    fn add(&mut self, x: f64, values: &[f64]) {
        for (line, value) in self.0.series.iter_mut().zip(values) {
            line.points.push((x, *value));
        }
    }
}

/// 1, 10, 100 and so on up to a number, and that.
fn decades(most: u32) -> Vec<u32> {
    let powers = (0..7).map(|power| 10_u32.pow(power));
    powers.take_while(|n| *n < most).chain([most]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_end_where_they_are_told() {
        assert_eq!(decades(1), [1]);
        assert_eq!(decades(300), [1, 10, 100, 300]);
        assert_eq!(decades(1_000), [1, 10, 100, 1_000]);
    }
}
