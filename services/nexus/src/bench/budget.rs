//! `nexus bench budget`: what the ledger does. Holds from outside, each released after it is granted:
//! at a steady rate, then as many as go on one hot ledger and on a thousand; and how long a ledger
//! takes to be there again in a process that has never seen it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_bus::Store;
use nexus_events::command::SetLimits;
use nexus_events::ledger::{Ledger, Limits, Scope, Window};
use nexus_events::{AggregateId, CommandId, Tenant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::error::BenchError;
use super::frame::{self, say};
use super::holds::{Client, Worker};
use super::platform::Platform;
use super::report::Part;
use super::report::budget::{BudgetReport, Cold, Rate};
use super::stats::Samples;
use super::{bare, stored};
use crate::cli::Connection;

/// Reservations on one hot ledger and on many: rates, times, CPU
#[derive(Debug, clap::Args)]
pub(crate) struct BudgetArgs {
    /// Seconds of each phase
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// Seconds before each phase that are not counted
    #[arg(long, value_name = "S", default_value_t = 3)]
    warm_up: u64,
    /// Reservations a second of the steady phase
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Reservations in flight in the other phases
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    concurrency: u16,
    /// Ledgers of the last phase: one a tenant
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    ledgers: u16,
    /// Measure the platform that runs already instead of a private one
    #[arg(long)]
    attach: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &BudgetArgs) -> Result<Part, BenchError> {
    let measure = async |platform: &Platform| measure(args, platform).await;
    let report = frame::on_platform(args.attach, &args.connection, measure).await?;
    Ok(report.part())
}

async fn measure(args: &BudgetArgs, platform: &Platform) -> Result<BudgetReport, BenchError> {
    say("the bare bus");
    let bare_publishes_per_second = bare::publishes_per_second(&platform.bus).await?;
    let hot = tenants("bench-hot", 1);
    let many = tenants("bench", args.ledgers);
    for tenant in hot.iter().chain(&many) {
        limit(platform, tenant).await?;
    }
    say(&format!("{} reservations a second, one ledger", args.rate));
    let steady = steady(args, platform, &hot).await?;
    say("as many as go, one ledger");
    let one = saturated(args, platform, &hot).await?;
    say(&format!("as many as go, {} ledgers", many.len()));
    let thousand = saturated(args, platform, &many).await?;
    stored::drained(platform).await?;
    say("a ledger that nobody has in memory");
    let cold = cold(platform, &hot).await?;
    Ok(BudgetReport {
        bare_publishes_per_second,
        steady,
        hot: one,
        ledgers: many.len(),
        many: thousand,
        cold,
        memory_bytes: platform.memory(),
    })
}

fn tenants(name: &str, count: u16) -> Vec<Tenant> {
    // Names of their own, so that a platform that runs already is measured again with ledgers anew.
    let tag = Uuid::now_v7().simple().to_string();
    let tag = tag.get(20..).unwrap_or_default();
    (0..count)
        .filter_map(|n| format!("{name}-{tag}-{n}").parse().ok())
        .collect()
}

/// A limit that is never reached: what is not limited is not counted.
async fn limit(platform: &Platform, tenant: &Tenant) -> Result<(), BenchError> {
    let set = SetLimits {
        scope: Scope::Tenant,
        window: Window::Lifetime,
        limits: Limits {
            tokens: Some(u64::MAX / 4),
            ..Limits::default()
        },
        on_exhausted: None,
        thresholds: None,
    };
    let id = CommandId::random(Uuid::now_v7());
    let meta = nexus_bus::CommandMeta::new(id, "nexus/bench");
    let published = nexus_bus::publish_command(&platform.bus, tenant, &set.into(), &meta).await;
    published
        .map(drop)
        .map_err(|error| BenchError::Bus(error.to_string()))
}

/// A given rate, whatever the ledger does: an open loop, so that a slow answer delays no other.
async fn steady(
    args: &BudgetArgs,
    platform: &Platform,
    tenants: &[Tenant],
) -> Result<Rate, BenchError> {
    let workers = usize::from(args.concurrency);
    let (_client, mut idle) = Client::start(&platform.bus, tenants, workers).await?;
    let mut busy: JoinSet<Result<(Worker, Instant, Duration), BenchError>> = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / args.rate);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let began = Instant::now() + Duration::from_secs(args.warm_up);
    let until = began + Duration::from_secs(args.seconds.max(1));
    let mut before = None;
    let mut times = Samples::default();
    while Instant::now() < until {
        let due = ticks.tick().await.into_std();
        if before.is_none() && due >= began {
            before = Some(platform.cpu());
        }
        while let Some(done) = busy.try_join_next() {
            idle.push(take(done, began, &mut times)?);
        }
        if idle.is_empty()
            && let Some(done) = busy.join_next().await
        {
            idle.push(take(done, began, &mut times)?);
        }
        let Some(mut worker) = idle.pop() else {
            continue;
        };
        // Timed from when it was due: what waits for a worker counts.
        busy.spawn(async move {
            worker.hold().await?;
            Ok((worker, due, due.elapsed()))
        });
    }
    let cpu = platform.cpu().since(&before.unwrap_or_default());
    let length = Instant::now().saturating_duration_since(began);
    while let Some(done) = busy.join_next().await {
        take(done, began, &mut times)?;
    }
    Ok(Rate::of(0, &times, length, &cpu))
}

