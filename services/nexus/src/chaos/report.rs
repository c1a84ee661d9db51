//! The verdict as people and as machines read it.

use std::path::PathBuf;

use serde::Serialize;

use super::verdict::Row;
use crate::cli::style::{Style, Tone};
use crate::cli::table::{Align, Cell, Table};

/// What a run of chaos found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The seed.
    pub(crate) seed: u64,
    /// Runs that were asked for.
    pub(crate) runs: usize,
    /// Servers of the bus.
    pub(crate) nodes: usize,
    /// Faults that were made.
    pub(crate) faults: usize,
    /// What this machine does not allow, once each.
    pub(crate) left_out: Vec<String>,
    /// True where no promise was broken.
    pub(crate) kept: bool,
    /// Every check.
    pub(crate) checks: Vec<Row>,
    /// How to see it again.
    pub(crate) repeat: String,
    /// Where the data is, where it was kept.
    pub(crate) data: Option<PathBuf>,
}

/// As a table, with what was broken below it.
pub(crate) fn text(report: &Report, style: Style) -> String {
    let mut table = Table::new([
        ("", Align::Left),
        ("CHECKED", Align::Left),
        ("", Align::Right),
        ("VERDICT", Align::Left),
        ("", Align::Left),
    ]);
    for row in &report.checks {
        let (word, tone) = match row.breaches {
            0 => ("kept".to_owned(), Tone::Good),
            count => (format!("{count} broken"), Tone::Bad),
        };
        table.row(vec![
            Cell::plain(row.promise),
            Cell::plain(row.what),
            Cell::plain(row.checked.to_string()),
            Cell::toned(word, tone),
            Cell::toned(&row.note, Tone::Dim),
        ]);
    }
    let mut out = table.render(style);
    for row in report.checks.iter().filter(|row| row.breaches > 0) {
        out.push_str(&format!("\n{} {}:\n", row.promise, row.what));
        for named in &row.named {
            out.push_str(&format!("  {named}\n"));
        }
        if row.breaches > row.named.len() {
            out.push_str(&format!("  and {} more\n", row.breaches - row.named.len()));
        }
    }
    for left_out in &report.left_out {
        out.push_str(&format!("\nleft out: {left_out}\n"));
    }
    out.push_str(&format!(
        "\nseed {}: {} runs, {} faults, {} nats-server(s)\n",
        report.seed, report.runs, report.faults, report.nodes
    ));
    if let Some(data) = &report.data {
        out.push_str(&format!("data and logs: {}\n", data.display()));
    }
    if !report.kept {
        out.push_str(&format!("again: {}\n", report.repeat));
    }
    out
}
