//! What `nexus bench llm` found, as data and as text.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::Machine;
use super::report::{UNOPTIMISED, machine_line, millis};
use super::stats::Quantiles;
use crate::cli::format::{bytes, count};
use crate::cli::style::{Style, Tone};
use crate::cli::table::{Align, Cell, Sheet, Table};

/// What `nexus bench llm` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LlmReport {
    /// Where.
    pub(crate) machine: Machine,
    /// What a run adds to a call.
    pub(crate) added: Added,
    /// Streams held at once, a phase each.
    pub(crate) held: Vec<Held>,
    /// Fragments through the bus.
    pub(crate) fragments: Fragments,
    /// The content filter.
    pub(crate) filter: FilterRates,
}

/// Calls one at a time; what a direct call takes is taken off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Added {
    /// A call without the platform.
    pub(crate) direct_call: Option<Quantiles>,
    /// Until its first piece.
    pub(crate) direct_first_piece: Option<Quantiles>,
    /// From the run's first commit to the one with the answer: policy, reservation and call.
    pub(crate) call: Option<Quantiles>,
    /// From the run's first commit to the first piece of the answer.
    pub(crate) first_piece: Option<Quantiles>,
    /// As `call`, where the model has two endpoints.
    pub(crate) routed_call: Option<Quantiles>,
    /// CPU time of a whole run of one call, one in flight, in microseconds by program.
    pub(crate) cpu_us_per_run: BTreeMap<String, u64>,
}

/// Streams held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    /// Runs that were started.
    pub(crate) asked: usize,
    /// Streams that were open together.
    pub(crate) open: usize,
    /// Memory of all roles then, in bytes.
    pub(crate) memory_bytes: u64,
    /// What was more than before the first phase, a stream.
    pub(crate) bytes_per_stream: u64,
    /// What a stream holds in a client that does nothing else; of the largest phase.
    pub(crate) plain_client_bytes_per_stream: Option<u64>,
}

/// Fragments of answers, to a listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fragments {
    /// A phase each.
    pub(crate) paces: Vec<Pace>,
    /// Messages of a fragment's size that one client publishes and hears.
    pub(crate) bare_bus_per_second: f64,
    /// What the model server sends to a plain client, in one stream.
    pub(crate) direct_per_second: f64,
}

/// Of some streams at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Pace {
    /// Streams.
    pub(crate) streams: usize,
    /// Fragments that were heard.
    pub(crate) heard: u64,
    /// Fragments that were not.
    pub(crate) lost: u64,
    /// Heard in a second.
    pub(crate) per_second: f64,
    /// CPU time of a fragment in microseconds by program.
    pub(crate) cpu_us_each: BTreeMap<String, f64>,
}

/// One thread of the content filter over plain text, in megabytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct FilterRates {
    /// Secrets are looked for, as without a configuration.
    pub(crate) secrets_mb_per_second: f64,
    /// Everything is looked for.
    pub(crate) all_mb_per_second: f64,
    /// The same in fragments of 16 bytes.
    pub(crate) fragments_mb_per_second: f64,
    /// Its lines are counted: what reading it takes.
    pub(crate) lines_counted_mb_per_second: f64,
}

impl LlmReport {
    /// As text.
    pub(crate) fn render(&self, style: Style) -> String {
        let heading = |text: &str| format!("\n{}\n", style.paint(Tone::Bold, text));
        let mut sheet = Sheet::default();
        sheet.line("machine", Cell::plain(machine_line(&self.machine)));
        let cpu: u64 = self.added.cpu_us_per_run.values().sum();
        let cpu = format!("{} a run of one call, platform and servers", millis(cpu));
        sheet.line("CPU", Cell::plain(cpu));
        let mut out = sheet.render(style);
        out.push_str(&heading("A model call"));
        out.push_str(&self.added().render(style));
        out.push_str(&heading("Streams held at once"));
        out.push_str(&self.held().render(style));
        out.push_str(&heading("Fragments to a listener"));
        out.push_str(&self.fragments().render(style));
        out.push_str(&heading("Content filter, one thread"));
        out.push_str(&self.filter().render(style));
        if !self.machine.optimised {
            out.push_str(&format!("\n{}\n", style.paint(Tone::Warn, UNOPTIMISED)));
        }
        out
    }

    fn added(&self) -> Table {
        let mut table = table(["P50", "P95", "P99", "MAX", "N"]);
        let added = &self.added;
        let lines = [
            ("without the platform", added.direct_call),
            ("  until its first piece", added.direct_first_piece),
            ("added by a run", added.call),
            ("  until the first piece", added.first_piece),
            ("added with two endpoints", added.routed_call),
        ];
        for (name, quantiles) in lines {
            let Some(q) = quantiles else { continue };
            let times = [q.p50_us, q.p95_us, q.p99_us, q.max_us].map(millis);
            row(
                &mut table,
                name,
                times.into_iter().chain([count(q.n as u64)]),
            );
        }
        table
    }

    fn held(&self) -> Table {
        let mut table = table(["OPEN", "ROLES", "A STREAM", "PLAIN CLIENT"]);
        for held in &self.held {
            let plain = held.plain_client_bytes_per_stream.map(bytes);
            let cells = [
                count(held.open as u64),
                bytes(held.memory_bytes),
                bytes(held.bytes_per_stream),
                plain.unwrap_or_default(),
            ];
            row(
                &mut table,
                &format!("{} streams", count(held.asked as u64)),
                cells,
            );
        }
        table
    }

