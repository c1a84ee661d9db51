//! What a soak found, as data and as text, and the verdict on it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::machine::Machine;
use super::report::machine_line;
use super::soak::{Line, Program, Sample};
use super::stats::Quantiles;
use crate::cli::format::{bytes, count, duration};
use crate::cli::style::{Style, Tone};
use crate::cli::table::{Align, Cell, Sheet, Table};

/// Memory of our own processes that a run may leave behind, in bytes: what the allocator keeps of
/// pages that are not quite full, and no state.
const OURS: f64 = 64.0;
/// Of nats-server: it keeps each message's place and each subject in memory while they are stored.
const SERVERS: f64 = 4_096.0;
/// Of a Postgres process: catalogue and plans, in as many processes as there are connections.
const POSTGRES: f64 = 256.0;
/// Growth over the whole time that is not called one, in bytes.
const FLOOR: f64 = 4.0 * 1024.0 * 1024.0;
/// Time before growth is not judged, in milliseconds: the duplicate windows of the streams, two
/// minutes long, are full by then.
const WARM_UP_MS: u64 = 180_000;
/// Commands that wait while a sample is not judged: what is in hand then is work, and no leak.
const BUSY: u64 = 100;
/// Threads and consumers that may come and go.
const FEW: f64 = 16.0;
/// Files and sockets that may: connections to models are kept for a while.
const FILES: f64 = 256.0;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SPARKS: usize = 32;

/// What `nexus bench soak` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SoakReport {
    /// Where.
    pub(crate) machine: Machine,
    /// Runs that were begun a second.
    pub(crate) rate: f64,
    /// Whether it was ended before its time.
    pub(crate) interrupted: bool,
    /// Runs before which growth is not judged.
    pub(crate) warm_up_runs: u64,
    /// Runs that completed.
    pub(crate) completed: u64,
    /// Runs that did not.
    pub(crate) failed: u64,
    /// Runs that were due while too many were in flight.
    pub(crate) not_begun: u64,
    /// What the first run that failed said.
    pub(crate) first_failure: Option<String>,
    /// Times of runs, by window.
    pub(crate) windows: Vec<WindowTimes>,
    /// What there was, again and again.
    pub(crate) samples: Vec<Sample>,
    /// What grows with the runs.
    pub(crate) growth: Vec<Growth>,
    /// What is wrong, a sentence each; nothing where it is steady.
    pub(crate) verdict: Vec<String>,
}

/// Times of the runs that ended in a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct WindowTimes {
    /// The window's end, since the load began.
    pub(crate) at_ms: u64,
    /// From asking for a run to hearing of its end.
    pub(crate) run: Option<Quantiles>,
}

/// What a measure did over the runs after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    /// Of what: `memory nexus`, `stream NEXUS_EVT`, `table agent_runs`.
    pub(crate) what: String,
    /// Its unit: `bytes`, or none.
    pub(crate) unit: &'static str,
    /// The last figure.
    pub(crate) last: f64,
    /// The line through all of them, by run.
    pub(crate) line: Option<Line>,
    /// What a run may leave; absent where what runs leave is kept on purpose.
    pub(crate) allowed: Option<f64>,
    /// Whether it surely grows beyond that.
    pub(crate) grows: bool,
    /// All figures, for a small picture.
    #[serde(skip)]
    pub(crate) figures: Vec<f64>,
}

type Measure<'a> = Box<dyn Fn(&Sample) -> Option<f64> + 'a>;

impl SoakReport {
    /// Draws the lines and says what is wrong.
    pub(crate) fn judge(&mut self) {
        self.growth = self.growths();
        let grows = self.growth.iter().filter(|growth| growth.grows);
        let mut verdict: Vec<String> = grows.map(Growth::sentence).collect();
        if self.failed > 0 {
            let why = self.first_failure.as_deref().unwrap_or_default();
            let failed = count(self.failed);
            verdict.push(format!(
                "{failed} runs did not complete; the first said: {why}"
            ));
        }
        if self.not_begun > self.completed / 100 {
            let late = count(self.not_begun);
            verdict.push(format!(
                "{late} runs could not begin: the platform did not keep up"
            ));
        }
        if self.growth.iter().all(|growth| growth.line.is_none()) {
            verdict.push("too few samples after the warm-up for a verdict".to_owned());
        }
        self.verdict = verdict;
    }

