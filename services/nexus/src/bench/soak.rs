//! `nexus bench soak`: hours of steady load, and whether anything grows that should not. What runs
//! leave on the bus and in the tables is expected, and bounded by retention; what they leave in
//! memory is a leak. The verdict is a line through the samples with its error, so that noise is none.

mod fit;
mod load;
mod sample;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nexus_events::Tenant;
use tokio::sync::watch;

pub(crate) use fit::Line;
use load::{Counts, Steady};
pub(crate) use sample::{Program, Sample};

use super::error::BenchError;
use super::frame::say;
use super::load::{Load, Via};
use super::machine::Machine;
use super::model_server::OwnModelServer;
use super::observe::Observer;
use super::platform::Platform;
use super::soak_report::{SoakReport, WindowTimes};
use super::stats::Samples;
use crate::cli::format::count;
use crate::cli::print;
use crate::cli::style::Style;

/// Runs in flight while the maximum is measured, and for how long that is.
const STARTERS: usize = 64;
const MAXIMUM_TAKES: Duration = Duration::from_secs(15);

/// Hours of load at a part of the maximum: what grows, and a verdict
#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// How long: 2h, 30m. Ctrl-C gives the verdict on what there is
    #[arg(long = "for", value_name = "SPAN", default_value = "2h", value_parser = crate::cli::parse::span_ms)]
    span_ms: u64,
    /// Part of the maximum, which is measured first
    #[arg(long, value_name = "PART", default_value_t = 0.5)]
    rate_fraction: f64,
    /// Runs a second, instead of measuring the maximum
    #[arg(long, value_name = "N", conflicts_with = "rate_fraction")]
    rate: Option<f64>,
    /// Between two samples: 10s, 1m. A hundredth of the time where it is not given, 5 s at least
    #[arg(long, value_name = "SPAN", value_parser = crate::cli::parse::span_ms)]
    every: Option<u64>,
    /// Runs before which growth is not judged: caches, and what ledgers remember of settled
    /// reservations, fill up to their bounds
    #[arg(long, value_name = "N", default_value_t = 65_000)]
    warm_up_runs: u64,
    /// Turns of a session before the next one begins
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    turns: u64,
}

/// Loads, watches and prints.
///
/// # Errors
/// [`BenchError`]: there is no figure, or the verdict is that something grows.
pub(crate) async fn run(args: SoakArgs, json: bool) -> Result<(), BenchError> {
    let machine = Machine::here();
    say("starting the platform");
    let model = OwnModelServer::scripted().await?;
    let platform = Platform::configured(model, "").await?;
    let soaked = soak(&args, machine, &platform).await;
    platform.stop().await;
    let report = soaked?;
    let text = match json {
        true => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
        false => report.render(Style::stdout()),
    };
    print::write(&text)?;
    match report.verdict.first() {
        None => Ok(()),
        Some(first) => Err(BenchError::Unsteady(first.clone())),
    }
}

async fn soak(
    args: &SoakArgs,
    machine: Machine,
    platform: &Platform,
) -> Result<SoakReport, BenchError> {
    let tenant: Tenant = "bench"
        .parse()
        .map_err(|error: nexus_events::ids::InvalidId| BenchError::Bus(error.to_string()))?;
    let tenants = [tenant.clone()];
    let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => maximum(platform, &observer, &tenants).await? * args.rate_fraction.clamp(0.01, 1.0),
    };
    let rate = rate.max(0.1);
    say(&format!("{rate:.0} runs a second"));
    let counts = Arc::new(Counts::default());
    let steady = Steady {
        bus: platform.bus.clone(),
        observer,
        tenant,
        turns: args.turns,
        counts: Arc::clone(&counts),
    };
    let (tell, stop) = watch::channel(false);
    let loading = tokio::spawn(async move { steady.run(rate, stop).await });
    let watched = watch(args, platform, &counts).await;
    tell.send_replace(true);
    // After Ctrl-C the platform may be gone too: nobody waits for what it will not end.
    match watched.interrupted {
        true => loading.abort(),
        false => drop(loading.await),
    }
    let first_failure = counts
        .first_failure
        .lock()
        .map_or(None, |first| first.clone());
    let mut report = SoakReport {
        machine,
        rate,
        interrupted: watched.interrupted,
        warm_up_runs: args.warm_up_runs,
        completed: counts.completed.load(Ordering::Relaxed),
        failed: counts.failed.load(Ordering::Relaxed),
        not_begun: counts.not_begun.load(Ordering::Relaxed),
        first_failure,
        windows: watched.windows,
        samples: watched.samples,
        growth: vec![],
        verdict: vec![],
    };
    report.judge();
    Ok(report)
}

/// Runs a second with many in flight.
async fn maximum(
    platform: &Platform,
    observer: &Observer,
    tenants: &[Tenant],
) -> Result<f64, BenchError> {
    say("measuring the maximum");
    let (bus, tenants) = (platform.bus.clone(), tenants.to_vec());
    let load = Load::new(bus, observer.clone(), tenants, Via::Bus, &platform.url)?;
    let (tell, stop) = watch::channel(false);
    let began = Instant::now();
    let clock = async {
        tokio::time::sleep(MAXIMUM_TAKES).await;
        tell.send_replace(true);
    };
    let (samples, ()) = tokio::join!(load.many(STARTERS, &stop), clock);
    let samples = samples?;
    super::load::all_completed(&samples)?;
    Ok(samples.len() as f64 / began.elapsed().as_secs_f64())
}

struct Watched {
    samples: Vec<Sample>,
    windows: Vec<WindowTimes>,
    interrupted: bool,
}

/// Samples until the time is over or Ctrl-C. A server that does not answer once is asked again.
async fn watch(args: &SoakArgs, platform: &Platform, counts: &Counts) -> Watched {
    let every = args.every.unwrap_or(args.span_ms / 100).max(5_000);
    let mut ticks = tokio::time::interval(Duration::from_millis(every));
    let began = Instant::now();
    let mut watched = Watched {
        samples: vec![],
        windows: vec![],
        interrupted: false,
    };
    let ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    while ms() < args.span_ms {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => {
                watched.interrupted = true;
                return watched;
            }
        }
        let runs = counts.completed.load(Ordering::Relaxed);
        let times = counts.take_times();
        let times = times
            .into_iter()
            .map(Duration::from_micros)
            .collect::<Samples>();
        watched.windows.push(WindowTimes {
            at_ms: ms(),
            run: times.quantiles(),
        });
        match sample::take(platform, ms(), runs).await {
            Ok(sample) => watched.samples.push(sample),
            Err(error) => print::hint(&format!("no sample: {error}")),
        }
        if watched.windows.len().is_multiple_of(10) {
            say(&format!("{} runs", count(runs)));
        }
    }
    watched
}
