//! `nexus policies explain` and `backtest`: what policy decided, and what another would have.

use std::path::PathBuf;
use std::time::Duration;

use nexus_events::Timestamp;
use nexus_events::policy::{BacktestReport, Explanation};
use serde_json::{Value, json};

use super::Asker;
use super::policies::files;
use crate::cli::error::CliError;
use crate::cli::http::Request;
use crate::cli::parse::span_ms;
use crate::cli::print;
use crate::cli::style::printable;

/// How long to wait where as many backtests are under way as are taken.
const BUSY: Duration = Duration::from_secs(1);
/// Rows of each count that are shown.
const ROWS: usize = 10;

/// `policies explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The run
    run_id: String,
    /// Only of this turn
    #[arg(long, value_name = "N")]
    turn: Option<u32>,
    /// Only of this tool call
    #[arg(long, value_name = "ID")]
    call: Option<String>,
}

impl ExplainArgs {
    /// Asks and shows.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let mut body = json!({ "run_id": self.run_id });
        if let Some(turn) = self.turn {
            body["turn"] = turn.into();
        }
        if let Some(call) = self.call {
            body["call_id"] = call.into();
        }
        let answer = asker.post(&["v1", "policies", "explain"], &body).await?;
        if asker.output.json {
            return asker.output.value(&answer);
        }
        let explanation = read::<Explanation>(asker, answer)?;
        print::write(&explained(&explanation))
    }
}

fn explained(explanation: &Explanation) -> String {
    let mut text = String::new();
    for decision in &explanation.decisions {
        let recorded = &decision.recorded;
        let outcome = match (recorded.allowed, &recorded.approval) {
            (true, _) => "allowed",
            (false, Some(_)) => "asked people",
            (false, None) => "denied",
        };
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<9}{}\n", printable(value)));
            }
        };
        let step = serde_json::to_string(&recorded.point).unwrap_or_default();
        line("step", &step);
        line("outcome", outcome);
        line("because", &recorded.reasons.join("; "));
        line("rules", &recorded.rules.join(", "));
        line("at", &decision.places.join(", "));
        line("bundle", &recorded.bundle);
        line("took", &format!("{} µs", recorded.duration_us));
        line("error", recorded.error.as_deref().unwrap_or_default());
        if let Some(shadow) = &recorded.shadow {
            let differs = shadow.differs.map_or("the same", |differs| differs.name());
            line("shadow", &format!("{}: {differs}", shadow.bundle));
        }
        match decision.remarks.as_slice() {
            [] => line("again", "the same bundle says the same now"),
            remarks => line("again", &remarks.join("; ")),
        }
        text.push_str(&format!(
            "  {:<9}{} (sequence {})\n\n",
            "recorded", decision.at, decision.seq
        ));
    }
    if explanation.truncated {
        text.push_str("there are more: --turn N or --call ID\n");
    }
    text
}

/// `policies backtest`.
#[derive(Debug, clap::Args)]
pub(crate) struct BacktestArgs {
    /// The bundle: a published one's digest, `builtin`, or Rego files and directories that hold them
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// With files: a JSON document that the rules see as `data`
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Decisions from then on: 2026-11-01T00:00:00Z, or how long ago, 36h or 7d; all when absent
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Decisions before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
}

impl BacktestArgs {
    /// Goes through history a stretch at a time. Ctrl-C shows what was found so far.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let mut body = self.body()?;
        let mut whole = BacktestReport::default();
        let stopped = tokio::signal::ctrl_c();
        tokio::pin!(stopped);
        loop {
            let stretch = tokio::select! {
                stretch = stretch(asker, &body) => stretch?,
                _ = &mut stopped => break,
            };
            whole.join(stretch);
            let Some(next) = whole.next_seq else { break };
            print::hint(&progress(&whole));
            body["from_seq"] = next.into();
        }
        if asker.output.json {
            return asker
                .output
                .value(&serde_json::to_value(&whole).unwrap_or_default());
        }
        print::write(&reported(&whole))
    }

    fn body(&self) -> Result<Value, CliError> {
        let mut body = match self.bundle.as_slice() {
            [only] if !only.exists() => json!({ "digest": only.to_string_lossy() }),
            paths => {
                let (modules, data) = files(paths, self.data.as_deref())?;
                json!({ "modules": modules, "data": data })
            }
        };
        for (name, moment) in [("since", self.since), ("until", self.until)] {
            if let Some(moment) = moment {
                body[name] = moment.to_string().into();
            }
        }
        Ok(body)
    }
}

