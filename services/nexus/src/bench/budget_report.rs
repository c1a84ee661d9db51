//! What `nexus bench budget` found, as data and as text.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::budget::Used;
use super::machine::Machine;
use super::report::{LOAD_GENERATOR, UNOPTIMISED, machine_line, millis};
use super::stats::{Quantiles, Samples};
use crate::cli::format::{bytes, count};
use crate::cli::style::{Style, Tone};
use crate::cli::table::{Align, Cell, Sheet, Table};

/// What `nexus bench budget` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BudgetReport {
    /// Where.
    pub(crate) machine: Machine,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub(crate) cpu_us: BTreeMap<String, u64>,
}

/// A ledger that nobody has in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Cold {
    /// Reservations that it has had.
    pub(crate) reservations: u64,
    /// Until its state was there, in microseconds.
    pub(crate) took_us: u64,
}

impl Rate {
    /// From the times of a phase.
    pub(super) fn of(in_flight: usize, times: &Samples, length: Duration, cpu: &Used) -> Self {
        let each = |cpu: &Duration| {
            let us = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
            us / times.len().max(1) as u64
        };
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

    fn platform_cpu_us(&self) -> u64 {
        let platform = self
            .cpu_us
            .iter()
            .filter(|(name, _)| *name != LOAD_GENERATOR);
        platform.map(|(_, us)| us).sum()
    }
}

impl BudgetReport {
    /// As text.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut sheet = Sheet::default();
        sheet.line("machine", Cell::plain(machine_line(&self.machine)));
        let bare = format!(
            "{} messages a second stored and acknowledged, nobody reading",
            count(self.bare_publishes_per_second as u64)
        );
        sheet.line("bare bus", Cell::plain(bare));
        let cold = format!(
            "{} after {} reservations",
            millis(self.cold.took_us),
            count(self.cold.reservations)
        );
        sheet.line("cold start", Cell::plain(cold));
        let memory: Vec<String> = self
            .memory_bytes
            .iter()
            .map(|(name, n)| format!("{name} {}", bytes(*n)))
            .collect();
        sheet.line("memory", Cell::plain(memory.join(", ")));
        let mut out = sheet.render(style);
        out.push('\n');
        out.push_str(&self.phases().render(style));
        if !self.machine.optimised {
            out.push_str(&format!("\n{}\n", style.paint(Tone::Warn, UNOPTIMISED)));
        }
        out
    }

    fn phases(&self) -> Table {
        let right = ["A SECOND", "P50", "P95", "P99", "CPU EACH", "N"];
        let right = right.map(|title| (title, Align::Right));
        let mut table = Table::new(std::iter::once(("RESERVATIONS", Align::Left)).chain(right));
        let phases = [
            ("at a given rate, one ledger".to_owned(), &self.steady),
            (
                format!("{} in flight, one ledger", self.hot.in_flight),
                &self.hot,
            ),
            (
                format!(
                    "{} in flight, {} ledgers",
                    self.many.in_flight,
                    count(self.ledgers as u64)
                ),
                &self.many,
            ),
        ];
        for (name, rate) in phases {
            let time = |of: fn(&Quantiles) -> u64| {
                rate.held
                    .as_ref()
                    .map(|held| millis(of(held)))
                    .unwrap_or_default()
            };
            let cells = [
                name,
                count(rate.per_second as u64),
                time(|q| q.p50_us),
                time(|q| q.p95_us),
                time(|q| q.p99_us),
                millis(rate.platform_cpu_us()),
                count(rate.reservations as u64),
            ];
            table.row(cells.map(Cell::plain).to_vec());
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(in_flight: usize, per_second: u32) -> Rate {
        let times: Samples = (1..=100).map(Duration::from_millis).collect();
        let cpu = [("nexus", 10), (LOAD_GENERATOR, 500)];
        let cpu = cpu.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)));
        Rate {
            per_second: per_second.into(),
            ..Rate::of(in_flight, &times, Duration::from_secs(1), &cpu.into())
        }
    }

    #[test]
    fn the_text_is_this() {
        let report = BudgetReport {
            machine: Machine {
                cores: 2,
                cpu: "Some CPU".to_owned(),
                memory_bytes: 24 << 30,
                load_before: 0.5,
                optimised: true,
            },
            bare_publishes_per_second: 101_234.5,
            steady: rate(0, 1_000),
            hot: rate(1_024, 21_000),
            ledgers: 1_000,
            many: rate(1_024, 9_000),
            cold: Cold {
                reservations: 1_000_000,
                took_us: 95_000,
            },
            memory_bytes: [("nexus".to_owned(), 100 << 20)].into(),
        };
        let expected = "\
machine     2 cores, Some CPU, 24.0 GiB, load 0.50 before
bare bus    101,234 messages a second stored and acknowledged, nobody reading
cold start  95.0 ms after 1,000,000 reservations
memory      nexus 100.0 MiB

RESERVATIONS                   A SECOND      P50      P95      P99  CPU EACH    N
at a given rate, one ledger       1,000  50.0 ms  95.0 ms  99.0 ms   0.10 ms  100
1024 in flight, one ledger       21,000  50.0 ms  95.0 ms  99.0 ms   0.10 ms  100
1024 in flight, 1,000 ledgers     9,000  50.0 ms  95.0 ms  99.0 ms   0.10 ms  100
";
        assert_eq!(report.render(Style::PLAIN), expected);
    }
}
