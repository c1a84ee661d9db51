//! Listeners of one gateway: many who hear nothing, for what each holds in memory; and some who hear
//! everything that happens to a tenant, for how much that is in a second and how late it comes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use nexus_events::command::{HoldBudget, SetLimits, StartRun};
use nexus_events::ledger::{Amounts, Limits, OnExhausted, Scope, Window};
use nexus_events::{Command, CommandId, ReservationId, RunId, Tenant, subject};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::error::BenchError;
use super::frame::say;
use super::gateway::{GATEWAY, GatewayArgs, TENANT};
use super::load::{Load, Via};
use super::observe::Observer;
use super::platform::Platform;
use super::report::{Figure, Part, Unit};
use super::stats::Samples;
use super::stored;
use super::wire::{Wire, get, lost};

/// A tenant whose runs wait for budget, and never get it.
const PARKED: &str = "bench-parked";
/// Runs that idle listeners are spread over.
const RUNS: usize = 100;
/// Connections that are being made at once.
const AT_ONCE: usize = 64;
/// Runs after which rest is awaited.
const STRETCH: usize = 10_000;
/// What a person wants 10,000 listeners to hold.
const AIM_BYTES: f64 = 200e6 / 10_000.0;
/// Runs in flight while as much is heard as goes, and runs a second while times are taken.
const BUSY: usize = 32;
const STEADY: u32 = 20;
const QUIET: Duration = Duration::from_millis(500);
const EVENT_STREAM: &str = "accept: text/event-stream\r\n";

/// Opens so many streams of runs to which nothing happens; says what each holds in the gateway.
///
/// # Errors
/// [`BenchError`]: a stream was refused, or a run cannot be started.
pub(super) async fn idle(
    count: u16,
    platform: &Platform,
    address: SocketAddr,
    part: &mut Part,
) -> Result<(), BenchError> {
    say(&format!("{count} listeners who hear nothing"));
    let tenant = PARKED.parse().map_err(|error| lost(&error))?;
    let runs = parked(platform, &tenant, RUNS).await?;
    let memory = || platform.memory().get(GATEWAY).copied().unwrap_or(0);
    // What the first connections make the process keep is no listener's.
    let warm = open(&runs, AT_ONCE, address).await?;
    drop(warm);
    let before = memory();
    let held = open(&runs, usize::from(count), address).await?;
    tokio::time::sleep(QUIET).await;
    let after = memory();
    let each = after.saturating_sub(before) as f64 / held.len().max(1) as f64;
    let name = format!("memory a listener, {} idle", held.len());
    part.add(Figure::new(name, each, Unit::Bytes).at_most(AIM_BYTES));
    let name = format!("memory of the gateway with {} idle listeners", held.len());
    part.plain(name, after as f64, Unit::Bytes);
    Ok(())
}

async fn open(
    runs: &[RunId],
    count: usize,
    address: SocketAddr,
) -> Result<Vec<TcpStream>, BenchError> {
    let stream = |run: RunId| async move {
        let more = format!("{EVENT_STREAM}nexus-tenant: {PARKED}\r\n");
        let request = get(&format!("/v1/runs/{run}/events"), &more);
        Wire::connect(address).await?.open(&request).await
    };
    let all = runs.iter().copied().cycle().take(count);
    let opened = futures_util::stream::iter(all)
        .map(stream)
        .buffer_unordered(AT_ONCE);
    let opened: Vec<Result<TcpStream, BenchError>> = opened.collect().await;
    opened.into_iter().collect()
}

