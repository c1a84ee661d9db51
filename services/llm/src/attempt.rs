//! One attempt at one endpoint; or two, where the first does not begin to answer in time. The first
//! that says anything wins: only its text is heard, and the other is stopped and charged for what it
//! used.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::LiveStream;
use crate::provider::{
    CallLimits, ChatRequest, Completion, Delta, EmbedRequest, Embeddings, Failure, ProviderError,
    QuotaSlot, Resolved,
};
use crate::route::{Lease, Verdict, pause_of, verdict};

const NOBODY: usize = usize::MAX;

/// What is sent to one endpoint.
pub(crate) struct Shot<'a> {
    pub(crate) endpoint: &'a Resolved,
    pub(crate) place: usize,
    pub(crate) lease: Lease,
    pub(crate) request: &'a ChatRequest,
}

/// How it went.
pub(crate) struct Tried<A = Completion> {
    pub(crate) place: usize,
    pub(crate) hedge: bool,
    /// Another one was faster.
    pub(crate) outrun: bool,
    pub(crate) took: Duration,
    pub(crate) result: Result<A, ProviderError>,
}

/// Has vectors made at one endpoint.
pub(crate) async fn embed(
    endpoint: &Resolved,
    (place, lease): (usize, Lease),
    request: &EmbedRequest,
    deadline: Instant,
    stop: &CancellationToken,
) -> Tried<Embeddings> {
    let quota = QuotaSlot::default();
    let limits = CallLimits {
        cancel: stop.clone(),
        deadline: Some(deadline),
        quota: quota.clone(),
    };
    let began = Instant::now();
    let result = endpoint.provider.embed(request, &limits).await;
    let took = began.elapsed();
    let verdict = match &result {
        Ok(_) => Verdict::Alive {
            first_token: Some(took),
        },
        Err(error) => verdict(error),
    };
    let closed = result.as_ref().err().and_then(pause_of);
    lease.end(&verdict, closed.or(quota.take()));
    Tried {
        place,
        hedge: false,
        outrun: false,
        took,
        result,
    }
}

/// What both have in common.
pub(crate) struct Race<'a> {
    live: &'a LiveStream,
    deadline: Instant,
    winner: AtomicUsize,
    stops: [CancellationToken; 2],
    /// No second attempt is needed (any more).
    settled: CancellationToken,
}

impl<'a> Race<'a> {
    pub(crate) fn new(live: &'a LiveStream, deadline: Instant, stop: &CancellationToken) -> Self {
        Self {
            live,
            deadline,
            winner: AtomicUsize::new(NOBODY),
            stops: [stop.child_token(), stop.child_token()],
            settled: CancellationToken::new(),
        }
    }

    /// Makes the attempt, and after that time a second one if nothing was said by then. What won,
    /// or failed last, is the last.
    pub(crate) async fn run<'s>(
        &self,
        first: Shot<'s>,
        after: Option<Duration>,
        second: impl FnOnce() -> Option<Shot<'s>>,
    ) -> Vec<Tried> {
        let first = async {
            let tried = self.shoot(first, 0).await;
            self.settled.cancel();
            tried
        };
        let second = async {
            tokio::select! {
                biased;
                () = self.settled.cancelled() => return None,
                () = tokio::time::sleep(after?) => {}
            }
            Some(self.shoot(second()?, 1).await)
        };
        let (first, second) = tokio::join!(first, second);
        match second {
            None => vec![first],
            // Of two that failed the second was asked later, and says more of now.
            Some(second) if first.outrun || first.result.is_err() => vec![first, second],
            Some(second) => vec![second, first],
        }
    }

    /// Whether the attempt is the one that is heard; the first that asks is.
    fn claim(&self, me: usize) -> bool {
        let won = self
            .winner
            .compare_exchange(NOBODY, me, Ordering::SeqCst, Ordering::SeqCst);
        if won.is_ok() {
            self.settled.cancel();
            let others = self.stops.iter().enumerate().filter(|(at, _)| *at != me);
            others.for_each(|(_, stop)| stop.cancel());
        }
        won.is_ok() || won == Err(me)
    }

    async fn shoot(&self, shot: Shot<'_>, me: usize) -> Tried {
        let quota = QuotaSlot::default();
        let cancel = self.stops.get(me).cloned().unwrap_or_default();
        let limits = CallLimits {
            cancel,
            deadline: Some(self.deadline),
            quota: quota.clone(),
        };
        let began = Instant::now();
        let mut sink = |delta: Delta<'_>| {
            if self.claim(me) {
                self.live.delta(delta);
            }
        };
        let provider = &shot.endpoint.provider;
        let result = provider.complete(shot.request, &limits, &mut sink).await;
        let took = began.elapsed();
        let answered = result.is_ok();
        let winner = self.winner.load(Ordering::SeqCst);
        let outrun = match answered {
            true => !self.claim(me),
            false => winner != NOBODY && winner != me,
        };
        let verdict = match &result {
            Ok(done) => Verdict::Alive {
                first_token: done.time_to_first_token,
            },
            // It was slower than that.
            Err(error) if outrun && error.failure == Failure::Cancelled => Verdict::Alive {
                first_token: Some(took),
            },
            Err(error) => verdict(error),
        };
        let closed = result.as_ref().err().and_then(pause_of);
        shot.lease.end(&verdict, closed.or(quota.take()));
        Tried {
            place: shot.place,
            hedge: me > 0,
            outrun,
            took,
            result,
        }
    }
}