    fn growths(&self) -> Vec<Growth> {
        let mut all = vec![];
        for name in names(&self.samples, |sample| &sample.programs) {
            let allowed = match name.as_str() {
                "nats-server" => SERVERS,
                "postgres" => POSTGRES,
                _ => OURS,
            };
            let of = |value: fn(&Program) -> u64| -> Measure<'_> {
                let name = name.clone();
                Box::new(move |sample| sample.programs.get(&name).map(|p| value(p) as f64))
            };
            let memory = of(|program| program.memory_bytes);
            all.push(self.growth(
                format!("memory {name}"),
                "bytes",
                Some(allowed),
                FLOOR,
                &memory,
            ));
            let (threads, files) = (of(|p| p.threads), of(|p| p.open_files));
            all.push(self.growth(format!("threads {name}"), "", Some(0.0), FEW, &threads));
            all.push(self.growth(format!("open files {name}"), "", Some(0.0), FILES, &files));
        }
        for name in names(&self.samples, |sample| &sample.streams) {
            let bytes = |s: &Sample| s.streams.get(&name).map(|stream| stream.bytes as f64);
            let consumers = |s: &Sample| s.streams.get(&name).map(|stream| stream.consumers as f64);
            let messages = |s: &Sample| s.streams.get(&name).map(|stream| stream.messages as f64);
            all.push(self.growth(format!("stream {name}"), "bytes", None, 0.0, &bytes));
            all.push(self.growth(format!("consumers {name}"), "", Some(0.0), FEW, &consumers));
            if name == nexus_bus::topology::COMMANDS {
                all.push(self.growth(
                    "commands that wait".to_owned(),
                    "",
                    Some(0.0),
                    1_000.0,
                    &messages,
                ));
            }
        }
        for name in names(&self.samples, |sample| &sample.tables) {
            let rows = |s: &Sample| s.tables.get(&name).map(|table| table.bytes as f64);
            let index = |s: &Sample| s.tables.get(&name).map(|table| table.index_bytes as f64);
            all.push(self.growth(format!("table {name}"), "bytes", None, 0.0, &rows));
            all.push(self.growth(format!("indexes {name}"), "bytes", None, 0.0, &index));
        }
        all
    }

    fn growth(
        &self,
        what: String,
        unit: &'static str,
        allowed: Option<f64>,
        floor: f64,
        measure: &dyn Fn(&Sample) -> Option<f64>,
    ) -> Growth {
        let is_warm = |sample: &&Sample| {
            sample.runs >= self.warm_up_runs
                && sample.at_ms >= WARM_UP_MS
                && sample.waiting() <= BUSY
        };
        let warm = self.samples.iter().filter(is_warm);
        let points: Vec<_> = warm
            .filter_map(|sample| Some((sample.runs as f64, measure(sample)?)))
            .collect();
        let figures: Vec<f64> = self.samples.iter().filter_map(measure).collect();
        let line = Line::through(&points);
        let beyond = |line: &Line| allowed.is_some_and(|most| line.grows_beyond(most, floor));
        Growth {
            what,
            unit,
            last: figures.last().copied().unwrap_or_default(),
            grows: line.as_ref().is_some_and(beyond),
            line,
            allowed,
            figures,
        }
    }

    /// As people read it.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut head = Sheet::default();
        head.line("machine", Cell::plain(machine_line(&self.machine)));
        let time = self.windows.last().map_or(0, |window| window.at_ms);
        let ended = match self.interrupted {
            true => " (ended before its time)",
            false => "",
        };
        head.line("time", Cell::plain(duration(time) + ended));
        head.line("runs a second", Cell::plain(format!("{:.0}", self.rate)));
        head.line("runs", Cell::plain(count(self.completed)));
        head.line(
            "failed, not begun",
            Cell::plain(format!("{}, {}", self.failed, self.not_begun)),
        );
        let p99: Vec<f64> = self
            .windows
            .iter()
            .filter_map(|w| Some(w.run?.p99_us as f64))
            .collect();
        let p50: Vec<f64> = self
            .windows
            .iter()
            .filter_map(|w| Some(w.run?.p50_us as f64))
            .collect();
        for (name, times) in [("p50 of a run", p50), ("p99 of a run", p99)] {
            let last = times.last().copied().unwrap_or_default() / 1000.0;
            head.line(
                name,
                Cell::plain(format!("{}  {last:.1} ms", sparkline(&times))),
            );
        }
        let mut out = head.render(style);
        out.push('\n');
        out.push_str(&self.table(style));
        out.push('\n');
        match self.verdict.is_empty() {
            true => {
                out.push_str(&style.paint(Tone::Good, "Steady: nothing grows but what is kept.\n"))
            }
            false => self.verdict.iter().for_each(|line| {
                out.push_str(&style.paint(Tone::Bad, line));
                out.push('\n');
            }),
        }
        out
    }

    fn table(&self, style: Style) -> String {
        let columns = [
            ("", Align::Left),
            ("NOW", Align::Right),
            ("A RUN", Align::Right),
            ("±", Align::Right),
            ("ALLOWED", Align::Right),
            ("", Align::Left),
            ("", Align::Left),
        ];
        let mut table = Table::new(columns);
        for growth in self.growth.iter().filter(|growth| growth.is_worth_a_row()) {
            let (word, tone) = match (growth.grows, growth.allowed, growth.line) {
                (true, _, _) => ("GROWS", Tone::Bad),
                (_, None, _) => ("kept", Tone::Plain),
                (_, _, None) => ("unknown", Tone::Plain),
                _ => ("steady", Tone::Good),
            };
            let line =
                |of: fn(&Line) -> f64| growth.line.as_ref().map(|line| growth.figure(of(line)));
            table.row(vec![
                Cell::plain(growth.what.clone()),
                Cell::plain(growth.figure(growth.last)),
                Cell::plain(line(|line| line.slope).unwrap_or_default()),
                Cell::plain(line(|line| line.error).unwrap_or_default()),
                Cell::plain(
                    growth
                        .allowed
                        .map(|most| growth.figure(most))
                        .unwrap_or_default(),
                ),
                Cell::plain(sparkline(&growth.figures)),
                Cell::toned(word, tone),
            ]);
        }
        table.render(style)
    }
}

