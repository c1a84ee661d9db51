//! `nexus bench runs`: whole governed runs, one model turn each, with policy, reservation, settlement
//! and projection. First one at a time, for what a run costs in time; then as many as go, for what it
//! costs in work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_events::Tenant;
use tokio::sync::watch;

use super::direct::{self, Direct};
use super::error::BenchError;
use super::lag;
use super::load::{Load, Sample, Via, all_completed};
use super::machine::Machine;
use super::model_server::MODEL;
use super::observe::{Observer, between};
use super::platform::Platform;
use super::proc::{self, Cpu};
use super::report::{
    Alone, LOAD_GENERATOR, MODEL_SERVER, PerRun, RunsReport, Saturated,
};
use super::stats::Samples;
use super::stored::{self, Stored};
use crate::cli::Connection;
use crate::cli::print;
use crate::cli::style::Style;

const WARM_UP_RUNS: usize = 20;
const VISIBLE_LIMIT: Duration = Duration::from_secs(30);

/// Whole governed runs: rates, times, CPU, memory and bytes
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Runs of the first phase, one at a time
    #[arg(long, value_name = "N", default_value_t = 200)]
    runs: usize,
    /// Seconds of the second phase, with many in flight
    #[arg(long, value_name = "S", default_value_t = 15)]
    seconds: u64,
    /// Seconds before it that are not counted
    #[arg(long, value_name = "S", default_value_t = 5)]
    warm_up: u64,
    /// Runs in flight in the second phase
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// Tenants to spread the runs over; each has one ledger
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// How runs are started
    #[arg(long, value_enum, default_value_t = Via::Bus)]
    via: Via,
    /// Measure the platform that runs already, with its models, instead of a private one
    #[arg(long)]
    attach: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Measures and prints.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn run(args: RunsArgs) -> Result<(), BenchError> {
    let machine = Machine::here();
    say("starting the platform");
    let platform = match args.attach {
        true => Platform::attach(&args.connection).await?,
        false => Platform::start().await?,
    };
    let measured = tokio::select! {
        measured = measure(&args, machine, &platform) => measured,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Stopped),
    };
    platform.stop().await;
    let report = measured?;
    if args.json {
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        print::write(&format!("{json}\n"))?;
    } else {
        print::write(&report.render(Style::stdout()))?;
    }
    Ok(())
}

async fn measure(
    args: &RunsArgs,
    machine: Machine,
    platform: &Platform,
) -> Result<RunsReport, BenchError> {
    let direct = match &platform.model {
        Some(model) => Some(direct::measure(&model.base_url, MODEL).await?),
        None => None,
    };
    let tenants = tenants(args.tenants);
    let before = Stored::now(&platform.bus, &platform.projections).await?;
    say("one run at a time");
    let (alone, alone_runs) = alone(args, platform, &tenants, direct.as_ref()).await?;
    say("as many as go");
    let (saturated, many_runs) = saturated(args, platform, &tenants).await?;
    let after = Stored::now(&platform.bus, &platform.projections).await?;
    Ok(RunsReport {
        machine,
        via: match args.via {
            Via::Bus => "bus",
            Via::Http => "http",
        },
        tenants: tenants.len(),
        own_platform: platform.model.is_some(),
        direct_call: direct.as_ref().and_then(|direct| direct.whole.quantiles()),
        alone,
        saturated,
        memory_bytes: memory(platform),
        per_run: per_run(before, after, alone_runs + many_runs),
    })
}

fn tenants(count: u16) -> Vec<Tenant> {
    (1..=count).filter_map(|n| format!("bench-{n}").parse().ok()).collect()
}

async fn alone(
    args: &RunsArgs,
    platform: &Platform,
    tenants: &[Tenant],
    direct: Option<&Direct>,
) -> Result<(Alone, usize), BenchError> {
    let (observer, _listening) = Observer::listen(&platform.bus, tenants, true).await?;
    let load = load(args, platform, observer, tenants)?;
    let mut samples = Vec::new();
    let mut delays = Samples::default();
    for turn in 0..WARM_UP_RUNS + args.runs {
        let sample = load.one(turn).await?;
        let seq = sample.ended.seq;
        let visible = platform.projections.wait_for_seq(seq, VISIBLE_LIMIT).await;
        visible.map_err(|error| BenchError::Database(error.to_string()))?;
        if turn >= WARM_UP_RUNS {
            delays.add(sample.ended.at.elapsed());
            samples.push(sample);
        }
    }
    all_completed(&samples)?;
    let ran = WARM_UP_RUNS + samples.len();
    Ok((summarise_alone(&samples, &delays, direct), ran))
}

