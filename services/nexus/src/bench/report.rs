//! What a measurement found, as data and as text. The shape is fixed: a field is there or it is
//! null, and a golden test holds the text.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::Machine;
use super::stats::Quantiles;
use crate::cli::format::{bytes, count};
use crate::cli::style::{Style, Tone};
use crate::cli::table::{Align, Cell, Sheet, Table};

/// What `nexus bench runs` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunsReport {
    /// Where.
    pub(crate) machine: Machine,
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
    /// Memory at the end, in bytes by program.
    pub(crate) memory_bytes: BTreeMap<String, u64>,
    /// What a run leaves behind.
    pub(crate) per_run: PerRun,
}

/// Runs one at a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub(crate) cpu_us_per_run: BTreeMap<String, u64>,
    /// Of the platform's programs together.
    pub(crate) cpu_us_per_run_platform: Option<u64>,
}

/// What a run leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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
}

/// Names of what is not the platform in [`Saturated::cpu_us_per_run`].
pub(crate) const LOAD_GENERATOR: &str = "load generator";
/// See [`LOAD_GENERATOR`].
pub(crate) const MODEL_SERVER: &str = "model server";

impl RunsReport {
    /// As text.
    pub(crate) fn render(&self, style: Style) -> String {
        let heading = |text: &str| format!("\n{}\n", style.paint(Tone::Bold, text));
        let mut out = self.setup().render(style);
        out.push_str(&heading("Times"));
        out.push_str(&self.times().render(style));
        out.push_str(&heading("At saturation"));
        out.push_str(&self.rates().render(style));
        out.push_str(&heading("By program"));
        out.push_str(&self.programs().render(style));
        if !self.machine.optimised {
            out.push_str(&format!("\n{}\n", style.paint(Tone::Warn, UNOPTIMISED)));
        }
        out
    }

    fn setup(&self) -> Sheet {
        let mut sheet = Sheet::default();
        sheet.line("machine", Cell::plain(machine_line(&self.machine)));
        let platform = if self.own_platform {
            "its own, instant model"
        } else {
            "attached"
        };
        sheet.line("platform", Cell::plain(platform));
        let how = format!("over {}, {} tenant(s)", self.via, self.tenants);
        sheet.line("runs", Cell::plain(how));
        sheet
    }

    fn times(&self) -> Table {
        let right = ["P50", "P95", "P99", "MAX", "N"].map(|title| (title, Align::Right));
        let mut table = Table::new(std::iter::once(("", Align::Left)).chain(right));
        let (alone, saturated) = (&self.alone, &self.saturated);
        let in_flight = format!("run, {} in flight", saturated.in_flight);
        let lines = [
            ("model call without the platform", &self.direct_call),
            ("run, one in flight", &alone.run),
            ("  the platform's own time", &alone.overhead),
            ("  added to the model call", &alone.model_call_added),
            ("  added to its first piece", &alone.first_piece_added),
            ("  then visible in Postgres after", &alone.projection_delay),
            (in_flight.as_str(), &saturated.run),
            (
                "  then visible in Postgres after",
                &saturated.projection_delay,
            ),
        ];
        for (name, quantiles) in lines {
            let Some(q) = quantiles else { continue };
            let figures = [
                millis(q.p50_us),
                millis(q.p95_us),
                millis(q.p99_us),
                millis(q.max_us),
            ];
            let cells = figures
                .into_iter()
                .chain([count(q.n as u64)])
                .map(Cell::plain);
            table.row(std::iter::once(Cell::plain(name)).chain(cells).collect());
        }
        table
    }

    fn rates(&self) -> Sheet {
        let (saturated, per_run) = (&self.saturated, &self.per_run);
        let mut sheet = Sheet::default();
        let mut line = |name: &str, text: String| sheet.line(name, Cell::plain(text));
        line(
            "runs a second",
            format!(
                "{:.0} ({} runs in {:.1} s)",
                saturated.runs_per_second,
                count(saturated.runs as u64),
                saturated.window_ms as f64 / 1000.0
            ),
        );
        if let Some(cpu) = saturated.cpu_us_per_run_platform {
            line("CPU a run, platform and servers", millis(cpu));
        }
        line("most commits behind", count(saturated.most_commits_behind));
        line(
            "at rest after",
            millis(saturated.drained_after_ms.saturating_mul(1000)),
        );
        line("commits a run", format!("{:.1}", per_run.commits));
        line("event log a run", bytes(per_run.log_bytes));
        line(
            "Postgres a run",
            format!(
                "{} ({} of its log)",
                bytes(per_run.database_bytes),
                bytes(per_run.wal_bytes)
            ),
        );
        sheet
    }

