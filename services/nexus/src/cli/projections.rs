//! `nexus projections`: how far the read models are, filling them anew, and proving that they are
//! what the log gives. It talks to the servers itself.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, topology};
use nexus_projections::{
    FillError, Progress, Projections, Rebuilt, TableReport, Verified, rebuild, verify,
};
use serde_json::{Value, json};

use super::endpoint::{Connection, Servers};
use super::error::{CliError, chain};
use super::exit::Exit;
use super::format::{count, duration};
use super::print::{self, Output, hint};
use super::style::{Style, Tone};
use super::table::{Align, Cell, Sheet, Table};
use super::{servers, style};

const TELL_EVERY: Duration = Duration::from_millis(200);

/// The read models in Postgres.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ProjectionsVerb {
    /// How far they are behind the log
    Status,
    /// Fill new tables from the log beside the live ones, then swap them in
    Rebuild,
    /// Compare them with what the log gives; nothing is changed
    Verify,
}

/// `nexus projections`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProjectionsArgs {
    #[command(subcommand)]
    verb: ProjectionsVerb,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) servers: Servers,
    #[command(flatten)]
    connection: Connection,
}

/// Does it.
///
/// # Errors
/// [`CliError`].
pub(crate) async fn run(args: ProjectionsArgs) -> Result<Exit, CliError> {
    let bus = servers::bus(&args.servers, &args.connection).await?;
    let projections = servers::projections(&args.servers, &args.connection).await?;
    let output = args.output;
    let work = async {
        match args.verb {
            ProjectionsVerb::Status => status(output, &bus, &projections).await,
            ProjectionsVerb::Rebuild => rebuilt(output, &bus, &projections).await,
            ProjectionsVerb::Verify => verified(output, &bus, &projections).await,
        }
    };
    tokio::select! {
        exit = work => exit,
        _ = tokio::signal::ctrl_c() => {
            hint("stopped; the live tables are as they were, what was begun is thrown away next time");
            Ok(Exit::Cancelled)
        }
    }
}

async fn status(output: Output, bus: &Bus, projections: &Projections) -> Result<Exit, CliError> {
    let log = last_seq(bus).await?;
    let applied = projections
        .applied_seq()
        .await
        .map_err(CliError::server("Postgres"))?;
    let behind = log.saturating_sub(applied);
    if output.json {
        output.value(&json!({ "log_seq": log, "applied_seq": applied, "behind": behind }))?;
    } else {
        let mut sheet = Sheet::default();
        sheet.line("log ends at", Cell::plain(count(log)));
        sheet.line("applied", Cell::plain(count(applied)));
        let tone = if behind == 0 { Tone::Good } else { Tone::Warn };
        sheet.line(
            "behind",
            Cell::toned(format!("{} commits", count(behind)), tone),
        );
        print::write(&sheet.render(Style::stdout()))?;
    }
    Ok(Exit::Done)
}

/// Sequence at which the log ends.
///
/// # Errors
/// The bus does not answer.
pub(crate) async fn last_seq(bus: &Bus) -> Result<u64, CliError> {
    let stream = bus.jetstream().get_stream(topology::EVENTS).await;
    let stream = stream.map_err(CliError::server(format!("stream {}", topology::EVENTS)))?;
    Ok(stream.cached_info().state.last_sequence)
}

async fn rebuilt(output: Output, bus: &Bus, projections: &Projections) -> Result<Exit, CliError> {
    let mut teller = Teller::new("rebuilding");
    let mut tell = |progress| teller.tell(progress);
    let js = bus.jetstream().clone();
    let done = rebuild(projections, js, topology::EVENTS, &mut tell).await;
    teller.end();
    let Rebuilt {
        seq,
        events,
        duration: took,
    } = done.map_err(failed)?;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let rate = events.saturating_mul(1000) / took_ms.max(1);
    let sentence = format!(
        "rebuilt up to sequence {}: {} events in {} ({} a second)",
        count(seq),
        count(events),
        duration(took_ms),
        count(rate)
    );
    let answer = json!({
        "seq": seq, "events": events, "duration_ms": took_ms, "events_per_second": rate,
    });
    output.done(&sentence, &answer)?;
    Ok(Exit::Done)
}

