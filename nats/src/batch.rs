//! The driver for roles that decide many commands in one commit. A batch is what is there: it is
//! never waited for, so a quiet role answers at once and a busy one commits by the hundred. While a
//! batch is handled the next one arrives.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{Interval, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span};

use crate::backoff::Backoff;
use crate::connect::Bus;
use crate::inbound::Delivery;
use crate::pull::Puller;
use crate::settle::{Desk, Refusal, Settled, Taken};
use crate::worker::{BatchHandler, Failure, RoleSpec, panicked};

/// Handles the role's commands in batches of up to [`RoleSpec::concurrency`], until `shutdown` is
/// cancelled; then finishes the batch that is begun and gives the rest back.
pub async fn run_batch_role<H: BatchHandler>(
    bus: Bus,
    spec: RoleSpec,
    handler: H,
    shutdown: CancellationToken,
) {
    let mut line = Line {
        puller: Puller::new(bus.clone(), spec.consumer(), spec.capacity()),
        desk: Desk::new(bus.clone(), spec.clone()),
        waiting: VecDeque::new(),
        beats: interval_at(tokio::time::Instant::now() + spec.beat(), spec.beat()),
        shutdown,
    };
    let mut away = 0;
    info!(role = spec.name, "role started");
    while let Some(batch) = line.batch().await {
        let Some(waits) = line.handled(&handler, &batch).await else {
            give_back(&line.desk, batch).await;
            break;
        };
        let some_wait = waits.contains(&true);
        let unsettled = batch.into_iter().zip(waits).filter(|(_, waits)| *waits);
        for (taken, _) in unsettled.collect::<Vec<_>>().into_iter().rev() {
            line.waiting.push_front(taken);
        }
        away = if some_wait { away + 1 } else { 0 };
        if some_wait {
            line.pause(Backoff::COMMAND.delay(away - 1)).await;
        }
    }
    let Line {
        mut puller,
        desk,
        waiting,
        ..
    } = line;
    give_back(&desk, waiting).await;
    give_back(&desk, puller.stop().await.into_iter().map(Taken::new)).await;
    puller.hand_over().await;
    // Acknowledgements on their way out; a lost one means one more delivery, no more.
    let _ = timeout(Duration::from_secs(2), bus.client().flush()).await;
    info!(role = spec.name, "role stopped");
}

async fn give_back(desk: &Desk, left: impl IntoIterator<Item = Taken>) {
    for taken in left {
        desk.give_back(&taken).await;
    }
}

/// Commands that wait for their batch.
struct Line {
    puller: Puller,
    desk: Desk,
    waiting: VecDeque<Taken>,
    beats: Interval,
    shutdown: CancellationToken,
}

impl Line {
    /// What is there, at least one; nothing when it is time to stop.
    async fn batch(&mut self) -> Option<Vec<Taken>> {
        let (most, capacity) = (
            self.desk.spec().concurrency.max(1),
            self.desk.spec().capacity(),
        );
        if self.waiting.is_empty() {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                message = self.puller.next(capacity) => {
                    self.waiting.push_back(Taken::new(message));
                }
            }
        }
        while self.waiting.len() < most {
            let Some(message) = self.puller.ready() else {
                break;
            };
            self.waiting.push_back(Taken::new(message));
        }
        let stop = self.shutdown.is_cancelled();
        (!stop).then(|| self.waiting.drain(..most.min(self.waiting.len())).collect())
    }

    /// Handles a batch while the next one arrives: for each command whether it must wait. Nothing
    /// when the grace time of a stopping process is over.
    async fn handled<H: BatchHandler>(
        &mut self,
        handler: &H,
        batch: &[Taken],
    ) -> Option<Vec<bool>> {
        let Self {
            puller,
            desk,
            waiting,
            beats,
            shutdown,
        } = self;
        let (capacity, grace) = (desk.spec().capacity(), desk.spec().grace);
        let mut work = std::pin::pin!(handle(handler, desk, batch, shutdown));
        let mut over = std::pin::pin!(async {
            shutdown.cancelled().await;
            sleep(grace).await;
        });
        loop {
            let room = capacity.saturating_sub(waiting.len() + batch.len());
            tokio::select! {
                biased;
                waits = &mut work => return Some(waits),
                () = &mut over => return None,
                _ = beats.tick() => {
                    for taken in batch.iter().chain(waiting.iter()) {
                        desk.in_progress(taken).await;
                    }
                }
                message = puller.next(room) => waiting.push_back(Taken::new(message)),
            }
        }
    }

    /// Waits for what is away, and keeps alive what waits, or still arrives.
    async fn pause(&mut self, delay: Duration) {
        let mut over = std::pin::pin!(sleep(delay));
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.shutdown.cancelled() => return,
                _ = self.beats.tick() => {
                    for taken in &self.waiting {
                        self.desk.in_progress(taken).await;
                    }
                }
                message = self.puller.next(0) => self.waiting.push_back(Taken::new(message)),
            }
        }
    }
}

/// For each command whether it must wait.
async fn handle<H: BatchHandler>(
    handler: &H,
    desk: &Desk,
    batch: &[Taken],
    stopping: &CancellationToken,
) -> Vec<bool> {
    let opened: Vec<_> = batch
        .iter()
        .map(|taken| desk.open(taken, stopping))
        .collect();
    let deliveries: Vec<Delivery> = opened.iter().flatten().cloned().collect();
    let mut outcomes = attempt(handler, desk, deliveries).await.into_iter();
    let settling = batch.iter().zip(opened).map(|(taken, opened)| {
        let missing = || Err(Failure::retry("the handler gave no outcome"));
        let outcome = opened
            .is_ok()
            .then(|| outcomes.next().unwrap_or_else(missing));
        settle(desk, taken, opened, outcome)
    });
    join_all(settling.collect::<Vec<_>>()).await
}

async fn settle(
    desk: &Desk,
    taken: &Taken,
    opened: Result<Delivery, Refusal>,
    outcome: Option<Result<(), Failure>>,
) -> bool {
    let settled = match (opened, outcome) {
        (Ok(delivery), Some(outcome)) => {
            let command = (delivery.command.role(), delivery.command.verb());
            desk.settle(taken, &delivery.envelope, command, outcome)
                .await
        }
        (Err(refusal), _) => desk.refuse(taken, &refusal).await,
        (Ok(_), None) => Settled::Done,
    };
    matches!(settled, Settled::Wait)
}

async fn attempt<H: BatchHandler>(
    handler: &H,
    desk: &Desk,
    deliveries: Vec<Delivery>,
) -> Vec<Result<(), Failure>> {
    let count = deliveries.len();
    if count == 0 {
        return Vec::new();
    }
    let started = Instant::now();
    let span = info_span!("batch", role = desk.spec().name, commands = count);
    let handled = AssertUnwindSafe(handler.handle_batch(deliveries)).catch_unwind();
    let outcomes = handled.instrument(span).await.unwrap_or_else(|panic| {
        let failure = panicked(panic.as_ref());
        vec![Err(failure); count]
    });
    for _ in 0..count {
        desk.took(started.elapsed());
    }
    outcomes
}