fn summarise_alone(samples: &[Sample], delays: &Samples, direct: Option<&Direct>) -> Alone {
    let median = |samples: &Samples| samples.quantiles().map(|quantiles| quantiles.p50_us);
    let whole = direct.and_then(|direct| median(&direct.whole));
    let first = direct.and_then(|direct| median(&direct.first_piece));
    let runs: Samples = samples.iter().map(Sample::took).collect();
    let stages = || samples.iter().map(|sample| sample.ended.stages);
    let answered: Samples =
        stages().filter_map(|stages| between(stages.started, stages.answered)).collect();
    let pieces: Samples =
        stages().filter_map(|stages| between(stages.started, stages.first_piece)).collect();
    let less = |samples: &Samples, us: Option<u64>| samples.less(us?).quantiles();
    Alone {
        overhead: less(&runs, whole),
        model_call_added: less(&answered, whole),
        first_piece_added: less(&pieces, first),
        projection_delay: delays.quantiles(),
        run: runs.quantiles(),
    }
}

/// What was used while the second phase was measured.
struct Window {
    began: Instant,
    ended: Instant,
    cpu: BTreeMap<String, Duration>,
}

async fn saturated(
    args: &RunsArgs,
    platform: &Platform,
    tenants: &[Tenant],
) -> Result<(Saturated, usize), BenchError> {
    let (observer, _listening) = Observer::listen(&platform.bus, tenants, false).await?;
    let load = load(args, platform, observer.clone(), tenants)?;
    let (tell, stop) = watch::channel(false);
    let (tell_lag, stop_lag) = watch::channel(false);
    let steps = tokio::spawn(lag::follow(platform.projections.clone(), observer, stop_lag));
    let starters = usize::from(args.concurrency);
    let clock = async {
        tokio::time::sleep(Duration::from_secs(args.warm_up)).await;
        let (began, before) = (Instant::now(), used(platform));
        tokio::time::sleep(Duration::from_secs(args.seconds.max(1))).await;
        let window = Window { began, ended: Instant::now(), cpu: used(platform).since(&before) };
        tell.send_replace(true);
        window
    };
    let (samples, window) = tokio::join!(load.many(starters, &stop), clock);
    let samples = samples?;
    all_completed(&samples)?;
    let drained = stored::drained(&platform.bus, &platform.projections).await?;
    tell_lag.send_replace(true);
    let steps = steps.await.map_err(|error| BenchError::Database(error.to_string()))?;
    let ran = samples.len();
    Ok((summarise_saturated(args, &samples, &steps, &window, drained), ran))
}

fn summarise_saturated(
    args: &RunsArgs,
    samples: &[Sample],
    steps: &[lag::Step],
    window: &Window,
    drained: Duration,
) -> Saturated {
    let within = |sample: &&Sample| {
        sample.ended.at >= window.began && sample.ended.at < window.ended
    };
    let counted: Vec<&Sample> = samples.iter().filter(within).collect();
    let heard: Vec<_> = counted.iter().map(|sample| (sample.ended.seq, sample.ended.at)).collect();
    let runs: Samples = counted.iter().map(|sample| sample.took()).collect();
    let length = window.ended.saturating_duration_since(window.began);
    let each = |cpu: &Duration| micros(*cpu) / counted.len().max(1) as u64;
    let cpu: BTreeMap<String, u64> =
        window.cpu.iter().map(|(name, cpu)| (name.clone(), each(cpu))).collect();
    let platform = cpu.iter().filter(|(name, _)| *name != LOAD_GENERATOR && *name != MODEL_SERVER);
    let platform: Vec<u64> = platform.map(|(_, us)| *us).collect();
    Saturated {
        in_flight: usize::from(args.concurrency),
        window_ms: micros(length) / 1000,
        runs: runs.len(),
        runs_per_second: runs.len() as f64 / length.as_secs_f64().max(f64::EPSILON),
        run: runs.quantiles(),
        projection_delay: lag::delays(&heard, steps).quantiles(),
        most_commits_behind: lag::most_behind(steps),
        drained_after_ms: micros(drained) / 1000,
        cpu_us_per_run_platform: (!platform.is_empty()).then(|| platform.iter().sum()),
        cpu_us_per_run: cpu,
    }
}

