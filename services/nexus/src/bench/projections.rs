//! `nexus bench projections` and `nexus bench rebuild`: how fast the log becomes rows. First what one
//! projector does with a backlog, then how late it is at half of that; and how long new tables take
//! to be filled from the beginning.

use std::time::{Duration, Instant};

use nexus_bus::topology::EVENTS;
use tokio::sync::watch;

use super::bare;
use super::error::BenchError;
use super::frame::{self, say};
use super::lag;
use super::model_server::OwnModelServer;
use super::past::Past;
use super::platform::{POSTGRES, Platform};
use super::processes::Group;
use super::report::runs::LOAD_GENERATOR;
use super::report::{Figure, Part, Unit};

/// One projector: events a second, and how late it is at half of that
#[derive(Debug, clap::Args)]
pub(crate) struct ProjectionsArgs {
    /// Events of the backlog
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub(super) events: u64,
    /// Seconds at half the rate
    #[arg(long, value_name = "S", default_value_t = 10)]
    pub(super) seconds: u64,
}

/// New tables, filled from the beginning of the log
#[derive(Debug, clap::Args)]
pub(crate) struct RebuildArgs {
    /// Events of the log
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub(super) events: u64,
}

const PROJECTOR: &str = "projector";
const GROUPS: [Group<'static>; 2] = [
    (
        "roles",
        &["run", "budget", "policy", "tools", "llm", "gateway"],
    ),
    (PROJECTOR, &["projector"]),
];
const APPLIED_LIMIT: Duration = Duration::from_secs(600);
const BARE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &ProjectionsArgs) -> Result<Part, BenchError> {
    say("starting the platform");
    let model = OwnModelServer::start().await?;
    let mut platform = Platform::pieces(model, "", &GROUPS).await?;
    let measured = tokio::select! {
        measured = measure(args, &mut platform) => measured,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Stopped),
    };
    platform.stop().await;
    measured
}

async fn measure(args: &ProjectionsArgs, platform: &mut Platform) -> Result<Part, BenchError> {
    let about =
        "Commits of real runs, published again as others; one projector in a process of its own.";
    let mut part = Part::new("projections", about);
    let mut past = Past::record(platform).await?;
    say("a backlog");
    if let Some(processes) = platform.processes_mut() {
        processes.end(PROJECTOR).await;
    }
    let backlog = past.publish(&platform.bus, args.events).await?;
    say("the log read and nothing done, rows added and nothing read");
    let reads = bare::reads_per_second(&platform.bus).await?;
    let rows = bare::rows_per_second(&platform.projections, BARE).await?;
    say(&format!("{} events to be applied", backlog.events));
    let before = platform.cpu();
    if let Some(processes) = platform.processes_mut() {
        processes.begin((PROJECTOR, &["projector"]), &[])?;
    }
    let first = applied(platform, 1 + backlog.last_seq - backlog.commits).await?;
    let last = applied(platform, backlog.last_seq).await?;
    let used = platform.cpu().since(&before);
    let rate = backlog.events as f64 / (last - first).as_secs_f64().max(f64::EPSILON);
    part.add(
        Figure::new("events applied in a second", rate, Unit::PerSecond)
            .at_least(30_000.0)
            .beside("rows added to a bare table with two indexes", rows),
    );
    let per_commit = backlog.events as f64 / backlog.commits.max(1) as f64;
    part.add(
        Figure::new(
            "commits applied in a second",
            rate / per_commit,
            Unit::PerSecond,
        )
        .beside("commits read from the log", reads),
    );
    for program in [PROJECTOR, POSTGRES] {
        let cpu = used.get(program).map_or(0.0, Duration::as_secs_f64);
        let each = cpu * 1e6 / backlog.events.max(1) as f64;
        part.plain(format!("CPU an event: {program}"), each, Unit::Us);
    }
    let time = Duration::from_secs(args.seconds.max(1));
    late(platform, &mut past, rate / 2.0, time, &mut part).await?;
    part.memory(&platform.memory());
    Ok(part)
}

async fn applied(platform: &Platform, seq: u64) -> Result<Instant, BenchError> {
    let reached = platform.projections.wait_for_seq(seq, APPLIED_LIMIT).await;
    reached.map_err(|error| BenchError::Database(error.to_string()))?;
    Ok(Instant::now())
}

/// From a commit's acknowledgement to its being visible, at a given rate.
async fn late(
    platform: &Platform,
    past: &mut Past,
    rate: f64,
    time: Duration,
    part: &mut Part,
) -> Result<(), BenchError> {
    say(&format!("{rate:.0} events a second"));
    past.publish_at(&platform.bus, rate, WARM_UP).await?;
    let (tell, stop) = watch::channel(false);
    let steps = tokio::spawn(lag::follow(platform.projections.clone(), || 0, stop));
    let published = past.publish_at(&platform.bus, rate, time).await?;
    applied(platform, published.last_seq).await?;
    tell.send_replace(true);
    let steps = steps.await;
    let steps = steps.map_err(|error| BenchError::Database(error.to_string()))?;
    let delays = lag::delays(&published.heard, &steps).quantiles();
    let really = published.events as f64 / time.as_secs_f64();
    let name = format!("visible after, at {really:.0} events a second");
    part.times(&name, delays, [None, Some(50.0)]);
    Ok(())
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn rebuild_part(args: &RebuildArgs) -> Result<Part, BenchError> {
    let connection = crate::cli::Connection::default();
    let measure = async |platform: &Platform| rebuild(args, platform).await;
    frame::on_platform(false, &connection, measure).await
}

async fn rebuild(args: &RebuildArgs, platform: &Platform) -> Result<Part, BenchError> {
    let about = "All tables filled anew from the beginning of the log, beside the live ones.";
    let mut part = Part::new("rebuild", about);
    say("a log");
    let mut past = Past::record(platform).await?;
    let log = past.publish(&platform.bus, args.events).await?;
    applied(platform, log.last_seq).await?;
    let reads = bare::reads_per_second(&platform.bus).await?;
    let rows = bare::rows_per_second(&platform.projections, BARE).await?;
    say("rebuilding");
    let before = platform.cpu();
    let js = platform.bus.jetstream().clone();
    let mut tell = |_| {};
    let built = nexus_projections::rebuild(&platform.projections, js, EVENTS, &mut tell).await;
    let built = built.map_err(|error| BenchError::Database(error.to_string()))?;
    let used = platform.cpu().since(&before);
    let seconds = built.duration.as_secs_f64().max(f64::EPSILON);
    part.add(
        Figure::new(
            "events a second",
            built.events as f64 / seconds,
            Unit::PerSecond,
        )
        .at_least(40_000.0)
        .beside("rows added to a bare table with two indexes", rows),
    );
    part.add(
        Figure::new(
            "commits a second",
            built.seq as f64 / seconds,
            Unit::PerSecond,
        )
        .beside("commits read from the log", reads),
    );
    part.plain("events", built.events as f64, Unit::Count);
    // The one who rebuilds is this process.
    for (program, name) in [(LOAD_GENERATOR, "who rebuilds"), (POSTGRES, POSTGRES)] {
        let cpu = used.get(program).map_or(0.0, Duration::as_secs_f64);
        let each = cpu * 1e6 / built.events.max(1) as f64;
        part.plain(format!("CPU an event: {name}"), each, Unit::Us);
    }
    Ok(part)
}
