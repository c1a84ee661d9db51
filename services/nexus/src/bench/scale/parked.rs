//! Many runs that wait for budget: what they cost while they wait, and whether a process that starts
//! among them is ready as soon as any other.

use std::time::Duration;

use nexus_events::Tenant;

use crate::bench::error::BenchError;
use crate::bench::frame::say;
use crate::bench::listeners;
use crate::bench::load::{Load, Via, all_completed};
use crate::bench::model_server::OwnModelServer;
use crate::bench::observe::Observer;
use crate::bench::platform::{NATS_SERVER, POSTGRES, Platform};
use crate::bench::processes::Group;
use crate::bench::report::{Figure, Part, Unit};
use crate::bench::stored;

const ROLES: &str = "roles";
const GROUP: Group<'static> = (
    ROLES,
    &[
        "run",
        "budget",
        "policy",
        "tools",
        "llm",
        "projector",
        "gateway",
    ],
);
const WAITING: &str = "bench-waiting";
const REST: Duration = Duration::from_secs(5);

pub(super) async fn measure(count: u32, part: &mut Part) -> Result<(), BenchError> {
    let model = OwnModelServer::start().await?;
    let mut platform = Platform::pieces(model, "", &[GROUP]).await?;
    let measured = phases(count, &mut platform, part).await;
    platform.stop().await;
    measured
}

async fn phases(count: u32, platform: &mut Platform, part: &mut Part) -> Result<(), BenchError> {
    say(&format!("{count} runs that wait for budget"));
    let waiting: Tenant = (WAITING.parse()).map_err(|_| BenchError::Bus("no tenant".into()))?;
    let before = platform.memory();
    let (parked, took) = {
        let began = std::time::Instant::now();
        let parked = listeners::parked(platform, &waiting, count as usize).await?;
        (parked.len(), began.elapsed())
    };
    let rate = parked as f64 / took.as_secs_f64().max(f64::EPSILON);
    part.plain("runs parked in a second", rate, Unit::PerSecond);
    rest(platform, parked, part).await;
    let after = platform.memory();
    for name in [ROLES, NATS_SERVER, POSTGRES] {
        let of = |memory: &std::collections::BTreeMap<String, u64>| {
            memory.get(name).copied().unwrap_or(0)
        };
        let more = of(&after).saturating_sub(of(&before));
        let name = format!("memory more with {parked} runs parked: {name}");
        part.plain(name, more as f64, Unit::Bytes);
    }
    say("a restart among them");
    let ready = match platform.processes_mut() {
        None => Duration::ZERO,
        Some(processes) => {
            processes.end(ROLES).await;
            processes.begin(GROUP, &[])?;
            processes.ready().await?
        }
    };
    let name = format!("ready again, {parked} runs parked");
    let ready = ready.as_secs_f64() * 1000.0;
    part.add(Figure::new(name, ready, Unit::Ms).at_most(3_000.0));
    let tenants: Vec<Tenant> = "bench".parse().into_iter().collect();
    let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
    let load = Load::new(
        platform.bus.clone(),
        observer,
        tenants,
        Via::Bus,
        &platform.url,
    )?;
    let first = load.one(0).await?;
    all_completed(std::slice::from_ref(&first))?;
    let name = "another tenant's first run after the restart";
    part.plain(name, first.took().as_secs_f64() * 1000.0, Unit::Ms);
    stored::drained(platform).await?;
    Ok(())
}

/// What everybody uses while nothing is asked for.
async fn rest(platform: &Platform, parked: usize, part: &mut Part) {
    tokio::time::sleep(REST).await;
    let before = platform.cpu();
    tokio::time::sleep(REST).await;
    let used = platform.cpu().since(&before);
    for name in [ROLES, NATS_SERVER, POSTGRES] {
        let cpu = used.get(name).map_or(0.0, Duration::as_secs_f64);
        let each = cpu * 1000.0 / REST.as_secs_f64();
        let name = format!("CPU a second at rest, {parked} runs parked: {name}");
        part.plain(name, each, Unit::Ms);
    }
}
