//! A run beside so many sessions: one that opens its own, and one that goes on in any of them, which
//! no process has in memory where there are more of them than it keeps.

use std::time::Duration;

use futures_util::StreamExt as _;
use nexus_bus::{CommandMeta, publish_command};
use nexus_events::command::OpenSession;
use nexus_events::{CommandId, SessionId, Tenant};
use uuid::Uuid;

use super::{Lines, decades};
use crate::bench::error::BenchError;
use crate::bench::frame::{self, say};
use crate::bench::load::{Asked, Load, Via, all_completed};
use crate::bench::observe::Observer;
use crate::bench::platform::{NATS_SERVER, Platform};
use crate::bench::report::runs::{LOAD_GENERATOR, MODEL_SERVER};
use crate::bench::report::{Figure, Part, Unit};
use crate::bench::stats::Samples;
use crate::bench::stored;
use crate::cli::Connection;

/// Runs that are in flight.
const IN_FLIGHT: usize = 16;
/// Sessions below which runs would meet in one.
const ENOUGH: usize = 1_000;
/// Commands that are published at once, and after how many of them rest is awaited.
const AT_ONCE: usize = 256;
const STRETCH: usize = 10_000;

pub(super) async fn measure(most: u32, count: usize, part: &mut Part) -> Result<(), BenchError> {
    let connection = Connection::default();
    let work = async |platform: &Platform| phases(most, count, platform, part).await;
    frame::on_platform(false, &connection, work).await
}

async fn phases(
    most: u32,
    timed: usize,
    platform: &Platform,
    part: &mut Part,
) -> Result<(), BenchError> {
    let tenant: Tenant = ("bench".parse()).map_err(|_| BenchError::Bus("no tenant".into()))?;
    let tenants = [tenant.clone()];
    let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
    let bus = platform.bus.clone();
    let load = Load::new(bus, observer, tenants.to_vec(), Via::Bus, &platform.url)?;
    runs(&load, &[], timed.div_ceil(4)).await?;
    let lines = ["opens its own", "goes on in one"];
    let mut times = Lines::new("A run, p50, by sessions", "sessions", Unit::Ms, &lines);
    let mut costs = Lines::new("CPU a run, by sessions", "sessions", Unit::Ms, &lines);
    let mut memory = Lines::new(
        "Memory, by sessions",
        "sessions",
        Unit::Bytes,
        &["nexus", NATS_SERVER],
    );
    let mut sessions: Vec<SessionId> = vec![];
    let mut first = None;
    for count in decades(most) {
        say(&format!("{count} session(s)"));
        open(platform, &tenant, count as usize, &mut sessions).await?;
        let own = phase(platform, &load, &[], timed).await?;
        let ours = phase(platform, &load, &sessions, timed);
        let ours = match sessions.len() >= ENOUGH {
            true => Some(ours.await?),
            false => None,
        };
        let values = |of: fn(&Cost) -> f64| {
            let both = [Some(own), ours].into_iter().flatten();
            both.map(|cost| of(&cost)).collect::<Vec<f64>>()
        };
        times.add(f64::from(count), &values(|cost| cost.p50_ms));
        costs.add(f64::from(count), &values(|cost| cost.cpu_ms));
        let used = platform.memory();
        let of = |name: &str| used.get(name).copied().unwrap_or(0) as f64;
        memory.add(f64::from(count), &[of("nexus"), of(NATS_SERVER)]);
        let name = |what: &str| format!("{what}, {count} sessions");
        part.plain(
            name("CPU of a run that opens its own"),
            own.cpu_ms,
            Unit::Ms,
        );
        if let Some(ours) = ours {
            part.plain(
                name("CPU of a run that goes on in one"),
                ours.cpu_ms,
                Unit::Ms,
            );
        }
        let first = first.get_or_insert(own);
        if count == most {
            let name = format!("CPU of a run, {count} sessions by one");
            let ratio = own.cpu_ms / first.cpu_ms.max(f64::EPSILON);
            part.add(Figure::new(name, ratio, Unit::Ratio).at_most(1.15));
            let name = format!("run p50, {count} sessions by one");
            let ratio = own.p50_ms / first.p50_ms.max(f64::EPSILON);
            part.add(Figure::new(name, ratio, Unit::Ratio).at_most(1.15));
        }
    }
    part.charts.extend([times.0, costs.0, memory.0]);
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    p50_ms: f64,
    cpu_ms: f64,
}

async fn phase(
    platform: &Platform,
    load: &Load,
    sessions: &[SessionId],
    timed: usize,
) -> Result<Cost, BenchError> {
    let before = platform.cpu();
    let times = runs(load, sessions, timed).await?;
    stored::drained(platform).await?;
    let used = platform.cpu().since(&before);
    let of_platform = used
        .iter()
        .filter(|(name, _)| *name != LOAD_GENERATOR && *name != MODEL_SERVER);
    let cpu: Duration = of_platform.map(|(_, cpu)| *cpu).sum();
    let p50_us = times.quantiles().map_or(0, |times| times.p50_us);
    Ok(Cost {
        p50_ms: p50_us as f64 / 1000.0,
        cpu_ms: cpu.as_secs_f64() * 1000.0 / timed.max(1) as f64,
    })
}

/// Runs that open sessions of their own, or go on in these: each in one that is far from the last.
async fn runs(load: &Load, sessions: &[SessionId], count: usize) -> Result<Samples, BenchError> {
    const STRIDE: usize = 7_919;
    let start = |turn: usize| async move {
        let place = (turn * STRIDE) % sessions.len().max(1);
        let session = sessions.get(place).copied();
        let model = None;
        load.ask(turn, Asked { model, session }).await
    };
    let started = futures_util::stream::iter(0..count)
        .map(start)
        .buffer_unordered(IN_FLIGHT);
    let samples: Vec<Result<_, BenchError>> = started.collect().await;
    let samples: Vec<_> = samples.into_iter().collect::<Result<_, _>>()?;
    all_completed(&samples)?;
    Ok(samples
        .iter()
        .map(crate::bench::load::Sample::took)
        .collect())
}

/// Opens sessions until there are so many.
pub(super) async fn open(
    platform: &Platform,
    tenant: &Tenant,
    count: usize,
    sessions: &mut Vec<SessionId>,
) -> Result<(), BenchError> {
    while sessions.len() < count {
        let missing = (count - sessions.len()).min(STRETCH);
        let new: Vec<SessionId> = (0..missing)
            .map(|_| SessionId::new(Uuid::now_v7()))
            .collect();
        let publish = |session: SessionId| async move {
            let command = OpenSession {
                session_id: Some(session),
                ..OpenSession::default()
            };
            let id = CommandId::random(Uuid::now_v7());
            let meta = CommandMeta::new(id, "nexus/bench");
            let published = publish_command(&platform.bus, tenant, &command.into(), &meta).await;
            published
                .map(drop)
                .map_err(|error| BenchError::Bus(error.to_string()))
        };
        let sent = futures_util::stream::iter(new.clone())
            .map(publish)
            .buffer_unordered(AT_ONCE);
        let sent: Vec<Result<(), BenchError>> = sent.collect().await;
        sent.into_iter().collect::<Result<(), _>>()?;
        stored::drained(platform).await?;
        sessions.extend(new);
    }
    Ok(())
}
