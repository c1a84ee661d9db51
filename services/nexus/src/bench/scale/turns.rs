//! A turn after so many others: conversations that grow side by side, a run a turn, with a model server
//! that reports the same usage whatever it is asked. Each role is a process of its own, so that what
//! the model's prompt costs (it must be read, written and sent whole) stands apart from what must not
//! grow: the decisions, the commands, what is recorded, what the bus carries for them.

use std::time::Duration;

use super::sessions::open;
use super::{Lines, decades};
use crate::bench::error::BenchError;
use crate::bench::frame::{self, say};
use crate::bench::load::{Asked, Load, Via, all_completed};
use crate::bench::model_server::{MODEL, OwnModelServer};
use crate::bench::observe::Observer;
use crate::bench::platform::{NATS_SERVER, Platform};
use crate::bench::proc;
use crate::bench::processes::Group;
use crate::bench::report::{Figure, Part, Unit};
use crate::bench::stats::Samples;
use crate::bench::stored::{self, Stored};
use futures_util::future::try_join_all;
use nexus_events::{SessionId, Tenant};

const LLM: &str = "llm";
const GROUPS: [Group<'static>; 4] = [
    ("decisions", &["run", "budget", "policy", "tools"]),
    (LLM, &["llm"]),
    ("projector", &["projector"]),
    ("gateway", &["gateway"]),
];
/// A model that is never too small for a conversation.
const LONG: &str = "bench-long";
/// Conversations that grow side by side, and turns of each that are counted together.
const CONVERSATIONS: usize = 8;
const WINDOW: usize = 20;

/// What a turn took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    p50_ms: f64,
    /// Of all roles but the one that calls the model.
    roles_ms: f64,
    llm_ms: f64,
    bus_ms: f64,
    commits: f64,
    commands: f64,
    log_bytes: f64,
    bus_bytes: f64,
}

pub(super) async fn measure(most: u32, part: &mut Part) -> Result<(), BenchError> {
    let model = OwnModelServer::start().await?;
    let config = format!(
        "[models]\nlocal = false\n[[models.providers]]\nname = \"long\"\nkind = \"openai\"\n\
         base_url = \"{}\"\n[[models.providers.models]]\nname = \"{LONG}\"\n\
         wire_name = \"{MODEL}\"\ncontext_tokens = 100000000\nmax_output_tokens = 1024\n",
        model.base_url
    );
    let platform = Platform::pieces(model, &config, &GROUPS).await?;
    let work = async |platform: &Platform| phases(most, platform, part).await;
    frame::measured(platform, work).await
}

async fn phases(most: u32, platform: &Platform, part: &mut Part) -> Result<(), BenchError> {
    let tenant: Tenant = ("bench".parse()).map_err(|_| BenchError::Bus("no tenant".into()))?;
    let tenants = vec![tenant.clone()];
    let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
    let load = Load::new(
        platform.bus.clone(),
        observer,
        tenants,
        Via::Bus,
        &platform.url,
    )?;
    let mut sessions = vec![];
    open(platform, &tenant, 2 * CONVERSATIONS, &mut sessions).await?;
    let (warm, sessions) = sessions.split_at(CONVERSATIONS);
    turns(&load, warm, WINDOW).await?;
    let names = ["roles without llm", "llm", NATS_SERVER];
    let mut cpu = Lines::new("CPU a turn, by turns before it", "turns", Unit::Ms, &names);
    let names = ["event log", "through the bus"];
    let mut bytes = Lines::new(
        "Bytes a turn, by turns before it",
        "turns",
        Unit::Bytes,
        &names,
    );
    let mut times = Lines::new(
        "A turn, p50, by turns before it",
        "turns",
        Unit::Ms,
        &["p50"],
    );
    let (mut done, mut tenth, mut last) = (0, None, Cost::default());
    for place in decades(most).into_iter().filter(|place| *place >= 10) {
        say(&format!("turn {place}"));
        // In the middle of a window, but for the last: that ends with it.
        let until = (place as usize - WINDOW / 2).min(most as usize - WINDOW);
        if until > done {
            turns(&load, sessions, until - done).await?;
            done = until;
        }
        let cost = window(platform, &load, sessions).await?;
        done += WINDOW;
        let at = f64::from(place);
        cpu.add(at, &[cost.roles_ms, cost.llm_ms, cost.bus_ms]);
        bytes.add(at, &[cost.log_bytes, cost.bus_bytes]);
        times.add(at, &[cost.p50_ms]);
        tenth = tenth.or(Some(cost));
        last = cost;
    }
    part.charts.extend([cpu.0, bytes.0, times.0]);
    compare(tenth.unwrap_or(last), last, most, part);
    Ok(())
}