fn load(
    args: &RunsArgs,
    platform: &Platform,
    observer: Observer,
    tenants: &[Tenant],
) -> Result<Load, BenchError> {
    Load::new(platform.bus.clone(), observer, tenants.to_vec(), args.via, &platform.url)
}

/// CPU of everything that takes part. The platform may be a child of this process, and so is the
/// model server: each is its own tree, and this process alone is the load generator.
fn used(platform: &Platform) -> Cpu {
    let mut cpu = Cpu::of_tree(platform.pid);
    cpu.add(MODEL_SERVER, Cpu::of_tree(platform.model.as_ref().map(|model| model.pid)));
    cpu.add(LOAD_GENERATOR, Cpu::of_one(std::process::id()));
    cpu
}

fn memory(platform: &Platform) -> BTreeMap<String, u64> {
    let mut memory = proc::memory_of_tree(platform.pid);
    let model = proc::memory_of_tree(platform.model.as_ref().map(|model| model.pid));
    memory.insert(MODEL_SERVER.to_owned(), model.values().sum());
    memory.retain(|_, bytes| *bytes > 0);
    memory
}

fn per_run(before: Stored, after: Stored, runs: usize) -> PerRun {
    let divisor = runs.max(1) as u64;
    let each = |before: u64, after: u64| after.saturating_sub(before) / divisor;
    PerRun {
        runs,
        commits: after.commits.saturating_sub(before.commits) as f64 / divisor as f64,
        log_bytes: each(before.log_bytes, after.log_bytes),
        database_bytes: each(before.database_bytes, after.database_bytes),
        wal_bytes: each(before.wal_bytes, after.wal_bytes),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn say(what: &str) {
    print::hint(&format!("{what} …"));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::super::observe::{Ended, Stages};
    use super::*;

    fn sample(t0: Instant, began: u64, started: u64, answered: u64, ended: u64) -> Sample {
        let at = |ms| t0 + Duration::from_millis(ms);
        let stages = Stages {
            started: Some(at(started)),
            first_piece: None,
            answered: Some(at(answered)),
        };
        Sample { began: at(began), ended: Ended { at: at(ended), seq: ended, failure: None, stages } }
    }

    #[test]
    fn what_the_model_took_is_not_the_platforms() {
        let t0 = Instant::now();
        let direct = Direct {
            whole: [Duration::from_millis(2)].into_iter().collect(),
            first_piece: Samples::default(),
        };
        let alone =
            summarise_alone(&[sample(t0, 0, 1, 6, 9)], &Samples::default(), Some(&direct));
        assert_eq!(alone.run.unwrap().p50_us, 9_000);
        assert_eq!(alone.overhead.unwrap().p50_us, 7_000);
        assert_eq!(alone.model_call_added.unwrap().p50_us, 3_000);
        assert_eq!((alone.first_piece_added, alone.projection_delay), (None, None));
    }

    #[test]
    fn only_what_ended_in_the_window_counts() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let args = RunsArgs {
            runs: 1,
            seconds: 1,
            warm_up: 0,
            concurrency: 4,
            tenants: 1,
            via: Via::Bus,
            attach: false,
            json: false,
            connection: Connection::default(),
        };
        let samples = [sample(t0, 0, 1, 2, 999), sample(t0, 900, 901, 902, 1_000),
            sample(t0, 1_900, 1_901, 1_902, 1_999), sample(t0, 1_900, 1_901, 1_902, 2_000)];
        let cpu = [("nexus", 10), (LOAD_GENERATOR, 4)];
        let cpu = cpu.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms))).into();
        let window = Window { began: at(1_000), ended: at(2_000), cpu };
        let steps = [lag::Step { at: at(2_004), applied: 2_000, heard: 2_003 }];
        let found = summarise_saturated(&args, &samples, &steps, &window, Duration::ZERO);
        assert_eq!((found.runs, found.window_ms), (2, 1_000));
        assert_eq!(found.cpu_us_per_run_platform, Some(5_000));
        assert_eq!(found.projection_delay.unwrap().p50_us, 5_000);
        assert_eq!(found.most_commits_behind, 3);
    }

    #[test]
    fn bytes_are_shared_by_all_runs() {
        let after = Stored { commits: 12, log_bytes: 900, database_bytes: 5, wal_bytes: 20 };
        let each = per_run(Stored::default(), after, 3);
        assert_eq!((each.log_bytes, each.database_bytes, each.wal_bytes), (300, 1, 6));
        assert!((each.commits - 4.0).abs() < f64::EPSILON);
    }
}
