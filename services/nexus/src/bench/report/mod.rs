//! What measurements found: as data, as text for a terminal, as a page with charts.

pub(crate) mod budget;
mod chart;
mod figure;
pub(crate) mod llm;
mod page;
pub(crate) mod runs;
mod text;

use serde::Serialize;

use super::machine::Machine;
use crate::cli::style::Style;
pub(crate) use chart::{Chart, Series};
pub(crate) use figure::{Figure, Part, Unit, ms};
pub(crate) use text::machine_line;

/// What is said of figures that mean nothing.
const UNOPTIMISED: &str = "This program was built without optimisation: these are not its figures.";

/// One or several measurements on one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// What was measured, in order.
    pub(crate) parts: Vec<Part>,
}

impl Report {
    /// For a terminal.
    pub(crate) fn text(&self, style: Style) -> String {
        text::render(self, style)
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// A page that needs nothing else: styles and charts are in it.
    pub(crate) fn page(&self) -> String {
        page::render(self)
    }
}

#[cfg(test)]
pub(super) fn example() -> Report {
    let mut part = Part::new("runs", "Whole runs <over> the bus.");
    part.add(
        Figure::new("runs a second", 1_603.0, Unit::PerSecond)
            .at_least(1_500.0)
            .beside("messages on the bare bus", 142_000.0),
    );
    part.add(Figure::new("CPU a run", 1.11, Unit::Ms).at_most(1.0));
    part.plain("event log a run", 5_734.0, Unit::Bytes);
    part.charts.push(Chart {
        title: "CPU a run, by sessions".to_owned(),
        x: "sessions".to_owned(),
        unit: Unit::Ms,
        log_x: true,
        series: vec![Series {
            name: "roles".to_owned(),
            points: vec![(1.0, 0.5), (1_000.0, 0.6), (100_000.0, 0.55)],
        }],
    });
    let mut failed = Part::new("tools", "Calls of sandboxed code.");
    failed.failure = Some("the sandbox: no room".to_owned());
    Report {
        machine: Machine {
            cores: 2,
            cpu: "Some CPU".to_owned(),
            memory_bytes: 24 << 30,
            load_before: 0.5,
            optimised: true,
        },
        parts: vec![part, failed],
    }
}