fn compare(tenth: Cost, last: Cost, most: u32, part: &mut Part) {
    let ratio = |of: fn(&Cost) -> f64| of(&last) / of(&tenth).max(f64::EPSILON);
    for (name, value, aim) in [
        (
            "CPU of the roles without llm",
            ratio(|cost| cost.roles_ms),
            Some(1.1),
        ),
        ("commits", ratio(|cost| cost.commits), Some(1.1)),
        ("commands", ratio(|cost| cost.commands), Some(1.1)),
        ("event log", ratio(|cost| cost.log_bytes), Some(1.1)),
        ("through the bus", ratio(|cost| cost.bus_bytes), Some(1.1)),
        ("CPU of nats-server", ratio(|cost| cost.bus_ms), None),
        (
            "CPU of llm, the prompt included",
            ratio(|cost| cost.llm_ms),
            None,
        ),
        ("p50, the prompt included", ratio(|cost| cost.p50_ms), None),
    ] {
        let figure = Figure::new(
            format!("{name}: turn {most} by turn 10"),
            value,
            Unit::Ratio,
        );
        part.add(match aim {
            Some(aim) => figure.at_most(aim),
            None => figure,
        });
    }
    for (name, cost) in [
        ("turn 10".to_owned(), tenth),
        (format!("turn {most}"), last),
    ] {
        part.plain(format!("{name}, p50"), cost.p50_ms, Unit::Ms);
        part.plain(
            format!("CPU of the roles without llm, {name}"),
            cost.roles_ms,
            Unit::Ms,
        );
        part.plain(format!("CPU of llm, {name}"), cost.llm_ms, Unit::Ms);
        part.plain(format!("event log, {name}"), cost.log_bytes, Unit::Bytes);
        part.plain(
            format!("through the bus, {name}"),
            cost.bus_bytes,
            Unit::Bytes,
        );
    }
}

async fn window(
    platform: &Platform,
    load: &Load,
    sessions: &[SessionId],
) -> Result<Cost, BenchError> {
    stored::drained(platform).await?;
    let (used, stored) = (exact(platform), Stored::now(platform).await?);
    let times = turns(load, sessions, WINDOW).await?;
    stored::drained(platform).await?;
    let (used_after, after) = (exact(platform), Stored::now(platform).await?);
    let n = (sessions.len() * WINDOW).max(1) as f64;
    let took = |is: fn(&str) -> bool| {
        let of = |all: &[(String, Duration)]| -> Duration {
            all.iter()
                .filter(|(name, _)| is(name))
                .map(|(_, cpu)| *cpu)
                .sum()
        };
        of(&used_after).saturating_sub(of(&used)).as_secs_f64() * 1000.0 / n
    };
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / n;
    let moved = after.bus.since(stored.bus);
    Ok(Cost {
        p50_ms: times.quantiles().map_or(0, |times| times.p50_us) as f64 / 1000.0,
        roles_ms: took(|name| name == "decisions" || name == "projector"),
        llm_ms: took(|name| name == LLM),
        bus_ms: took(|name| name == NATS_SERVER),
        commits: each(stored.commits, after.commits),
        commands: each(stored.commands, after.commands),
        log_bytes: each(stored.log_bytes, after.log_bytes),
        bus_bytes: (moved.read + moved.written) as f64 / n,
    })
}

fn exact(platform: &Platform) -> Vec<(String, Duration)> {
    let all = platform.processes().into_iter();
    all.map(|(name, pid)| (name, proc::exact_of_one(pid)))
        .collect()
}

/// So many further turns of each conversation, one after another in each.
async fn turns(load: &Load, sessions: &[SessionId], count: usize) -> Result<Samples, BenchError> {
    let conversation = |session: SessionId| async move {
        let mut samples = Vec::with_capacity(count);
        for turn in 0..count {
            let asked = Asked {
                model: Some(LONG),
                session: Some(session),
            };
            samples.push(load.ask(turn, asked).await?);
        }
        all_completed(&samples)?;
        Ok::<_, BenchError>(samples)
    };
    let all = try_join_all(sessions.iter().copied().map(conversation)).await?;
    let all = all.iter().flatten();
    Ok(all.map(crate::bench::load::Sample::took).collect())
}