impl Growth {
    fn sentence(&self) -> String {
        let line = self.line.unwrap_or(Line {
            slope: 0.0,
            error: 0.0,
            rise: 0.0,
        });
        format!(
            "{} grows by {} a run (± {}), {} in all",
            self.what,
            self.figure(line.slope),
            self.figure(line.error),
            self.figure(line.rise)
        )
    }

    /// Whatever never was there, or counts a few and stays so, only lengthens the table.
    fn is_worth_a_row(&self) -> bool {
        self.grows
            || (self.unit == "bytes" && self.last >= 65_536.0)
            || self.what.contains(" nexus")
    }

    fn figure(&self, value: f64) -> String {
        if self.unit.is_empty() {
            return match value.fract() == 0.0 {
                true => format!("{value:.0}"),
                false => format!("{value:.5}"),
            };
        }
        let text = bytes(value.abs() as u64);
        if value <= -1.0 {
            format!("-{text}")
        } else {
            text
        }
    }
}

fn names<T>(
    samples: &[Sample],
    of: impl Fn(&Sample) -> &std::collections::BTreeMap<String, T>,
) -> BTreeSet<String> {
    samples
        .iter()
        .flat_map(|sample| of(sample).keys().cloned())
        .collect()
}

/// A small picture of figures, from zero or from near their least where they hardly differ.
fn sparkline(figures: &[f64]) -> String {
    let (low, high) = figures.iter().fold((f64::MAX, f64::MIN), |(low, high), x| {
        (low.min(*x), high.max(*x))
    });
    let step = figures.len().div_ceil(SPARKS).max(1);
    let bar = |part: &[f64]| {
        let mean = part.iter().sum::<f64>() / part.len().max(1) as f64;
        let level = match high > low {
            true => (mean - low) / (high - low) * 7.0,
            false => 0.0,
        };
        BARS.get(level.round() as usize).copied().unwrap_or('█')
    };
    figures.chunks(step).map(bar).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail")]
    use super::*;

    /// Forty samples, a minute and ten thousand runs apart, of a program that keeps so many bytes a run.
    fn report(kept: u64) -> SoakReport {
        let program = |memory_bytes| Program {
            memory_bytes,
            threads: 9,
            open_files: 40,
            processes: 1,
        };
        let sample = |i: u64| Sample {
            at_ms: i * 60_000,
            runs: i * 10_000,
            programs: [("nexus".to_owned(), program((80 << 20) + i * 10_000 * kept))].into(),
            ..Sample::default()
        };
        SoakReport {
            machine: Machine::here(),
            rate: 166.0,
            interrupted: false,
            warm_up_runs: 65_000,
            completed: 400_000,
            failed: 0,
            not_begun: 0,
            first_failure: None,
            windows: vec![],
            samples: (0..40).map(sample).collect(),
            growth: vec![],
            verdict: vec![],
        }
    }

    #[test]
    fn a_leak_is_named_and_what_is_steady_says_so() {
        let mut steady = report(0);
        steady.judge();
        assert_eq!(steady.verdict, Vec::<String>::new());
        assert!(
            steady
                .render(Style::PLAIN)
                .contains("Steady: nothing grows")
        );
        let mut leaking = report(200);
        leaking.judge();
        let [said] = leaking.verdict.as_slice() else {
            panic!("{:?}", leaking.verdict)
        };
        assert!(
            said.starts_with("memory nexus grows by 200 B a run"),
            "{said}"
        );
        assert!(leaking.render(Style::PLAIN).contains("GROWS"));
    }

    #[test]
    fn runs_that_fail_and_too_few_samples_are_no_good_verdict() {
        let mut failed = report(0);
        failed.failed = 2;
        failed.first_failure = Some("busy".to_owned());
        failed.judge();
        assert_eq!(
            failed.verdict,
            ["2 runs did not complete; the first said: busy"]
        );
        let mut short = report(0);
        short.samples.truncate(9);
        short.judge();
        assert_eq!(
            short.verdict,
            ["too few samples after the warm-up for a verdict"]
        );
    }
}
