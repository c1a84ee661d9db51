//! `nexus bench gateway`: what one gateway does, in a process of its own. Commands that it accepts,
//! with the roles at work and without (then what is counted is the gateway's and the bus's alone);
//! queries of the read models; events to many listeners; and what a listener holds who hears nothing.

use std::net::SocketAddr;
use std::time::Duration;

use nexus_events::Tenant;
use serde_json::Value;

use super::error::BenchError;
use super::frame::say;
use super::listeners;
use super::load::{Load, Via};
use super::model_server::OwnModelServer;
use super::observe::Observer;
use super::platform::Platform;
use super::processes::Group;
use super::report::runs::LOAD_GENERATOR;
use super::report::{Figure, Part, Unit};
use super::wire::{self, Drive, Wire, lost};
use super::{bare, stored};

/// One gateway: commands, queries, listeners
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayArgs {
    /// Seconds of each phase
    #[arg(long, value_name = "S", default_value_t = 8)]
    pub(super) seconds: u64,
    /// Seconds before each phase that are not counted
    #[arg(long, value_name = "S", default_value_t = 2)]
    pub(super) warm_up: u64,
    /// Connections that ask, one request at a time each
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(super) connections: u16,
    /// Listeners who hear nothing
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=16_000))]
    pub(super) idle: u16,
    /// Listeners who hear everything
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pub(super) listeners: u16,
}

/// The gateway's process, as reports name it.
pub(super) const GATEWAY: &str = "gateway";
const ROLES: &str = "roles";
const GROUPS: [Group<'static>; 2] = [
    (GATEWAY, &["gateway"]),
    (
        ROLES,
        &["run", "budget", "policy", "tools", "llm", "projector"],
    ),
];
/// One machine asks for all clients here.
const CONFIG: &str = "[gateway]\nmax_connections_per_address = 20000\n";
const COMMAND: &str = r#"{"input":"Say something.","tools":[]}"#;
/// Whose runs they are: the tenant of callers that name none.
pub(super) const TENANT: &str = "default";
/// Runs that queries ask for.
const RUNS: usize = 200;

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &GatewayArgs) -> Result<Part, BenchError> {
    say("starting the platform");
    let model = OwnModelServer::start().await?;
    let mut platform = Platform::pieces(model, CONFIG, &GROUPS).await?;
    let measured = tokio::select! {
        measured = measure(args, &mut platform) => measured,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Stopped),
    };
    platform.stop().await;
    measured
}

async fn measure(args: &GatewayArgs, platform: &mut Platform) -> Result<Part, BenchError> {
    let about = format!(
        "One gateway in a process of its own; {} kept connections, one request at a time each.",
        args.connections
    );
    let mut part = Part::new("gateway", about);
    let address = wire::address(&platform.url)?;
    let runs = runs(platform).await?;
    say("the bare bus and the bare database");
    let bus = bare::publishes_per_second(&platform.bus).await?;
    let rows = bare::selects_per_second(&platform.projections, Duration::from_secs(2)).await?;
    say("requests that ask for nothing");
    let idle = phase(args, platform, address, 200, |_| wire::get("/healthz", "")).await?;
    idle.add_to(&mut part, "requests that ask for nothing", None, None);

    say("queries");
    let (first, count) = (runs.clone(), runs.len().max(1));
    let one = move |turn: usize| {
        let run = first.get(turn % count).cloned().unwrap_or_default();
        wire::get(&format!("/v1/runs/{run}"), "")
    };
    let one = phase(args, platform, address, 200, one).await?;
    let beside = Some(("rows found by their key", rows));
    one.add_to(&mut part, "queries of one run", Some(10_000.0), beside);
    let list = phase(args, platform, address, 200, |_| {
        wire::get("/v1/runs?limit=20", "")
    })
    .await?;
    list.add_to(&mut part, "queries of twenty runs", None, None);

    listeners::idle(args.idle, platform, address, &mut part).await?;
    listeners::fan_out(args, platform, address, &mut part).await?;

    say("commands, the roles at work");
    let command = |_| wire::post("/v1/runs", COMMAND);
    let busy = phase(args, platform, address, 202, command).await?;
    busy.add_to(
        &mut part,
        "commands accepted, and the run begun",
        None,
        None,
    );
    stored::drained(platform).await?;

    say("commands, nobody at work");
    if let Some(processes) = platform.processes_mut() {
        processes.end(ROLES).await;
        processes.end(GATEWAY).await;
        // Nobody answers: the gateway says "accepted" once the bus has the command.
        let settings = [("NEXUS_GATEWAY_REPLY_TIMEOUT_MS", "1")];
        processes.begin((GATEWAY, &["gateway"]), &settings)?;
        processes.ready().await?;
    }
    let accepted = phase(args, platform, address, 202, command).await?;
    let beside = Some(("messages of the bare bus", bus));
    accepted.add_to(&mut part, "commands accepted", Some(15_000.0), beside);
    Ok(part)
}