async fn verified(output: Output, bus: &Bus, projections: &Projections) -> Result<Exit, CliError> {
    let mut teller = Teller::new("verifying");
    let mut tell = |progress| teller.tell(progress);
    let js = bus.jetstream().clone();
    let done = verify(projections, js, topology::EVENTS, &mut tell).await;
    teller.end();
    let verified = done.map_err(failed)?;
    if output.json {
        output.value(&as_json(&verified))?;
    } else {
        print::write(&render(&verified, Style::stdout()))?;
    }
    Ok(if verified.is_equal() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn as_json(verified: &Verified) -> Value {
    let table = |table: &TableReport| {
        let differences: Vec<_> = (table.differences.iter())
            .map(|row| json!({ "key": row.key, "live": row.live, "rebuilt": row.rebuilt }))
            .collect();
        json!({
            "table": table.table, "equal": table.is_equal(), "live_rows": table.live_rows,
            "rebuilt_rows": table.rebuilt_rows, "live_digest": table.live_digest,
            "rebuilt_digest": table.rebuilt_digest, "differences": differences,
        })
    };
    let tables: Vec<_> = verified.tables.iter().map(table).collect();
    json!({ "seq": verified.seq, "equal": verified.is_equal(), "tables": tables })
}

fn render(verified: &Verified, style: Style) -> String {
    let columns = [
        ("TABLE", Align::Left),
        ("LIVE ROWS", Align::Right),
        ("FROM THE LOG", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(columns);
    for report in &verified.tables {
        let (word, tone) = if report.is_equal() {
            ("equal", Tone::Good)
        } else {
            ("differs", Tone::Bad)
        };
        table.row(vec![
            Cell::plain(&report.table),
            Cell::plain(count(report.live_rows)),
            Cell::plain(count(report.rebuilt_rows)),
            Cell::toned(word, tone),
        ]);
    }
    let mut out = table.render(style);
    for report in &verified.tables {
        for row in &report.differences {
            let side = |row: &Option<String>| row.clone().unwrap_or_else(|| "(no row)".to_owned());
            let (live, log) = (side(&row.live), side(&row.rebuilt));
            let text = format!(
                "\n{} {}\n  live {live}\n  log  {log}\n",
                report.table, row.key
            );
            out.push_str(&style::printable(&text));
        }
    }
    let verdict = match verified.is_equal() {
        true => "Every table is what the log gives",
        false => {
            "Some tables are not what the log gives: `nexus projections rebuild` makes them so"
        }
    };
    out.push_str(&format!(
        "\n{verdict} (sequence {}).\n",
        count(verified.seq)
    ));
    out
}

/// Shows how far it is, on a terminal, at most five times a second.
pub(crate) struct Teller {
    what: &'static str,
    terminal: bool,
    told: Option<Instant>,
}

impl Teller {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            terminal: std::io::stderr().is_terminal(),
            told: None,
        }
    }

    pub(crate) fn tell(&mut self, progress: Progress) {
        let what = self.what;
        self.show(|| line(what, &progress));
    }

    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        let soon = self.told.is_some_and(|told| told.elapsed() < TELL_EVERY);
        if self.terminal && !soon {
            self.told = Some(Instant::now());
            eprint!("\r\x1b[K{}", line());
        }
    }

    pub(crate) fn end(&self) {
        if self.told.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(what: &str, progress: &Progress) -> String {
    let percent = progress.seq.saturating_mul(100) / progress.total.max(1);
    let eta = progress
        .eta
        .map(|eta| duration(u64::try_from(eta.as_millis()).unwrap_or(u64::MAX)));
    format!(
        "{what} {percent} % ({} of {}), {:.0} events a second{}",
        count(progress.seq),
        count(progress.total),
        progress.events_per_second,
        eta.map(|eta| format!(", {eta} left")).unwrap_or_default()
    )
}

pub(crate) fn failed(error: FillError) -> CliError {
    let what = "the read models".to_owned();
    CliError::Server {
        what,
        reason: chain(&error),
    }
}

#[cfg(test)]
mod tests {
    use nexus_projections::Difference;

    use super::*;

    fn report(table: &str, rebuilt_digest: &str, differences: Vec<Difference>) -> TableReport {
        TableReport {
            table: table.to_owned(),
            live_rows: 1_200,
            rebuilt_rows: 1_200,
            live_digest: "a".to_owned(),
            rebuilt_digest: rebuilt_digest.to_owned(),
            differences,
        }
    }

    #[test]
    fn what_differs_is_shown_with_both_rows() {
        let row = Difference {
            key: "1".to_owned(),
            live: Some("{}".to_owned()),
            rebuilt: None,
        };
        let verified = Verified {
            seq: 4_711,
            tables: vec![
                report("agent_runs", "a", vec![]),
                report("budgets", "b", vec![row]),
            ],
        };
        let expected = "\
TABLE       LIVE ROWS  FROM THE LOG
agent_runs      1,200         1,200  equal
budgets         1,200         1,200  differs

budgets 1
  live {}
  log  (no row)

Some tables are not what the log gives: `nexus projections rebuild` makes them so (sequence 4,711).
";
        assert_eq!(render(&verified, Style::PLAIN), expected);
        assert_eq!(
            as_json(&verified).pointer("/tables/1/equal"),
            Some(&Value::Bool(false))
        );
    }

    #[test]
    fn progress_says_how_far_how_fast_and_how_long() {
        let progress = Progress {
            seq: 500,
            total: 2_000,
            events: 900,
            events_per_second: 40_000.4,
            eta: Some(Duration::from_millis(1_500)),
        };
        let expected = "rebuilding 25 % (500 of 2,000), 40000 events a second, 1.5 s left";
        assert_eq!(line("rebuilding", &progress), expected);
    }
}
