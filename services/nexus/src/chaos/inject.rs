//! Carries a plan out. Each fault is a task that breaks something, waits, and heals it; two faults may
//! hold at once, as in life: a server that is away is not broken again until it is back, and of two
//! faults of one connection the one that ends first heals it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_devstack::NatsServer;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use super::deploy;
use super::error::ChaosError;
use super::plan::{Fault, Harm, Instance, Link, Step, Target};
use super::platform::Platform;
use super::progress::Progress;
use super::proxy::{Mode, Proxy};

/// What could not be done, and why: the verdict says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Faults that were made.
    pub(crate) made: usize,
    /// Those that this machine does not allow.
    pub(crate) left_out: Vec<String>,
}

/// Makes every fault at its time and waits until all are healed.
///
/// # Errors
/// [`ChaosError`]: something could not be started again.
pub(crate) async fn inject(
    platform: &Arc<Platform>,
    steps: Vec<Step>,
    progress: &Progress,
) -> Result<Done, ChaosError> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for step in steps {
        let at = Duration::from_millis(step.at_ms);
        tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
        progress.fault(&step);
        let platform = Arc::clone(platform);
        tasks.spawn(async move { make(&platform, step.fault).await });
    }
    let mut done = Done::default();
    while let Some(ended) = tasks.join_next().await {
        let left_out = ended.map_err(|error| ChaosError::Setup(error.to_string()))??;
        done.made += usize::from(left_out.is_none());
        done.left_out.extend(left_out);
    }
    Ok(done)
}

/// Makes it and heals it; says what is not possible here.
async fn make(platform: &Platform, fault: Fault) -> Result<Option<String>, ChaosError> {
    match fault {
        Fault::Kill { target, for_ms } => kill(platform, target, millis(for_ms)).await?,
        Fault::Freeze { target, for_ms } => freeze(platform, target, millis(for_ms)).await,
        Fault::Harm {
            link,
            whose,
            harm,
            for_ms,
        } => {
            let proxies: Vec<&Proxy> = proxies(platform, link, whose).collect();
            hurt(&proxies, harm, millis(for_ms)).await;
        }
        Fault::DiskFull { node, for_ms } => return fill(platform, node, millis(for_ms)).await,
        Fault::Clock {
            instance,
            offset_ms,
        } => {
            if let Some(role) = platform.role(instance) {
                role.with_clock(offset_ms).await?;
            }
        }
        Fault::Deploy => deploy::deploy(platform).await?,
        Fault::Isolate { node, for_ms } => return isolate(platform, node, millis(for_ms)).await,
        Fault::Rolling => {
            for node in &platform.servers.nats {
                node.server.lock().await.restart().await?;
            }
        }
    }
    Ok(None)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn kill(platform: &Platform, target: Target, away: Duration) -> Result<(), ChaosError> {
    match target {
        Target::Role(instance) => {
            let Some(role) = platform.role(instance) else {
                return Ok(());
            };
            role.kill().await;
            tokio::time::sleep(away).await;
            role.start().await
        }
        Target::Nats(node) => {
            let Some(node) = platform.servers.nats.get(node) else {
                return Ok(());
            };
            let mut server = node.server.lock().await;
            server.kill().await;
            tokio::time::sleep(away).await;
            Ok(server.restart().await?)
        }
        Target::Postgres => {
            let mut server = platform.servers.postgres.lock().await;
            server.kill().await;
            tokio::time::sleep(away).await;
            Ok(server.restart().await?)
        }
    }
}

async fn freeze(platform: &Platform, target: Target, time: Duration) {
    match target {
        Target::Role(instance) => {
            let Some(role) = platform.role(instance) else {
                return;
            };
            role.signal(Signal::STOP).await;
            tokio::time::sleep(time).await;
            role.signal(Signal::CONT).await;
        }
        Target::Nats(node) => {
            let Some(node) = platform.servers.nats.get(node) else {
                return;
            };
            let server = node.server.lock().await;
            signal(&server, Signal::STOP);
            tokio::time::sleep(time).await;
            signal(&server, Signal::CONT);
        }
        // Its sessions are processes of their own, which would go on.
        Target::Postgres => {}
    }
}

fn signal(server: &NatsServer, with: Signal) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, with);
    }
}

fn proxies(
    platform: &Platform,
    link: Link,
    whose: Option<Instance>,
) -> impl Iterator<Item = &Proxy> {
    let roles = platform.roles.iter();
    let meant = roles.filter(move |role| whose.is_none_or(|whose| whose == role.instance));
    meant.flat_map(move |role| role.links.get(&link).into_iter().flatten())
}

async fn hurt(proxies: &[&Proxy], harm: Harm, time: Duration) {
    let mode = match harm {
        Harm::Cut => Mode::Pass,
        Harm::Refuse => Mode::Refuse,
        Harm::Stall => Mode::Stall,
        Harm::Delay { by_ms } => Mode::Delay(millis(by_ms)),
    };
    for proxy in proxies {
        proxy.set(mode);
        if matches!(harm, Harm::Cut | Harm::Refuse) {
            proxy.cut();
        }
    }
    tokio::time::sleep(time).await;
    for proxy in proxies {
        proxy.set(Mode::Pass);
    }
}

/// One at a time: a second cut would heal the first. Nor does it wait for the first: cut off again and
/// again, a node that has just been started cannot find the others for longer than a start may take.
async fn isolate(
    platform: &Platform,
    node: usize,
    time: Duration,
) -> Result<Option<String>, ChaosError> {
    let Some(network) = &platform.servers.network else {
        return Ok(Some(
            "nodes: the network between them can only be cut by root, with the program `ip`"
                .to_owned(),
        ));
    };
    let Ok(network) = network.try_lock() else {
        return Ok(None);
    };
    let peers = (0..platform.servers.nats.len()).filter(|peer| *peer != node);
    let number = |node: usize| u8::try_from(node).unwrap_or(u8::MAX);
    for peer in peers {
        network.cut(number(node), number(peer))?;
    }
    tokio::time::sleep(time).await;
    network.heal()?;
    Ok(None)
}

/// JetStream stops when it cannot write; whoever made room starts the server again.
async fn fill(
    platform: &Platform,
    node: usize,
    time: Duration,
) -> Result<Option<String>, ChaosError> {
    let Some(node) = platform.servers.nats.get(node) else {
        return Ok(None);
    };
    let mut server = node.server.lock().await;
    let Some(volume) = &node.volume else {
        return Ok(Some(
            "disk: a small volume can only be mounted by root".to_owned(),
        ));
    };
    if !volume.fill().await {
        return Ok(Some(
            "disk: the volume could not be made smaller".to_owned(),
        ));
    }
    tokio::time::sleep(time).await;
    volume.clear().await;
    server.restart().await?;
    Ok(None)
}