/// Runs that have ended and can be asked for.
async fn runs(platform: &Platform) -> Result<Vec<String>, BenchError> {
    let tenants: Vec<Tenant> = TENANT.parse().into_iter().collect();
    let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
    let (bus, url) = (platform.bus.clone(), &platform.url);
    let load = Load::new(bus, observer, tenants, Via::Bus, url)?;
    for turn in 0..RUNS {
        load.one(turn).await?;
    }
    stored::drained(platform).await?;
    let mut wire = Wire::connect(wire::address(url)?).await?;
    let answer = wire.ask(&wire::get("/v1/runs?limit=200", "")).await?;
    let list: Value = serde_json::from_slice(answer.body).map_err(|error| lost(&error))?;
    let items = list.get("items").and_then(Value::as_array);
    let id = |run: &Value| {
        let id = run.get("run_id").or_else(|| run.get("id"))?;
        Some(id.as_str()?.to_owned())
    };
    let ids: Vec<String> = items.into_iter().flatten().filter_map(id).collect();
    match ids.is_empty() {
        true => Err(lost("the list of runs is empty")),
        false => Ok(ids),
    }
}

/// What requests of one kind did.
struct Phase {
    per_second: f64,
    times: Option<super::stats::Quantiles>,
    gateway_us: f64,
    load_us: f64,
}

async fn phase(
    args: &GatewayArgs,
    platform: &Platform,
    address: SocketAddr,
    expected: u16,
    request: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static,
) -> Result<Phase, BenchError> {
    let how = Drive {
        connections: usize::from(args.connections),
        warm_up: Duration::from_secs(args.warm_up),
        length: Duration::from_secs(args.seconds.max(1)),
    };
    let look = || platform.cpu();
    let (times, took, before, after) = wire::drive(address, how, expected, request, look).await?;
    let (used, n) = (after.since(&before), times.len().max(1) as f64);
    let each = |name: &str| {
        used.get(name)
            .map_or(0.0, |cpu| cpu.as_secs_f64() * 1e6 / n)
    };
    Ok(Phase {
        per_second: times.len() as f64 / took.as_secs_f64().max(f64::EPSILON),
        times: times.quantiles(),
        gateway_us: each(GATEWAY),
        load_us: each(LOAD_GENERATOR),
    })
}

impl Phase {
    fn add_to(&self, part: &mut Part, name: &str, aim: Option<f64>, limit: Option<(&str, f64)>) {
        let mut rate = Figure::new(
            format!("{name}, a second"),
            self.per_second,
            Unit::PerSecond,
        );
        if let Some(aim) = aim {
            rate = rate.at_least(aim);
        }
        if let Some((what, value)) = limit {
            rate = rate.beside(what, value);
        }
        part.add(rate);
        part.times(name, self.times, [None, None]);
        let cpu = Figure::new(format!("CPU each, {name}"), self.gateway_us, Unit::Us);
        part.add(cpu.beside("of the load generator", self.load_us));
    }
}
