//! Whoever listens to plain subjects misses what is sent while the connection is away, and nothing
//! says so. The client counts its connections; this watches the count, so that every listener can
//! look at the log again after each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_bus::Bus;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How late a lost connection may be noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The number of connections that were made so far, as it changes.
pub(crate) fn connects(bus: &Bus, stopping: CancellationToken) -> watch::Receiver<u64> {
    let statistics = bus.client().statistics();
    let (changes, connects) = watch::channel(statistics.connects.load(Ordering::Relaxed));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = statistics.connects.load(Ordering::Relaxed);
            changes.send_if_modified(|known| std::mem::replace(known, now) != now);
        }
    });
    connects
}
