//! What a check found, and how it is shown.

use serde::Serialize;

use crate::cli::style::{Style, Tone, printable, tone_of_status};
use crate::cli::table::{Align, Cell, Table};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and something should be done.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be looked at.
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// How it stands.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            advice: None,
        }
    }

    /// Something should be done.
    pub(crate) fn warn(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self {
            check,
            verdict: Verdict::Warn,
            found: found.into(),
            advice,
        }
    }

    /// It does not work.
    pub(crate) fn fail(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self {
            check,
            verdict: Verdict::Fail,
            found: found.into(),
            advice,
        }
    }

    /// It could not be looked at.
    pub(crate) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Skipped,
            found: why.into(),
            advice: None,
        }
    }
}

/// Whether something does not work.
pub(crate) fn any_fails(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Fail)
}

/// As a table, with what to do below it.
pub(crate) fn render(findings: &[Finding], style: Style) -> String {
    let mut table = Table::new([
        ("CHECK", Align::Left),
        ("", Align::Left),
        ("FOUND", Align::Left),
    ]);
    for finding in findings {
        let word = finding.verdict.word();
        table.row(vec![
            Cell::plain(finding.check),
            Cell::toned(word, tone_of_status(word)),
            Cell::plain(printable(&finding.found)),
        ]);
    }
    let mut out = table.render(style);
    let advised = findings
        .iter()
        .filter_map(|finding| Some((finding, finding.advice.as_ref()?)));
    for (index, (finding, advice)) in advised.enumerate() {
        if index == 0 {
            out.push_str(&format!("\n{}\n", style.paint(Tone::Bold, "What to do")));
        }
        out.push_str(&printable(&format!("  {}: {advice}\n", finding.check)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_advice() {
        let findings = [
            Finding::ok("gateway", "ready at http://127.0.0.1:8080"),
            Finding::warn("dead letters", "3", "look at them with `nexus dlq list`"),
            Finding::fail("disk", "1.0 GiB free (1 %)", "make room"),
            Finding::skipped("lag", "NATS does not answer"),
        ];
        let expected = "\
CHECK                 FOUND
gateway       ok       ready at http://127.0.0.1:8080
dead letters  warn     3
disk          fail     1.0 GiB free (1 %)
lag           skipped  NATS does not answer

What to do
  dead letters: look at them with `nexus dlq list`
  disk: make room
";
        let shown = render(&findings, Style::PLAIN);
        assert_eq!(
            shown,
            expected.replacen(
                "CHECK                 FOUND",
                "CHECK                  FOUND",
                1
            )
        );
        assert!(any_fails(&findings) && !any_fails(&findings[..2]));
    }
}
