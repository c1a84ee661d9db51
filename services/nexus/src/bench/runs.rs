//! `nexus bench runs`: whole governed runs, one model turn each, with policy, reservation, settlement
//! and projection. First one at a time, for what a run costs in time; then as many as go, for what it
//! costs in work.

use std::time::{Duration, Instant};

use nexus_events::Tenant;
use tokio::sync::watch;

use super::bare;
use super::direct::{self, Direct};
use super::error::BenchError;
use super::frame::{self, say};
use super::lag;
use super::load::{Load, Via, all_completed};
use super::model_server::MODEL;
use super::observe::Observer;
use super::platform::Platform;
use super::report::Part;
use super::report::runs::{Alone, RunsReport, Saturated};
use super::stats::Samples;
use super::stored::{self, Stored};
use super::summary::{self, Window};
use crate::cli::Connection;

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
    #[command(flatten)]
    connection: Connection,
}

impl RunsArgs {
    fn how(&self) -> How {
        How {
            via: self.via,
            in_flight: usize::from(self.concurrency),
            warm_up: Duration::from_secs(self.warm_up),
            length: Duration::from_secs(self.seconds.max(1)),
        }
    }
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &RunsArgs) -> Result<Part, BenchError> {
    let measure = async |platform: &Platform| measure(args, platform).await;
    let report = frame::on_platform(args.attach, &args.connection, measure).await?;
    Ok(report.part())
}

async fn measure(args: &RunsArgs, platform: &Platform) -> Result<RunsReport, BenchError> {
    say("the bare bus");
    let bare_publishes_per_second = bare::publishes_per_second(&platform.bus).await?;
    let direct = match &platform.model {
        Some(model) => Some(direct::measure(&model.base_url, MODEL).await?),
        None => None,
    };
    let tenants = tenants(args.tenants);
    let before = Stored::now(platform).await?;
    say("one run at a time");
    let (alone, alone_runs) = alone(args, platform, &tenants, direct.as_ref()).await?;
    say("as many as go");
    let (saturated, many_runs) = saturated(args.how(), platform, &tenants).await?;
    let after = Stored::now(platform).await?;
    Ok(RunsReport {
        via: match args.via {
            Via::Bus => "bus",
            Via::Http => "http",
        },
        tenants: tenants.len(),
        own_platform: platform.model.is_some(),
        direct_call: direct.as_ref().and_then(|direct| direct.whole.quantiles()),
        alone,
        saturated,
        bare_publishes_per_second,
        memory_bytes: platform.memory(),
        per_run: summary::per_run(before, after, alone_runs + many_runs),
    })
}

fn tenants(count: u16) -> Vec<Tenant> {
    (1..=count)
        .filter_map(|n| format!("bench-{n}").parse().ok())
        .collect()
}

async fn alone(
    args: &RunsArgs,
    platform: &Platform,
    tenants: &[Tenant],
    direct: Option<&Direct>,
) -> Result<(Alone, usize), BenchError> {
    let (observer, _listening) = Observer::listen(&platform.bus, tenants, true).await?;
    let load = load(args.via, platform, observer, tenants)?;
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
    Ok((summary::alone(&samples, &delays, direct), ran))
}

/// How many runs are started, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) via: Via,
    pub(super) in_flight: usize,
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
}

/// As many runs as go; says how many there were, those that were not counted too.
///
/// # Errors
/// [`BenchError`]: a run did not complete.
pub(super) async fn saturated(
    how: How,
    platform: &Platform,
    tenants: &[Tenant],
) -> Result<(Saturated, usize), BenchError> {
    let (observer, _listening) = Observer::listen(&platform.bus, tenants, false).await?;
    let load = load(how.via, platform, observer.clone(), tenants)?;
    let (tell, stop) = watch::channel(false);
    let (tell_lag, stop_lag) = watch::channel(false);
    let steps = tokio::spawn(lag::follow(
        platform.projections.clone(),
        move || observer.last_seq(),
        stop_lag,
    ));
    let starters = how.in_flight;
    let clock = async {
        tokio::time::sleep(how.warm_up).await;
        let (began, before) = (Instant::now(), platform.cpu());
        tokio::time::sleep(how.length).await;
        let window = Window {
            began,
            ended: Instant::now(),
            cpu: platform.cpu().since(&before),
        };
        tell.send_replace(true);
        window
    };
    let (samples, window) = tokio::join!(load.many(starters, &stop), clock);
    let samples = samples?;
    all_completed(&samples)?;
    let drained = stored::drained(platform).await?;
    tell_lag.send_replace(true);
    let steps = steps
        .await
        .map_err(|error| BenchError::Database(error.to_string()))?;
    let ran = samples.len();
    Ok((
        summary::saturated(starters, &samples, &steps, &window, drained),
        ran,
    ))
}

fn load(
    via: Via,
    platform: &Platform,
    observer: Observer,
    tenants: &[Tenant],
) -> Result<Load, BenchError> {
    Load::new(
        platform.bus.clone(),
        observer,
        tenants.to_vec(),
        via,
        &platform.url,
    )
}
