//! What `nexus bench budget` found, and the figures that it makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::runs::LOAD_GENERATOR;
use super::{Figure, Part, Unit, ms};
use crate::bench::budget::Used;
use crate::bench::stats::{Quantiles, Samples};

/// What `nexus bench budget` found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BudgetReport {
    /// Messages of 256 bytes that the bus alone stores and acknowledges in a second.
    pub(crate) bare_publishes_per_second: f64,
    /// One ledger at a given rate.
    pub(crate) steady: Rate,
    /// One ledger, as many as go.
    pub(crate) hot: Rate,
    /// Ledgers of the last phase.
    pub(crate) ledgers: usize,
    /// All of them, as many as go.
    pub(crate) many: Rate,
    /// The hot ledger in a process that has never seen it.
    pub(crate) cold: Cold,
    /// Memory at the end, in bytes by program.
    pub(crate) memory_bytes: BTreeMap<String, u64>,
}

/// Reservations of one phase. Each is held, answered and released: two commands, two events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rate {
    /// In flight at a time; zero where the rate was given.
    pub(crate) in_flight: usize,
    /// Reservations that were counted.
    pub(crate) reservations: usize,
    /// In a second.
    pub(crate) per_second: f64,
    /// From asking to the answer.
    pub(crate) held: Option<Quantiles>,
    /// CPU time of a reservation, in microseconds by program; the load generator stands apart.
    pub(crate) cpu_us: BTreeMap<String, f64>,
}

/// A ledger that nobody has in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cold {
    /// Reservations that it has had.
    pub(crate) reservations: u64,
    /// Until its state was there, in microseconds.
    pub(crate) took_us: u64,
}

impl Rate {
    /// From the times of a phase.
    pub(crate) fn of(in_flight: usize, times: &Samples, length: Duration, cpu: &Used) -> Self {
        let each = |cpu: &Duration| cpu.as_secs_f64() * 1e6 / times.len().max(1) as f64;
        Self {
            in_flight,
            reservations: times.len(),
            per_second: times.len() as f64 / length.as_secs_f64().max(f64::EPSILON),
            held: times.quantiles(),
            cpu_us: cpu
                .iter()
                .map(|(name, cpu)| (name.clone(), each(cpu)))
                .collect(),
        }
    }

    fn platform_cpu_us(&self) -> f64 {
        let platform = self
            .cpu_us
            .iter()
            .filter(|(name, _)| *name != LOAD_GENERATOR);
        platform.map(|(_, us)| us).sum()
    }
}

impl BudgetReport {
    /// As figures.
    pub(crate) fn part(&self) -> Part {
        let about = "Reservations, each held, answered and released: two commands, two events.";
        let mut part = Part::new("budget", about);
        let rate = self.steady.per_second;
        let steady = format!("held at {rate:.0} a second, one ledger");
        part.times(&steady, self.steady.held, [Some(2.0), None]);
        let many = format!("{} ledgers", self.ledgers);
        for (ledgers, rate, aim) in [
            ("one ledger", &self.hot, 20_000.0),
            (many.as_str(), &self.many, 10_000.0),
        ] {
            let name = format!(
                "reservations a second, {} in flight, {ledgers}",
                rate.in_flight
            );
            part.add(
                Figure::new(name, rate.per_second, Unit::PerSecond)
                    .at_least(aim)
                    .beside("messages of the bare bus", self.bare_publishes_per_second),
            );
            part.times(&format!("held, {ledgers}"), rate.held, [None, None]);
            let cpu = rate.platform_cpu_us() / 1000.0;
            part.plain(format!("CPU a reservation, {ledgers}"), cpu, Unit::Ms);
        }
        let cold = format!("cold start after {} reservations", self.cold.reservations);
        part.add(Figure::new(cold, ms(self.cold.took_us), Unit::Ms).at_most(1_000.0));
        part.memory(&self.memory_bytes);
        part
    }
}
