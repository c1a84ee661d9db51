//! Answers that come in at once: what an open stream holds in memory, and how fast fragments go
//! through the bus to whoever listens. A plain client of the same server stands beside both.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_events::Tenant;

use super::error::BenchError;
use super::frame::say;
use super::load::{Load, Sample, Via, all_completed};
use super::model_server::OwnModelServer;
use super::observe::Observer;
use super::platform::Platform;
use super::proc::{self, Cpu};
use super::report::llm::{Fragments, Held, Pace};
use super::{bare, direct};

/// A model that says a word a second; long enough for all streams to be open together.
const SLOW: &str = "bench-slow";
const SLOW_ON_THE_WIRE: &str = "fault:delay=1000,words=30";
/// A model that says as much as it may, at once, in fragments of a word.
const FAST: &str = "bench-fast";
const FAST_ON_THE_WIRE: &str = "fault:words=10000";
const WORDS: usize = 10_000;
/// Streams of each phase of fragments, and answers of each stream.
const PHASES: [(usize, usize); 2] = [(1, 5), (16, 2)];
const OPEN_LIMIT: Duration = Duration::from_secs(25);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The two models, at this server.
pub(super) fn configuration(base_url: &str) -> String {
    let model = |name: &str, on_the_wire: &str| {
        format!(
            "[[models.providers.models]]\nname = \"{name}\"\nwire_name = \"{on_the_wire}\"\n\
             context_tokens = 131072\nmax_output_tokens = 65536\n"
        )
    };
    format!(
        "[[models.providers]]\nname = \"scripted\"\nkind = \"openai\"\nbase_url = \"{base_url}\"\n{}{}",
        model(SLOW, SLOW_ON_THE_WIRE),
        model(FAST, FAST_ON_THE_WIRE)
    )
}

/// Memory of the roles with so many streams open, one phase after another. Every stream is heard to
/// its end. What a phase holds is counted from before the first, since an allocator keeps what it got.
///
/// # Errors
/// [`BenchError`]: a run did not complete, or the servers are away.
pub(super) async fn held(
    counts: &[u16],
    platform: &Platform,
    tenants: &[Tenant],
    scripted: &OwnModelServer,
) -> Result<Vec<Held>, BenchError> {
    let roles = || platform.pid.map_or(0, proc::memory_of_one);
    let base = roles();
    let mut phases = vec![];
    for count in counts.iter().map(|count| usize::from(*count)) {
        say(&format!("{count} streams held open"));
        let (observer, _listening) = Observer::listen(&platform.bus, tenants, true).await?;
        let runs = start(platform, &observer, tenants, (count, 1), SLOW)?;
        let began = Instant::now();
        let mut open = 0;
        while open < count && began.elapsed() < OPEN_LIMIT && !runs.is_finished() {
            tokio::time::sleep(LOOK_EVERY).await;
            open = observer.answering();
        }
        let memory_bytes = roles();
        all_completed(&finished(runs).await?)?;
        let divisor = open.max(1) as u64;
        phases.push(Held {
            asked: count,
            open,
            memory_bytes,
            bytes_per_stream: memory_bytes.saturating_sub(base) / divisor,
            plain_client_bytes_per_stream: None,
        });
    }
    // Last, and the largest first: what it frees would hide what the next one takes.
    if let Some(most) = phases.iter_mut().max_by_key(|held| held.asked) {
        let held = direct::hold(&scripted.base_url, SLOW_ON_THE_WIRE, most.asked).await?;
        most.plain_client_bytes_per_stream = Some(held);
    }
    Ok(phases)
}

/// Fragments that a listener hears in a second, of one stream and of several.
///
/// # Errors
/// [`BenchError`]: a run did not complete, or the servers are away.
pub(super) async fn fragments(
    platform: &Platform,
    tenants: &[Tenant],
    scripted: &OwnModelServer,
) -> Result<Fragments, BenchError> {
    say("fragments without the platform");
    let direct = direct::words_per_second(&scripted.base_url, FAST_ON_THE_WIRE, WORDS).await?;
    let bare_bus_per_second = bare::heard_per_second(&platform.bus).await?;
    let mut paces = vec![];
    for (streams, answers) in PHASES {
        say(&format!("fragments of {streams} stream(s)"));
        let (observer, _listening) = Observer::listen(&platform.bus, tenants, true).await?;
        let before = Cpu::of_tree(platform.pid);
        let runs = start(platform, &observer, tenants, (streams, answers), FAST)?;
        all_completed(&finished(runs).await?)?;
        let cpu = Cpu::of_tree(platform.pid).since(&before);
        let (heard, took) = observer.pieces();
        let sent = (streams * answers * WORDS) as u64;
        let each = |took: Duration| took.as_secs_f64() * 1e6 / heard.max(1) as f64;
        paces.push(Pace {
            streams,
            heard,
            lost: sent.saturating_sub(heard),
            per_second: heard as f64 / took.as_secs_f64().max(f64::EPSILON),
            cpu_us_each: cpu
                .into_iter()
                .map(|(name, cpu)| (name, each(cpu)))
                .collect(),
        });
    }
    Ok(Fragments {
        paces,
        bare_bus_per_second,
        direct_per_second: direct,
    })
}

type Running = tokio::task::JoinHandle<Vec<Result<Sample, BenchError>>>;

/// So many streams, each with so many answers, one after another.
fn start(
    platform: &Platform,
    observer: &Observer,
    tenants: &[Tenant],
    (streams, answers): (usize, usize),
    model: &'static str,
) -> Result<Running, BenchError> {
    let (bus, tenants) = (platform.bus.clone(), tenants.to_vec());
    let load = Load::new(bus, observer.clone(), tenants, Via::Bus, &platform.url)?;
    Ok(tokio::spawn(async move {
        let stream = async |turn| {
            let mut samples = vec![];
            for _ in 0..answers {
                samples.push(load.one_of(turn, Some(model)).await);
            }
            samples
        };
        let all = join_all((0..streams).map(stream)).await;
        all.into_iter().flatten().collect()
    }))
}

async fn finished(runs: Running) -> Result<Vec<Sample>, BenchError> {
    let samples = runs.await;
    let samples = samples.map_err(|error| BenchError::Bus(error.to_string()))?;
    samples.into_iter().collect()
}
