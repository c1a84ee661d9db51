//! What `nexus bench runs` found, and the figures that it makes of it.

use std::collections::BTreeMap;

use super::{Figure, Part, Unit, ms};
use crate::bench::stats::Quantiles;

/// What `nexus bench runs` found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunsReport {
    /// `bus` or `http`.
    pub(crate) via: &'static str,
    /// Tenants that the runs are spread over, each with a ledger.
    pub(crate) tenants: usize,
    /// Whether the platform was started for this and its model answers at once.
    pub(crate) own_platform: bool,
    /// A model call without the platform.
    pub(crate) direct_call: Option<Quantiles>,
    /// Runs one at a time.
    pub(crate) alone: Alone,
    /// As many runs as go.
    pub(crate) saturated: Saturated,
    /// Messages of 256 bytes that the bus alone stores and acknowledges in a second.
    pub(crate) bare_publishes_per_second: f64,
    /// Memory at the end, in bytes by program.
    pub(crate) memory_bytes: BTreeMap<String, u64>,
    /// What a run leaves behind.
    pub(crate) per_run: PerRun,
}

/// Runs one at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alone {
    /// From asking for a run to hearing of its end.
    pub(crate) run: Option<Quantiles>,
    /// The same less a direct model call: the platform's own time.
    pub(crate) overhead: Option<Quantiles>,
    /// From the run's first commit to the one with the answer, less a direct call: policy,
    /// reservation and call.
    pub(crate) model_call_added: Option<Quantiles>,
    /// From the run's first commit to the first piece of the answer, less a direct first piece.
    pub(crate) first_piece_added: Option<Quantiles>,
    /// From hearing of the end to its being visible in Postgres.
    pub(crate) projection_delay: Option<Quantiles>,
}

/// As many runs as go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saturated {
    /// Runs in flight.
    pub(crate) in_flight: usize,
    /// How long was measured, in milliseconds, after the warm-up.
    pub(crate) window_ms: u64,
    /// Runs that ended in it.
    pub(crate) runs: usize,
    /// In a second.
    pub(crate) runs_per_second: f64,
    /// From asking for a run to hearing of its end.
    pub(crate) run: Option<Quantiles>,
    /// From hearing of the end to its being visible in Postgres.
    pub(crate) projection_delay: Option<Quantiles>,
    /// The most commits that the read models were behind.
    pub(crate) most_commits_behind: u64,
    /// From the last run's end until no command was left and everything was projected.
    pub(crate) drained_after_ms: u64,
    /// CPU time of a run, in microseconds by program; the load generator and the model server stand
    /// apart.
    pub(crate) cpu_us_per_run: BTreeMap<String, f64>,
    /// Of the platform's programs together.
    pub(crate) cpu_us_per_run_platform: Option<f64>,
}

/// What a run leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PerRun {
    /// Runs that were counted.
    pub(crate) runs: usize,
    /// Commits in the event log.
    pub(crate) commits: f64,
    /// Bytes in the event log.
    pub(crate) log_bytes: u64,
    /// Bytes in the database, with indexes.
    pub(crate) database_bytes: u64,
    /// Bytes of the database's own log.
    pub(crate) wal_bytes: u64,
    /// Bytes that nats-server read: what came in from everybody.
    pub(crate) bus_in_bytes: u64,
    /// Bytes that nats-server wrote: what went out to everybody, and to its files.
    pub(crate) bus_out_bytes: u64,
    /// Bytes that all programs gave to the disk.
    pub(crate) disk_bytes: u64,
}

/// Names of what is not the platform in [`Saturated::cpu_us_per_run`].
pub(crate) const LOAD_GENERATOR: &str = "load generator";
/// See [`LOAD_GENERATOR`].
pub(crate) const MODEL_SERVER: &str = "model server";

impl RunsReport {
    /// As figures.
    pub(crate) fn part(&self) -> Part {
        let platform = match self.own_platform {
            true => "its own, instant model",
            false => "attached",
        };
        let about = format!(
            "Whole governed runs over {}, {} tenant(s); the platform is {platform}.",
            self.via, self.tenants
        );
        let mut part = Part::new("runs", about);
        self.add_times(&mut part);
        self.add_rates(&mut part);
        part.cpu("a run", &self.saturated.cpu_us_per_run);
        part.memory(&self.memory_bytes);
        part
    }

    fn add_times(&self, part: &mut Part) {
        let (alone, none) = (&self.alone, [None, None]);
        let call = self.direct_call;
        part.times("model call without the platform", call, none);
        part.times("run, one in flight", alone.run, none);
        part.times(
            "the platform's own time",
            alone.overhead,
            [Some(8.0), Some(20.0)],
        );
        let added = [Some(3.0), Some(10.0)];
        part.times("added to the model call", alone.model_call_added, added);
        part.times("added to its first piece", alone.first_piece_added, added);
        part.times(
            "then visible in Postgres after",
            alone.projection_delay,
            none,
        );
        let in_flight = self.saturated.in_flight;
        part.times(
            &format!("run, {in_flight} in flight"),
            self.saturated.run,
            none,
        );
        let delay = self.saturated.projection_delay;
        part.times("then visible in Postgres after, at saturation", delay, none);
    }

    fn add_rates(&self, part: &mut Part) {
        let (saturated, per_run) = (&self.saturated, &self.per_run);
        // A run is ten messages that the bus stores: its commits and its commands.
        part.add(
            Figure::new("runs a second", saturated.runs_per_second, Unit::PerSecond)
                .at_least(1_500.0)
                .beside("messages of the bare bus", self.bare_publishes_per_second),
        );
        if let Some(us) = saturated.cpu_us_per_run_platform {
            let name = "CPU a run, platform and servers";
            part.add(Figure::new(name, us / 1000.0, Unit::Ms).at_most(1.0));
        }
        let behind = saturated.most_commits_behind as f64;
        part.plain("most commits behind", behind, Unit::Count);
        let rest = saturated.drained_after_ms;
        part.plain("at rest after", ms(rest.saturating_mul(1000)), Unit::Ms);
        part.plain("commits a run", per_run.commits, Unit::Count);
        for (name, bytes) in [
            ("event log a run", per_run.log_bytes),
            ("Postgres a run", per_run.database_bytes),
            ("Postgres' own log a run", per_run.wal_bytes),
            ("read by nats-server a run", per_run.bus_in_bytes),
            (
                "written by nats-server a run, files too",
                per_run.bus_out_bytes,
            ),
            ("given to the disk a run", per_run.disk_bytes),
        ] {
            part.plain(name, bytes as f64, Unit::Bytes);
        }
    }
}
