//! `nexus chaos`: breaks a platform of its own in every way that is known, and checks afterwards that it
//! kept its promises. What is done follows from a seed (`plan`, `load`), what is found is a function
//! of what was recorded (`facts`, `verdict`); what lies between is as real as it can be.
//!
//! A simulation in one process was the alternative, and there is one of the core (`events/tests`): it
//! tries a thousand orders a second, and knows nothing of processes, sockets and disks.

mod caller;
mod deploy;
mod error;
mod facts;
mod inject;
mod load;
mod logbook;
mod people;
mod plan;
mod platform;
mod processes;
mod progress;
mod proxy;
mod random;
mod report;
mod servers;
mod verdict;
mod witness;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use error::ChaosError;
use facts::Facts;
use futures_util::FutureExt;
use inject::Done;
use load::RunSpec;
use logbook::Logbook;
use people::Answers;
use plan::{Kind, PlanOptions, Step};
use platform::Platform;
use progress::Progress;
use report::Report;

use crate::cli::print;
use crate::cli::style::Style;
use crate::signals::Signals;

const WATCH_EVERY: Duration = Duration::from_millis(500);
/// How long callers may insist once everything is healed.
const CALLERS_LIMIT: Duration = Duration::from_secs(120);

/// Break a platform of its own in every way that is known, and check that it kept its promises
///
/// Exits with 0 where it did, with 1 where it did not, and with 2 where there is no verdict.
#[derive(Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    /// What everything follows from: runs, faults and their times; one of its own where absent
    #[arg(long)]
    seed: Option<u64>,
    /// Runs to start
    #[arg(long, value_name = "N", default_value_t = 60)]
    runs: usize,
    /// How long faults are made, in seconds; a unit may follow (500ms, 60s, 5m)
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Kinds of faults, separated by commas; all of them where absent, none with ""
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    faults: Option<Vec<Faults>>,
    /// Servers of the bus: 1, or 3 as a cluster with replicated streams
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = nodes)]
    nodes: usize,
    /// Print what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// For machines
    #[arg(long)]
    json: bool,
    /// Keep data and logs whatever comes out; after a breach they are kept anyway
    #[arg(long)]
    keep: bool,
}

/// A kind, or the empty text that stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Faults(Option<Kind>);

impl std::str::FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        <Kind as clap::ValueEnum>::from_str(text, true)
            .map(|kind| Self(Some(kind)))
            .map_err(|_| {
                let known = Kind::ALL.map(|kind| format!("{kind:?}").to_lowercase());
                format!("there is no such kind; there is {}", known.join(", "))
            })
    }
}

fn nodes(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("it is 1 or 3".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| "it begins with a number".to_owned())?;
    let unit_ms = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("" | "s") => 1_000,
        Some("m") => 60_000,
        _ => return Err("its unit is ms, s or m".to_owned()),
    };
    let ms = number.saturating_mul(unit_ms);
    match ms {
        1_000..=86_400_000 => Ok(Duration::from_millis(ms)),
        _ => Err("it is a second at least, and a day at most".to_owned()),
    }
}

impl ChaosArgs {
    fn kinds(&self) -> Vec<Kind> {
        match &self.faults {
            None => Kind::ALL.to_vec(),
            Some(named) => named.iter().filter_map(|faults| faults.0).collect(),
        }
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }

    fn repeat(&self, seed: u64) -> String {
        let kinds = self
            .kinds()
            .into_iter()
            .map(|kind| format!("{kind:?}").to_lowercase());
        let kinds: Vec<String> = kinds.collect();
        format!(
            "nexus chaos --seed {seed} --runs {} --duration {}ms --nodes {} --faults \"{}\"",
            self.runs,
            self.duration_ms(),
            self.nodes,
            kinds.join(",")
        )
    }
}