    fn fragments(&self) -> Table {
        let mut table = table(["A SECOND", "CPU EACH", "HEARD", "LOST"]);
        let fragments = &self.fragments;
        for pace in &fragments.paces {
            let cpu: f64 = pace.cpu_us_each.values().sum();
            let cells = [
                count(pace.per_second as u64),
                format!("{cpu:.1} µs"),
                count(pace.heard),
                count(pace.lost),
            ];
            row(&mut table, &format!("{} stream(s)", pace.streams), cells);
        }
        for (name, rate) in [
            ("one stream to a plain client", fragments.direct_per_second),
            ("the bare bus", fragments.bare_bus_per_second),
        ] {
            let empty = [String::new(), String::new(), String::new()];
            row(
                &mut table,
                name,
                [count(rate as u64)].into_iter().chain(empty),
            );
        }
        table
    }

    fn filter(&self) -> Table {
        let mut table = table(["MB A SECOND"]);
        let rates = &self.filter;
        for (name, rate) in [
            ("secrets, as by default", rates.secrets_mb_per_second),
            ("everything", rates.all_mb_per_second),
            (
                "everything, in fragments of 16 bytes",
                rates.fragments_mb_per_second,
            ),
            ("counting lines instead", rates.lines_counted_mb_per_second),
        ] {
            row(&mut table, name, [format!("{rate:.0}")]);
        }
        table
    }
}

fn table<const N: usize>(columns: [&str; N]) -> Table {
    let columns = columns.map(|title| (title, Align::Right));
    Table::new(std::iter::once(("", Align::Left)).chain(columns))
}

fn row(table: &mut Table, name: &str, cells: impl IntoIterator<Item = String>) {
    let cells = cells.into_iter().map(Cell::plain);
    table.row(std::iter::once(Cell::plain(name)).chain(cells).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(p50_us: u64) -> Option<Quantiles> {
        Some(Quantiles {
            n: 200,
            p50_us,
            p95_us: p50_us * 2,
            p99_us: p50_us * 3,
            max_us: p50_us * 10,
            mean_us: p50_us,
        })
    }

    #[test]
    fn the_text_is_this() {
        let pace = |streams, per_second| Pace {
            streams,
            heard: 50_000,
            lost: 0,
            per_second,
            cpu_us_each: [("nexus".to_owned(), 5.5), ("nats-server".to_owned(), 1.0)].into(),
        };
        let held = |asked, plain| Held {
            asked,
            open: asked,
            memory_bytes: 90 << 20,
            bytes_per_stream: 60 << 10,
            plain_client_bytes_per_stream: plain,
        };
        let report = LlmReport {
            machine: Machine {
                cores: 2,
                cpu: "Some CPU".to_owned(),
                memory_bytes: 24 << 30,
                load_before: 0.5,
                optimised: true,
            },
            added: Added {
                direct_call: quantiles(420),
                direct_first_piece: quantiles(400),
                call: quantiles(2_200),
                first_piece: quantiles(2_100),
                routed_call: quantiles(2_250),
                cpu_us_per_run: [("nexus".to_owned(), 1_500)].into(),
            },
            held: vec![held(100, None), held(1_000, Some(30 << 10))],
            fragments: Fragments {
                paces: vec![pace(1, 80_000.0), pace(16, 120_000.0)],
                bare_bus_per_second: 400_000.0,
                direct_per_second: 300_000.0,
            },
            filter: FilterRates {
                secrets_mb_per_second: 900.0,
                all_mb_per_second: 150.0,
                fragments_mb_per_second: 90.0,
                lines_counted_mb_per_second: 10_000.0,
            },
        };
        let expected = "\
machine  2 cores, Some CPU, 24.0 GiB, load 0.50 before
CPU      1.50 ms a run of one call, platform and servers

A model call
                              P50      P95      P99      MAX    N
without the platform      0.42 ms  0.84 ms  1.26 ms  4.20 ms  200
  until its first piece   0.40 ms  0.80 ms  1.20 ms  4.00 ms  200
added by a run            2.20 ms  4.40 ms  6.60 ms  22.0 ms  200
  until the first piece   2.10 ms  4.20 ms  6.30 ms  21.0 ms  200
added with two endpoints  2.25 ms  4.50 ms  6.75 ms  22.5 ms  200

Streams held at once
                OPEN     ROLES  A STREAM  PLAIN CLIENT
100 streams      100  90.0 MiB  60.0 KiB
1,000 streams  1,000  90.0 MiB  60.0 KiB      30.0 KiB

Fragments to a listener
                              A SECOND  CPU EACH   HEARD  LOST
1 stream(s)                     80,000    6.5 µs  50,000     0
16 stream(s)                   120,000    6.5 µs  50,000     0
one stream to a plain client   300,000
the bare bus                   400,000

Content filter, one thread
                                      MB A SECOND
secrets, as by default                        900
everything                                    150
everything, in fragments of 16 bytes           90
counting lines instead                      10000
";
        assert_eq!(report.render(Style::PLAIN), expected);
    }
}