/// Starts runs of a tenant whose whole budget is held, and waits until all of them wait.
///
/// # Errors
/// [`BenchError`]: the servers are away.
pub(super) async fn parked(
    platform: &Platform,
    tenant: &Tenant,
    count: usize,
) -> Result<Vec<RunId>, BenchError> {
    const BUDGET: u64 = 1_000_000;
    let set = SetLimits {
        scope: Scope::Tenant,
        window: Window::Lifetime,
        limits: Limits {
            tokens: Some(BUDGET),
            ..Limits::default()
        },
        on_exhausted: Some(OnExhausted::Park),
        thresholds: None,
    };
    let hold = HoldBudget {
        reservation_id: ReservationId::new(Uuid::now_v7()),
        scopes: vec![],
        amounts: Amounts {
            tokens: BUDGET,
            ..Amounts::default()
        },
        model: None,
        hold_seconds: Some(86_400),
    };
    let commands: [Command; 2] = [set.into(), hold.into()];
    for command in commands {
        publish(platform, tenant, command, None).await?;
        stored::drained(platform).await?;
    }
    let runs: Vec<RunId> = (0..count).map(|_| RunId::new(Uuid::now_v7())).collect();
    let start = |run: RunId| async move {
        let start = StartRun {
            input: "Wait.".to_owned(),
            run_id: Some(run),
            tools: Some(vec![]),
            ..StartRun::default()
        };
        publish(platform, tenant, start.into(), Some(run)).await
    };
    for some in runs.chunks(STRETCH) {
        let started = futures_util::stream::iter(some.to_vec())
            .map(start)
            .buffer_unordered(AT_ONCE);
        let started: Vec<Result<(), BenchError>> = started.collect().await;
        started.into_iter().collect::<Result<(), _>>()?;
        stored::drained(platform).await?;
    }
    Ok(runs)
}

async fn publish(
    platform: &Platform,
    tenant: &Tenant,
    command: Command,
    run: Option<RunId>,
) -> Result<(), BenchError> {
    let id = CommandId::random(Uuid::now_v7());
    let mut meta = nexus_bus::CommandMeta::new(id, "nexus/bench");
    meta.correlation = run;
    let published = nexus_bus::publish_command(&platform.bus, tenant, &command, &meta).await;
    published
        .map(drop)
        .map_err(|error| BenchError::Bus(error.to_string()))
}

/// What listeners heard.
#[derive(Debug, Default)]
struct Heard {
    events: u64,
    /// From the bus to the listener, of the last event of each commit.
    late: Samples,
    last: Option<Instant>,
}

/// When the bus had each commit.
type Times = Arc<Mutex<HashMap<u64, Instant>>>;

/// Opens streams of all that happens to a tenant, while runs go on.
///
/// # Errors
/// [`BenchError`]: a stream was refused, or a run did not end.
pub(super) async fn fan_out(
    args: &GatewayArgs,
    platform: &Platform,
    address: SocketAddr,
    part: &mut Part,
) -> Result<(), BenchError> {
    let seconds = Duration::from_secs(args.seconds.max(1));
    let listeners = usize::from(args.listeners);
    say(&format!("{listeners} listeners, {STEADY} runs a second"));
    let (steady, took) = heard(listeners, platform, address, seconds, Some(STEADY)).await?;
    let rate = steady.events as f64 / took.as_secs_f64().max(f64::EPSILON);
    let name = format!("an event to {listeners} listeners at {rate:.0} a second");
    part.times(&name, steady.late.quantiles(), [None, None]);
    say(&format!("{listeners} listeners, as much as goes"));
    let before = platform.cpu();
    let (most, took) = heard(listeners, platform, address, seconds, None).await?;
    let used = platform.cpu().since(&before);
    let rate = most.events as f64 / took.as_secs_f64().max(f64::EPSILON);
    let name = format!("events a second to {listeners} listeners");
    part.add(Figure::new(name, rate, Unit::PerSecond).beside(
        "messages published and heard on the bare bus",
        super::bare::heard_per_second(&platform.bus).await?,
    ));
    let cpu = used.get(GATEWAY).map_or(0.0, Duration::as_secs_f64);
    let each = cpu * 1e6 / most.events.max(1) as f64;
    part.plain("CPU of the gateway an event and listener", each, Unit::Us);
    Ok(())
}

