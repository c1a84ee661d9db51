//! A report for a terminal: a table a part, with each figure's aim and limit beside it.

use super::{Part, Report, UNOPTIMISED};
use crate::bench::machine::Machine;
use crate::cli::format::bytes;
use crate::cli::style::{Style, Tone};
use crate::cli::table::{Align, Cell, Table};

pub(super) fn render(report: &Report, style: Style) -> String {
    let mut out = format!("{}\n", machine_line(&report.machine));
    for part in &report.parts {
        out.push_str(&format!(
            "\n{}  {}\n",
            style.paint(Tone::Bold, part.name),
            style.paint(Tone::Dim, &part.about)
        ));
        if !part.figures.is_empty() {
            out.push_str(&table(part).render(style));
        }
        if let Some(failure) = &part.failure {
            out.push_str(&format!("{}\n", style.paint(Tone::Bad, failure)));
        }
    }
    if !report.machine.optimised {
        out.push_str(&format!("\n{}\n", style.paint(Tone::Warn, UNOPTIMISED)));
    }
    out
}

fn table(part: &Part) -> Table {
    let mut table = Table::new([
        ("", Align::Left),
        ("VALUE", Align::Right),
        ("AIM", Align::Right),
        ("MET", Align::Left),
        ("WITHOUT THE PLATFORM", Align::Left),
    ]);
    for figure in &part.figures {
        let met = match figure.is_met() {
            None => Cell::plain(""),
            Some(true) => Cell::toned("yes", Tone::Good),
            Some(false) => Cell::toned("no", Tone::Warn),
        };
        let aim = figure.aim.map(|aim| aim.show(figure.unit));
        table.row(vec![
            Cell::plain(&figure.name),
            Cell::plain(figure.unit.show(figure.value)),
            Cell::plain(aim.unwrap_or_default()),
            met,
            Cell::plain(figure.limit_text()),
        ]);
    }
    table
}

/// Where it was measured, in a line.
pub(crate) fn machine_line(machine: &Machine) -> String {
    format!(
        "{} cores, {}, {}, load {:.2} before",
        machine.cores,
        machine.cpu,
        bytes(machine.memory_bytes),
        machine.load_before
    )
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn the_text_is_this() {
        let expected = "\
2 cores, Some CPU, 24.0 GiB, load 0.50 before

runs  Whole runs <over> the bus.
                   VALUE        AIM  MET  WITHOUT THE PLATFORM
runs a second      1,603    ≥ 1,500  yes  142,000 messages on the bare bus
CPU a run        1.11 ms  ≤ 1.00 ms  no
event log a run  5.5 KiB

tools  Calls of sandboxed code.
the sandbox: no room
";
        assert_eq!(example().text(Style::PLAIN), expected);
    }

    #[test]
    fn an_unoptimised_program_says_so() {
        let mut report = example();
        report.machine.optimised = false;
        assert!(report.text(Style::PLAIN).contains("without optimisation"));
    }
}