fn take(
    done: Result<Result<(Worker, Instant, Duration), BenchError>, tokio::task::JoinError>,
    began: Instant,
    times: &mut Samples,
) -> Result<Worker, BenchError> {
    let done = done.map_err(|error| BenchError::Bus(error.to_string()))?;
    let (worker, due, took) = done?;
    if due >= began {
        times.add(took);
    }
    Ok(worker)
}

/// As many as go: a closed loop a worker.
async fn saturated(
    args: &BudgetArgs,
    platform: &Platform,
    tenants: &[Tenant],
) -> Result<Rate, BenchError> {
    let in_flight = usize::from(args.concurrency);
    let (_client, workers) = Client::start(&platform.bus, tenants, in_flight).await?;
    let (tell, stop) = watch::channel(false);
    let began = Instant::now() + Duration::from_secs(args.warm_up);
    let mut tasks = JoinSet::new();
    for mut worker in workers {
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut times = Samples::default();
            while !*stop.borrow() {
                let took = worker.hold().await?;
                if Instant::now() >= began && !*stop.borrow() {
                    times.add(took);
                }
            }
            Ok::<_, BenchError>(times)
        });
    }
    tokio::time::sleep_until(began.into()).await;
    let before = platform.cpu();
    tokio::time::sleep(Duration::from_secs(args.seconds.max(1))).await;
    let cpu = platform.cpu().since(&before);
    let length = began.elapsed();
    tell.send_replace(true);
    let mut times = Samples::default();
    while let Some(done) = tasks.join_next().await {
        times.join(done.map_err(|error| BenchError::Bus(error.to_string()))??);
    }
    Ok(Rate::of(in_flight, &times, length, &cpu))
}

/// How long the ledger takes to be there in a process that has never seen it.
async fn cold(platform: &Platform, tenants: &[Tenant]) -> Result<Cold, BenchError> {
    let Some(tenant) = tenants.first() else {
        return Ok(Cold::default());
    };
    let store = Store::new(platform.bus.clone(), 1);
    let began = Instant::now();
    let ledger = store.peek::<Ledger>(tenant, &AggregateId::ONLY, Duration::ZERO);
    let ledger = ledger
        .await
        .map_err(|error| BenchError::Bus(error.to_string()))?;
    let took = began.elapsed();
    let spent = ledger
        .state
        .account(&Scope::Tenant, Window::Lifetime)
        .map_or(0, |account| account.spent.tokens);
    Ok(Cold {
        reservations: spent / super::holds::SPENT,
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    })
}

/// CPU time by program.
pub(super) type Used = BTreeMap<String, Duration>;