/// Breaks and checks; errors go to standard error.
pub(crate) async fn run(args: ChaosArgs) -> ExitCode {
    let seed = args
        .seed
        .unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    let options = PlanOptions {
        duration_ms: args.duration_ms(),
        kinds: args.kinds(),
        nodes: args.nodes,
    };
    let steps = plan::plan(seed, &options);
    let specs = load::load(seed, args.runs, options.duration_ms);
    if args.plan {
        return told(print_plan(&args, &steps, &specs));
    }
    let ended = Box::pin(attempt(&args, seed, steps, specs)).await;
    match ended {
        Ok(report) => {
            let out = match args.json {
                true => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
                false => report::text(&report, Style::stdout()),
            };
            match (print::write(&out), report.kept) {
                (Ok(()), true) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("nexus: {}", crate::with_causes(&error));
            ExitCode::from(2)
        }
    }
}

fn told(printed: Result<(), crate::cli::CliError>) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn print_plan(
    args: &ChaosArgs,
    steps: &[Step],
    specs: &[RunSpec],
) -> Result<(), crate::cli::CliError> {
    if args.json {
        let plan = serde_json::json!({ "faults": steps, "runs": specs });
        return print::write(&(serde_json::to_string_pretty(&plan).unwrap_or_default() + "\n"));
    }
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    let mut lines: Vec<(u64, String)> = vec![];
    for step in steps {
        lines.push((step.at_ms, progress::line(step)));
    }
    for spec in specs {
        let RunSpec {
            number,
            shape,
            via,
            tenant,
            user,
            act,
            ..
        } = spec;
        let line = format!("run {number}: {shape:?} by {user} of {tenant} over {via:?}, {act:?}");
        lines.push((spec.at_ms, line));
    }
    lines.sort();
    let text = lines
        .iter()
        .map(|(at, line)| format!("{:>7.2}s  {line}\n", seconds(*at)));
    print::write(&text.collect::<String>())
}

/// A platform, its load, its faults, and what came of it.
async fn attempt(
    args: &ChaosArgs,
    seed: u64,
    steps: Vec<Step>,
    specs: Vec<RunSpec>,
) -> Result<Report, ChaosError> {
    let progress = Progress::new(args.json);
    let dir = platform::scratch()?;
    progress.say(&format!("seed {seed}, in {}", dir.path().display()));
    let mut signals = Signals::install().map_err(ChaosError::io("signals"))?;
    let platform = tokio::select! {
        started = Platform::start(dir.path(), args.nodes) => Arc::new(started?),
        _ = signals.next() => return Err(ChaosError::Stopped),
    };
    progress.say("the platform is ready");
    let ended = tokio::select! {
        ended = broken(&platform, dir.path(), seed, steps, specs, &progress) => ended,
        _ = signals.next() => Err(ChaosError::Stopped),
    };
    let checked = ended.map(|(facts, done)| {
        let rows = verdict::verdict(&facts);
        if args.keep || rows.iter().any(|row| row.breaches > 0) {
            write_log(&facts, dir.path());
        }
        (rows, done)
    });
    let kept = matches!(&checked, Ok((rows, _)) if rows.iter().all(|row| row.breaches == 0));
    let stopped = matches!(&checked, Err(ChaosError::Stopped));
    let keep = args.keep || !(kept || stopped);
    stop(platform, keep).await;
    let data = keep.then(|| dir.keep());
    let (checks, done) = checked.inspect_err(|_| {
        if let Some(data) = &data {
            progress.say(&format!("data and logs: {}", data.display()));
        }
    })?;
    let mut left_out = done.left_out;
    left_out.sort();
    left_out.dedup();
    Ok(Report {
        seed,
        runs: args.runs,
        nodes: args.nodes,
        faults: done.made,
        left_out,
        kept,
        checks,
        repeat: args.repeat(seed),
        data,
    })
}

/// Faults and requests that were under way hold the platform until they learn that they are over.
async fn stop(platform: Arc<Platform>, keep: bool) {
    while Arc::strong_count(&platform) > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(platform) = Arc::into_inner(platform) {
        platform.stop(keep).await;
    }
}

/// The log as lines of JSON beside the data, for whoever looks into a breach.
fn write_log(facts: &Facts, dir: &std::path::Path) {
    if let Err(error) = std::fs::write(dir.join("log.jsonl"), facts.book.as_lines()) {
        tracing::warn!(%error, "the log could not be written down");
    }
}

async fn broken(
    platform: &Arc<Platform>,
    dir: &std::path::Path,
    seed: u64,
    steps: Vec<Step>,
    specs: Vec<RunSpec>,
    progress: &Progress,
) -> Result<(Facts, Done), ChaosError> {
    deploy::set_up(platform, seed).await?;
    let logbook = Logbook::follow(platform.bus.clone());
    let answers = Answers::default();
    let disturbed = !steps.is_empty();
    let last_spec = specs.last().map_or(0, |spec| spec.at_ms);
    let last_ms = steps.last().map_or(last_spec, |step| step.at_ms);
    progress.say(&format!("{} runs, {} faults", specs.len(), steps.len()));
    let callers = people::callers(platform, &specs, &answers).shared();
    let desk = people::desk(platform, &logbook, &specs);
    let course = async {
        let faults = inject::inject(platform, steps, progress);
        let (done, ()) = tokio::join!(faults, async {
            let enough = Duration::from_millis(last_ms);
            let _ = tokio::time::timeout(enough, callers.clone()).await;
        });
        let done = done?;
        progress.say("healed");
        platform.ready(dir).await?;
        let _ = tokio::time::timeout(CALLERS_LIMIT, callers).await;
        facts::quiet(platform, &logbook, &specs, &answers, progress).await;
        Ok::<Done, ChaosError>(done)
    };
    let done = tokio::select! {
        done = course => done?,
        () = desk => Done::default(),
        failed = watch(platform) => return Err(failed),
    };
    progress.say("checking");
    let facts = facts::collect(platform, &logbook, specs.clone(), &answers, disturbed).await?;
    Ok((facts, done))
}

/// Starts again what ended by itself, as whatever supervises it would.
async fn watch(platform: &Platform) -> ChaosError {
    loop {
        for role in &platform.roles {
            if let Err(error) = role.watch().await {
                return error;
            }
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["", "s", "5h", "0s", "10ms", "9999999m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_are_named_and_none_is_possible() {
        assert_eq!("disk".parse::<Faults>().unwrap(), Faults(Some(Kind::Disk)));
        assert_eq!("".parse::<Faults>().unwrap(), Faults(None));
        assert!(
            "flood"
                .parse::<Faults>()
                .unwrap_err()
                .contains("kill, stop")
        );
    }
}