    fn programs(&self) -> Table {
        let columns = [
            ("", Align::Left),
            ("CPU A RUN", Align::Right),
            ("MEMORY", Align::Right),
        ];
        let mut table = Table::new(columns);
        let cpu = &self.saturated.cpu_us_per_run;
        let names: std::collections::BTreeSet<_> =
            cpu.keys().chain(self.memory_bytes.keys()).collect();
        for name in names {
            let used = cpu.get(name).map(|us| millis(*us)).unwrap_or_default();
            let memory = self
                .memory_bytes
                .get(name)
                .map(|n| bytes(*n))
                .unwrap_or_default();
            table.row(vec![
                Cell::plain(name),
                Cell::plain(used),
                Cell::plain(memory),
            ]);
        }
        table
    }
}

/// What is said of figures that mean nothing.
pub(super) const UNOPTIMISED: &str =
    "This program was built without optimisation: these are not its figures.";

/// Where it was measured, in a line.
pub(super) fn machine_line(machine: &Machine) -> String {
    format!(
        "{} cores, {}, {}, load {:.2} before",
        machine.cores,
        machine.cpu,
        bytes(machine.memory_bytes),
        machine.load_before
    )
}

/// Microseconds as milliseconds, with the digits that mean something.
pub(super) fn millis(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    let decimals = match us {
        0..10_000 => 2,
        10_000..100_000 => 1,
        _ => 0,
    };
    format!("{ms:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(p50_us: u64, n: usize) -> Option<Quantiles> {
        Some(Quantiles {
            n,
            p50_us,
            p95_us: p50_us * 2,
            p99_us: p50_us * 3,
            max_us: p50_us * 10,
            mean_us: p50_us,
        })
    }

    fn report() -> RunsReport {
        let programs = |values: [u64; 2]| {
            ["nexus", "postgres"]
                .map(str::to_owned)
                .into_iter()
                .zip(values)
                .collect()
        };
        RunsReport {
            machine: Machine {
                cores: 2,
                cpu: "Some CPU".to_owned(),
                memory_bytes: 24 << 30,
                load_before: 0.5,
                optimised: true,
            },
            via: "bus",
            tenants: 1,
            own_platform: true,
            direct_call: quantiles(420, 200),
            alone: Alone {
                run: quantiles(7_900, 200),
                overhead: quantiles(7_480, 200),
                model_call_added: quantiles(3_000, 200),
                first_piece_added: None,
                projection_delay: quantiles(2_100, 200),
            },
            saturated: Saturated {
                in_flight: 256,
                window_ms: 15_000,
                runs: 22_500,
                runs_per_second: 1_500.0,
                run: quantiles(160_000, 22_500),
                projection_delay: quantiles(9_000, 22_500),
                most_commits_behind: 1_234,
                drained_after_ms: 40,
                cpu_us_per_run: programs([400, 250]),
                cpu_us_per_run_platform: Some(650),
            },
            memory_bytes: programs([100 << 20, 50 << 20]),
            per_run: PerRun {
                runs: 25_000,
                commits: 6.0,
                log_bytes: 5_120,
                database_bytes: 2_048,
                wal_bytes: 9_000,
            },
        }
    }

    #[test]
    fn the_text_is_this() {
        let expected = "\
machine   2 cores, Some CPU, 24.0 GiB, load 0.50 before
platform  its own, instant model
runs      over bus, 1 tenant(s)

Times
                                      P50      P95      P99      MAX       N
model call without the platform   0.42 ms  0.84 ms  1.26 ms  4.20 ms     200
run, one in flight                7.90 ms  15.8 ms  23.7 ms  79.0 ms     200
  the platform's own time         7.48 ms  15.0 ms  22.4 ms  74.8 ms     200
  added to the model call         3.00 ms  6.00 ms  9.00 ms  30.0 ms     200
  then visible in Postgres after  2.10 ms  4.20 ms  6.30 ms  21.0 ms     200
run, 256 in flight                 160 ms   320 ms   480 ms  1600 ms  22,500
  then visible in Postgres after  9.00 ms  18.0 ms  27.0 ms  90.0 ms  22,500

At saturation
runs a second                    1500 (22,500 runs in 15.0 s)
CPU a run, platform and servers  0.65 ms
most commits behind              1,234
at rest after                    40.0 ms
commits a run                    6.0
event log a run                  5.0 KiB
Postgres a run                   2.0 KiB (8.7 KiB of its log)

By program
          CPU A RUN     MEMORY
nexus       0.40 ms  100.0 MiB
postgres    0.25 ms   50.0 MiB
";
        assert_eq!(report().render(Style::PLAIN), expected);
    }

    #[test]
    fn an_unoptimised_program_says_so() {
        let mut report = report();
        report.machine.optimised = false;
        assert!(report.render(Style::PLAIN).contains("without optimisation"));
    }

    #[test]
    fn the_json_has_its_units_in_its_names() {
        let json = serde_json::to_value(report()).unwrap_or_default();
        for at in [
            "/alone/run/p99_us",
            "/saturated/runs_per_second",
            "/per_run/log_bytes",
            "/machine/load_before",
            "/memory_bytes/postgres",
            "/saturated/cpu_us_per_run/nexus",
        ] {
            assert!(
                json.pointer(at).is_some_and(serde_json::Value::is_number),
                "{at}"
            );
        }
    }
}
