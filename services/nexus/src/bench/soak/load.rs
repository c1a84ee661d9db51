//! Steady load: runs begin at a rate, whether or not earlier ones have ended (an open loop), as those
//! of people do. Of twenty, fourteen are plain, three call a tool, and three are turns of a session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexus_bus::{Bus, CommandMeta, publish_command};
use nexus_events::command::StartRun;
use nexus_events::{Actor, Command, CommandId, RunId, SessionId, Tenant};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::super::observe::Observer;

const RUN_LIMIT: Duration = Duration::from_secs(60);
/// A platform that does not keep up gets no more than this at once; what is not begun is counted.
const MOST_IN_FLIGHT: usize = 512;
/// Runs begin together in steps of this, where the rate is higher.
const STEP: Duration = Duration::from_millis(20);

/// What a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Tool,
    Turn,
}

impl Shape {
    pub(crate) fn of(number: u64) -> Self {
        match number % 20 {
            3 | 10 | 17 => Self::Tool,
            6 | 13 | 19 => Self::Turn,
            _ => Self::Plain,
        }
    }
}

/// What became of the runs so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) not_begun: AtomicU64,
    pub(crate) first_failure: Mutex<Option<String>>,
    /// Times of the runs that ended since the last look, in microseconds.
    times: Mutex<Vec<u64>>,
}

impl Counts {
    /// Takes the times of the runs that ended since the last look.
    pub(crate) fn take_times(&self) -> Vec<u64> {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn failed(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut first = self
            .first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(why);
    }
}

/// Begins runs.
#[derive(Clone)]
pub(crate) struct Steady {
    pub(crate) bus: Bus,
    pub(crate) observer: Observer,
    pub(crate) tenant: Tenant,
    /// Turns of a session before the next one begins.
    pub(crate) turns: u64,
    pub(crate) counts: Arc<Counts>,
}

impl Steady {
    /// Begins `rate` runs a second until told to stop, and waits for those that are under way.
    pub(crate) async fn run(&self, rate: f64, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(MOST_IN_FLIGHT));
        let mut tasks = JoinSet::new();
        let (begun, mut number) = (Instant::now(), 0u64);
        let mut ticks = tokio::time::interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sessions = Arc::new(Sessions::default());
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => {}
            }
            let due = (begun.elapsed().as_secs_f64() * rate) as u64;
            while number < due {
                number += 1;
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    self.counts.not_begun.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let (this, sessions) = (self.clone(), Arc::clone(&sessions));
                tasks.spawn(async move {
                    this.one(Shape::of(number), &sessions).await;
                    drop(place);
                });
            }
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn one(&self, shape: Shape, sessions: &Sessions) {
        let run = RunId::new(Uuid::now_v7());
        let place = (shape == Shape::Turn).then(|| sessions.take(run, self.turns));
        let began = Instant::now();
        // The first turn names no session: it opens its own.
        let named = place.filter(|place| place.0.uuid() != run.uuid());
        let done = self.started(run, shape, named.map(|place| place.0)).await;
        match done {
            Ok(()) => {
                self.counts.completed.fetch_add(1, Ordering::Relaxed);
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let mut times = self
                    .counts
                    .times
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                times.push(took);
                if let Some(place) = place {
                    sessions.give_back(place);
                }
            }
            Err(why) => self.counts.failed(why),
        }
    }

    async fn started(
        &self,
        run: RunId,
        shape: Shape,
        session: Option<SessionId>,
    ) -> Result<(), String> {
        let ended = self.observer.expect(run);
        let (input, tools) = match shape {
            Shape::Tool => ("12*7", vec!["calculator".to_owned()]),
            _ => ("Say something.", vec![]),
        };
        let command = Command::from(StartRun {
            input: input.to_owned(),
            run_id: Some(run),
            session_id: session,
            tools: Some(tools),
            ..StartRun::default()
        });
        let mut meta = CommandMeta::new(CommandId::random(run.uuid()), "nexus/bench");
        meta.correlation = Some(run);
        meta.actor = Some(Actor {
            user: "bench".to_owned(),
            ..Actor::default()
        });
        let published = publish_command(&self.bus, &self.tenant, &command, &meta).await;
        if let Err(error) = published {
            self.observer.forget(run);
            return Err(error.to_string());
        }
        match tokio::time::timeout(RUN_LIMIT, ended).await {
            Ok(Ok(ended)) => ended.failure.map_or(Ok(()), Err),
            _ => {
                self.observer.forget(run);
                Err(format!("run {run} did not end within {RUN_LIMIT:?}"))
            }
        }
    }
}

/// Sessions that nobody is in, and how many turns each has left: a second run in a busy one would be
/// refused.
#[derive(Debug, Default)]
struct Sessions(Mutex<Vec<(SessionId, u64)>>);

impl Sessions {
    /// One that is idle, or the one that this run opens.
    fn take(&self, run: RunId, turns: u64) -> (SessionId, u64) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
            .unwrap_or_else(|| (SessionId::new(run.uuid()), turns))
    }

    fn give_back(&self, (session, left): (SessionId, u64)) {
        if left > 1 {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((session, left - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_as_said() {
        let count = |shape| (0..20).filter(|n| Shape::of(*n) == shape).count();
        let counts = [Shape::Plain, Shape::Tool, Shape::Turn].map(count);
        assert_eq!(counts, [14, 3, 3]);
    }

    #[test]
    fn a_session_has_its_turns_and_is_then_forgotten() {
        let sessions = Sessions::default();
        let run = |name: &str| RunId::derive(&[name]);
        let first = sessions.take(run("a"), 2);
        sessions.give_back(first);
        let second = sessions.take(run("b"), 2);
        assert_eq!(first.0, second.0);
        sessions.give_back(second);
        assert_eq!(sessions.take(run("c"), 2).0.uuid(), run("c").uuid());
    }
}