/// With a rate, so many runs a second; without, as many as go.
async fn heard(
    listeners: usize,
    platform: &Platform,
    address: SocketAddr,
    time: Duration,
    rate: Option<u32>,
) -> Result<(Heard, Duration), BenchError> {
    let tenants: Vec<Tenant> = TENANT.parse().into_iter().collect();
    let after = platform.projections.applied_seq().await;
    let after = after.map_err(|error| BenchError::Database(error.to_string()))?;
    let more = format!("{EVENT_STREAM}nexus-roles: auditor\r\nlast-event-id: {after}\r\n");
    let request = get("/v1/events", &more);
    let times = Times::default();
    let bus_hears = tokio::spawn(note(platform, &tenants, Arc::clone(&times)).await?);
    let (tell, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for _ in 0..listeners {
        let stream = Wire::connect(address).await?.open(&request).await?;
        tasks.spawn(listen(stream, Arc::clone(&times), stop.clone()));
    }
    let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
    let load = Load::new(
        platform.bus.clone(),
        observer,
        tenants,
        Via::Bus,
        &platform.url,
    )?;
    let began = Instant::now();
    match rate {
        Some(rate) => {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            let mut turn = 0;
            while began.elapsed() < time {
                ticks.tick().await;
                load.one(turn).await?;
                turn += 1;
            }
        }
        None => {
            let (end, ended) = watch::channel(false);
            let clock = async {
                tokio::time::sleep(time).await;
                end.send_replace(true);
            };
            let (runs, ()) = tokio::join!(load.many(BUSY, &ended), clock);
            runs?;
        }
    }
    stored::drained(platform).await?;
    tell.send_replace(true);
    let mut all = Heard::default();
    while let Some(one) = tasks.join_next().await {
        let one = one.map_err(|error| lost(&error))??;
        all.events += one.events;
        all.late.join(one.late);
        all.last = all.last.max(one.last);
    }
    bus_hears.abort();
    let took = all.last.map(|last| last.saturating_duration_since(began));
    Ok((all, took.unwrap_or_default()))
}

/// Notes when the bus says of each commit that it is there.
async fn note(
    platform: &Platform,
    tenants: &[Tenant],
    times: Times,
) -> Result<impl Future<Output = ()> + Send + 'static, BenchError> {
    let tenant = tenants.first().ok_or_else(|| lost("there is no tenant"))?;
    let messages = platform
        .bus
        .client()
        .subscribe(subject::log_of_tenant(tenant))
        .await;
    let mut messages = messages.map_err(|error| BenchError::Bus(error.to_string()))?;
    Ok(async move {
        while let Some(message) = messages.next().await {
            let headers = message.headers.as_ref();
            let seq =
                headers.and_then(|headers| headers.get("Nats-Sequence")?.as_str().parse().ok());
            if let Some(seq) = seq {
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                times.insert(seq, Instant::now());
            }
        }
    })
}

/// Reads a stream until it is told to stop and nothing comes any more.
async fn listen(
    mut stream: TcpStream,
    times: Times,
    stop: watch::Receiver<bool>,
) -> Result<Heard, BenchError> {
    let (mut heard, mut buffer) = (Heard::default(), Vec::with_capacity(16 * 1024));
    loop {
        match tokio::time::timeout(QUIET, stream.read_buf(&mut buffer)).await {
            Err(_) if *stop.borrow() => return Ok(heard),
            Err(_) => continue,
            Ok(read) if read.as_ref().is_ok_and(|n| *n > 0) => {}
            Ok(_) => return Err(lost("a stream was closed")),
        }
        let now = Instant::now();
        let end = buffer
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in buffer
            .get(..end)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
        {
            let Some(id) = line.strip_prefix(b"id: ") else {
                continue;
            };
            heard.events += 1;
            heard.last = Some(now);
            let seq = std::str::from_utf8(id)
                .ok()
                .and_then(|id| id.trim().parse::<u64>().ok());
            // The last event of a commit has its plain sequence.
            let Some(seq) = seq else { continue };
            let times = times.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = times.get(&seq) {
                heard.late.add(now.saturating_duration_since(*at));
            }
        }
        buffer.drain(..end);
    }
}
