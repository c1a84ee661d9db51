//! Retention as a task of the projector's process: a round an hour. Several processes may try; one at
//! a time gets the lock.

use std::time::Duration;

use nexus_bus::Bus;
use nexus_bus::topology::EVENTS;
use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{RetentionPolicy, prune};
use crate::Projections;
use crate::fill::FillError;

const EVERY: Duration = Duration::from_secs(3_600);

/// Takes away what is too old, again and again, until it is told to stop.
pub async fn run_retention(
    projections: Projections,
    bus: Bus,
    policy: RetentionPolicy,
    stop: CancellationToken,
) {
    if policy.keeps_all() {
        return stop.cancelled().await;
    }
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        // What a round has begun the next one finishes.
        let round = prune(
            &projections,
            bus.jetstream(),
            EVENTS,
            &policy,
            OffsetDateTime::now_utc(),
        );
        tokio::select! {
            () = stop.cancelled() => return,
            done = round => match done {
                Ok(done) => {
                    if done.runs + done.partitions > 0 {
                        info!(
                            runs = done.runs,
                            partitions = done.partitions,
                            before_seq = done.runs_before,
                            "what was too old left the tables"
                        );
                    }
                    if done.audit_waits {
                        warn!(
                            "audit entries are older than they may become, and stay until \
                             `nexus audit archive` has them"
                        );
                    }
                }
                Err(FillError::Busy) => {}
                Err(error) => warn!(%error, "what is too old could not be taken away"),
            }
        }
    }
}
