//! What the bus says of runs while they go on, and when it was heard. At full speed thousands of
//! commits a second come by on cores that the platform needs, so that each is only searched for the
//! type names that matter, never decoded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use futures_util::{StreamExt, stream};
use nexus_bus::Bus;
use nexus_events::{RunId, Tenant, subject};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::BenchError;

/// When a run's stages were heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages {
    /// Its first commit.
    pub(crate) started: Option<Instant>,
    /// The first piece of the answer.
    pub(crate) first_piece: Option<Instant>,
    /// The commit with the whole answer.
    pub(crate) answered: Option<Instant>,
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// When its end was heard of.
    pub(crate) at: Instant,
    /// Sequence of its last commit.
    pub(crate) seq: u64,
    /// What the last commit says, where it is not that the run completed.
    pub(crate) failure: Option<String>,
    /// What was heard before.
    pub(crate) stages: Stages,
}

struct Waiting {
    stages: Stages,
    tell: oneshot::Sender<Ended>,
}

/// Listens for everybody.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: HashMap<RunId, Waiting>,
    last_seq: u64,
    /// Pieces of anybody's answer.
    pieces: u64,
    /// The first and the last of them.
    heard: Option<(Instant, Instant)>,
}

/// What a commit means for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    started: bool,
    answered: bool,
    completed: bool,
    ended: bool,
}

impl Marks {
    fn of(body: &str) -> Self {
        let has = |name: &str| body.contains(name);
        let completed = has("\"nexus.run.completed.v1\"");
        let ended =
            completed || has("\"nexus.run.failed.v1\"") || has("\"nexus.run.cancelled.v1\"");
        Self {
            started: has("\"nexus.run.started.v1\""),
            answered: has("\"nexus.run.llm-completed.v1\""),
            completed,
            ended,
        }
    }
}