async fn stretch(asker: &Asker, body: &Value) -> Result<BacktestReport, CliError> {
    loop {
        let request = Request::at(&["v1", "policies", "backtest"]);
        match asker.gateway.post(request, body).await {
            Err(CliError::Problem(problem)) if problem.code == "busy" => {
                print::hint("another backtest is under way, waiting for it");
                tokio::time::sleep(BUSY).await;
            }
            answered => return answered,
        }
    }
}

fn progress(so_far: &BacktestReport) -> String {
    let done = so_far.to_seq.saturating_sub(so_far.from_seq);
    let all = so_far.last_seq.saturating_sub(so_far.from_seq).max(1);
    format!(
        "{} % of the log, {} decisions, {} would change",
        done.saturating_mul(100) / all,
        so_far.decisions,
        so_far.changed
    )
}

fn reported(report: &BacktestReport) -> String {
    let mut text = format!(
        "{} decisions made again by {}: {} would change\n",
        report.decisions, report.bundle, report.changed
    );
    if report.skipped > 0 {
        text.push_str(&format!("{} could not be asked again\n", report.skipped));
    }
    if report.next_seq.is_some() {
        text.push_str("stopped before the end of the log\n");
    }
    let kinds = report
        .by_kind
        .iter()
        .map(|(kind, count)| (kind.name(), *count));
    section(&mut text, "how", kinds.collect());
    for (name, counts) in [
        ("by its rule", &report.by_rule),
        ("by the rule that decided", &report.by_recorded_rule),
        ("by tool or step", &report.by_tool),
        ("by user", &report.by_user),
    ] {
        let counts = counts.iter().map(|(name, count)| (name.as_str(), *count));
        section(&mut text, name, counts.collect());
    }
    if !report.changes.is_empty() {
        text.push_str("\nruns to look at\n");
    }
    for change in report.changes.iter().take(ROWS) {
        text.push_str(&format!(
            "  {}  {}  {}  {}\n",
            change.run_id,
            printable(&change.user),
            printable(change.tool.as_deref().unwrap_or(change.point.name())),
            change.difference.name()
        ));
    }
    text
}

/// The largest counts under a heading.
fn section(text: &mut String, heading: &str, mut counts: Vec<(&str, u64)>) {
    if counts.is_empty() {
        return;
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    text.push_str(&format!("\n{heading}\n"));
    for (name, count) in counts.into_iter().take(ROWS) {
        text.push_str(&format!("  {count:>8}  {}\n", printable(name)));
    }
}

fn read<T: serde::de::DeserializeOwned>(asker: &Asker, answer: Value) -> Result<T, CliError> {
    serde_json::from_value(answer).map_err(|error| CliError::Answer {
        url: asker.gateway.url().to_owned(),
        reason: error.to_string(),
    })
}

/// A moment, or how long ago: `90m`, `36h`, `7d`.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Some(moment) = Timestamp::parse_rfc3339(text) {
        return Ok(moment);
    }
    let wrong = || format!("{text:?} is neither a moment, 2026-11-01T00:00:00Z, nor an age, 36h");
    let ago = span_ms(text).map_err(|_| wrong())?;
    let now = time::OffsetDateTime::now_utc()
        .unix_timestamp()
        .saturating_mul(1_000);
    let ago = i64::try_from(ago).unwrap_or(i64::MAX);
    Ok(Timestamp::from_millis(now.saturating_sub(ago)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::policy::Difference;

    use super::*;

    #[test]
    fn a_moment_is_written_or_counted_back() {
        assert!(moment("2026-11-01T00:00:00Z").is_ok());
        let (week, day) = (moment("7d").unwrap(), moment("24h").unwrap());
        assert!(day.millis_since(week) >= 5 * 86_400_000);
        for bad in ["", "d", "7", "7x", "-1h", "tomorrow", "1ü"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_report_shows_the_largest_counts_first() {
        let report = BacktestReport {
            bundle: "sha256:1".to_owned(),
            decisions: 10,
            changed: 3,
            by_kind: [(Difference::WouldDeny, 1), (Difference::WouldAllow, 2)].into(),
            ..BacktestReport::default()
        };
        let text = reported(&report);
        assert!(
            text.starts_with("10 decisions made again by sha256:1: 3 would change\n"),
            "{text}"
        );
        assert!(text.find("would_allow") < text.find("would_deny"), "{text}");
    }
}