impl Observer {
    /// Begins to listen to the runs of these tenants; with `pieces`, to their answers as well.
    ///
    /// # Errors
    /// [`BenchError::Bus`].
    pub(crate) async fn listen(
        bus: &Bus,
        tenants: &[Tenant],
        pieces: bool,
    ) -> Result<(Self, Listening), BenchError> {
        let observer = Self(Arc::default());
        let mut subscriptions: Vec<Subscriber> = Vec::new();
        for tenant in tenants {
            let mut subjects = vec![subject::log_of_runs(tenant)];
            subjects.extend(pieces.then(|| subject::live_of_runs(tenant)));
            for subject in subjects {
                let subscribed = bus.client().subscribe(subject).await;
                subscriptions.push(subscribed.map_err(|error| BenchError::Bus(error.to_string()))?);
            }
        }
        let hear = observer.clone();
        let mut messages = stream::select_all(subscriptions);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                hear.hear(&message, Instant::now());
            }
        });
        Ok((observer, Listening(task)))
    }

    /// Expects the end of a run; to be called before it is started.
    pub(crate) fn expect(&self, run: RunId) -> oneshot::Receiver<Ended> {
        let (tell, ended) = oneshot::channel();
        self.lock().waiting.insert(
            run,
            Waiting {
                stages: Stages::default(),
                tell,
            },
        );
        ended
    }

    /// Forgets a run that was given up.
    pub(crate) fn forget(&self, run: RunId) {
        self.lock().waiting.remove(&run);
    }

    /// Sequence of the last commit that was heard.
    pub(crate) fn last_seq(&self) -> u64 {
        self.lock().last_seq
    }

    /// Runs that have begun to answer and not ended.
    pub(crate) fn answering(&self) -> usize {
        let begun = |waiting: &&Waiting| waiting.stages.first_piece.is_some();
        self.lock().waiting.values().filter(begun).count()
    }

    /// Pieces of answers that were heard, and how long it took from the first to the last.
    pub(crate) fn pieces(&self) -> (u64, Duration) {
        let state = self.lock();
        let took = state.heard.map(|(first, last)| last - first);
        (state.pieces, took.unwrap_or_default())
    }

    fn hear(&self, message: &Message, at: Instant) {
        let mut tokens = message.subject.rsplit('.');
        let Some(run) = tokens.next().and_then(|id| id.parse::<RunId>().ok()) else {
            return;
        };
        let live = tokens.nth(1) == Some("live");
        let mut state = self.lock();
        if live {
            state.pieces += 1;
            state.heard = Some((state.heard.map_or(at, |(first, _)| first), at));
            if let Some(waiting) = state.waiting.get_mut(&run) {
                waiting.stages.first_piece.get_or_insert(at);
            }
            return;
        }
        let body = String::from_utf8_lossy(&message.payload);
        let seq = sequence(message).unwrap_or(0);
        state.last_seq = state.last_seq.max(seq);
        let marks = Marks::of(&body);
        let Some(waiting) = state.waiting.get_mut(&run) else {
            return;
        };
        if marks.started {
            waiting.stages.started.get_or_insert(at);
        }
        if marks.answered {
            waiting.stages.answered.get_or_insert(at);
        }
        if marks.ended
            && let Some(waiting) = state.waiting.remove(&run)
        {
            let failure = (!marks.completed).then(|| body.chars().take(2000).collect());
            // Whoever waited may have given up.
            let _ = waiting.tell.send(Ended {
                at,
                seq,
                failure,
                stages: waiting.stages,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn sequence(message: &Message) -> Option<u64> {
    message
        .headers
        .as_ref()?
        .get("Nats-Sequence")?
        .as_str()
        .parse()
        .ok()
}

/// Time from one stage to another, where both were heard of.
pub(crate) fn between(from: Option<Instant>, to: Option<Instant>) -> Option<Duration> {
    Some(to?.saturating_duration_since(from?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn message(subject: &str, seq: u64, body: &str) -> Message {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Sequence", seq.to_string().as_str());
        Message {
            subject: subject.into(),
            reply: None,
            payload: body.to_owned().into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_run_is_followed_by_its_type_names() {
        let observer = Observer(Arc::default());
        let run = RunId::derive(&["x"]);
        let mut ended = observer.expect(run);
        let log = format!("nexus.bench.log.run.{run}");
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        observer.hear(
            &message(&log, 1, r#"[{"type":"nexus.run.started.v1"}]"#),
            at(1),
        );
        observer.hear(
            &message(&format!("nexus.bench.live.run.{run}"), 0, "{}"),
            at(3),
        );
        assert!(ended.try_recv().is_err());
        assert_eq!((observer.answering(), observer.pieces().0), (1, 1));
        let last = r#"[{"type":"nexus.run.llm-completed.v1"},{"type":"nexus.run.completed.v1"}]"#;
        observer.hear(&message(&log, 9, last), at(5));
        let ended = ended.try_recv().unwrap();
        assert_eq!((ended.seq, ended.failure.as_deref()), (9, None));
        let millis = |from, to| between(from, to).map(|took| took.as_millis());
        assert_eq!(millis(ended.stages.started, ended.stages.answered), Some(4));
        assert_eq!(
            millis(ended.stages.started, ended.stages.first_piece),
            Some(2)
        );
        assert_eq!(observer.last_seq(), 9);
        assert!(observer.lock().waiting.is_empty());
    }

    #[test]
    fn a_run_that_fails_says_so() {
        let observer = Observer(Arc::default());
        let run = RunId::derive(&["y"]);
        let mut ended = observer.expect(run);
        let log = format!("nexus.bench.log.run.{run}");
        observer.hear(
            &message(&log, 2, r#"[{"type":"nexus.run.failed.v1"}]"#),
            Instant::now(),
        );
        assert!(
            ended
                .try_recv()
                .unwrap()
                .failure
                .unwrap()
                .contains("failed")
        );
    }
}
