//! One turn's model call: attempts at the endpoints of its model until one answers, within the time,
//! the tokens and the money that are reserved.
//!
//! What cost nothing is repeated freely. What was billed leaves less: another attempt is made only
//! where the rest covers the whole prompt and a useful answer. Else the call ends, and the run asks
//! the ledger anew.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nexus_events::catalog::Price;
use nexus_events::model::Usage;
use nexus_events::run::{FailedCall, MOST_TOLD, ReservationGranted, RouteAttempt, Routing};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Race, Shot, Tried};
use crate::live::LiveStream;
use crate::provider::{ChatRequest, Completion, EmbedRequest, Embeddings, Failure, Resolved};
use crate::route::{Closed, Lease, Room, Router, Wish, is_of_the_endpoint, skipped};

/// Attempts of one model in a turn, where it has few endpoints.
const ATTEMPTS: usize = 4;
/// And where it has many.
const MOST_ATTEMPTS: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// The longest that a call waits for an endpoint to be open again.
const MOST_WAIT: Duration = Duration::from_secs(60);

/// What a call is about.
pub(crate) struct Plan<'a> {
    pub(crate) router: &'a Arc<Router>,
    /// The name that the run has for the model.
    pub(crate) model: &'a str,
    /// Who serves it.
    pub(crate) endpoints: &'a [Resolved],
    pub(crate) grant: &'a ReservationGranted,
    /// As good as drawn by lot, and always the same for the call.
    pub(crate) number: u64,
    /// Calls of the turn that failed before this one.
    pub(crate) failed: &'a [FailedCall],
    /// The run may be moved to another model.
    pub(crate) has_next: bool,
}

/// How a call ended, with everything that it used.
pub(crate) struct Called<A = Completion> {
    /// The answer and whose it is, or why there is none.
    pub(crate) result: Result<(A, usize), Ended>,
    /// Tokens of all attempts.
    pub(crate) usage: Usage,
    /// What they cost where they were made.
    pub(crate) cost_usd_micros: u64,
    /// How many there were.
    pub(crate) attempts: u32,
    /// What was tried, and what was not.
    pub(crate) routing: Routing,
    /// What may follow.
    pub(crate) then: Then,
}

impl<A> Called<A> {
    /// The same of a part of its answer, and the rest of it.
    pub(crate) fn split<B, R>(self, part: impl FnOnce(A) -> (B, R)) -> (Called<B>, Option<R>) {
        let (result, rest) = match self.result {
            Ok((answer, place)) => {
                let (part, rest) = part(answer);
                (Ok((part, place)), Some(rest))
            }
            Err(ended) => (Err(ended), None),
        };
        let called = Called {
            result,
            usage: self.usage,
            cost_usd_micros: self.cost_usd_micros,
            attempts: self.attempts,
            routing: self.routing,
            then: self.then,
        };
        (called, rest)
    }
}

/// What an attempt gave, as far as it is charged.
pub(crate) trait Charged {
    /// What it used.
    fn usage(&self) -> Usage;
}

impl Charged for Completion {
    fn usage(&self) -> Usage {
        self.usage
    }
}

impl Charged for Embeddings {
    fn usage(&self) -> Usage {
        self.usage
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The last attempt failed.
    Failed(Failure),
    /// All endpoints are closed; which, and why.
    Closed(String),
}

/// What may follow a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    End,
    /// Another call of the model, which is reserved for anew.
    Again,
    /// Another model.
    Next,
}

/// Calls the model.
pub(crate) async fn call(
    plan: &Plan<'_>,
    mut request: ChatRequest,
    deadline: Instant,
    stop: &CancellationToken,
    live: &LiveStream,
) -> Called {
    let mut tries = Tries::new(plan, deadline);
    if !rested(tries.first_pause(), stop).await {
        return tries.end(Err(Ended::Failed(Failure::Cancelled)), Then::End);
    }
    loop {
        let (place, lease) = match tries.open(stop).await {
            Ok(open) => open,
            Err((ended, then)) => return tries.end(Err(ended), then),
        };
        let failure = match tries.attempt(place, lease, &mut request, stop, live).await {
            Ok(answer) => return tries.end(Ok(answer), Then::End),
            Err(failure) => failure,
        };
        let pause = match tries.after(&failure) {
            Ok(pause) => pause,
            Err(then) => {
                if then != Then::End {
                    // What was heard is void, whoever goes on.
                    live.restart(failure.code());
                }
                return tries.end(Err(Ended::Failed(failure)), then);
            }
        };
        tracing::warn!(model = plan.model, attempts = tries.attempts, %failure, ?pause, "the model call failed and is tried again");
        live.restart(failure.code());
        if !rested(pause, stop).await {
            return tries.end(Err(Ended::Failed(Failure::Cancelled)), Then::End);
        }
    }
}

/// Has vectors made. Nobody listens meanwhile, and a second endpoint is asked only after a failure.
pub(crate) async fn embed(
    plan: &Plan<'_>,
    mut request: EmbedRequest,
    deadline: Instant,
    stop: &CancellationToken,
) -> Called<Embeddings> {
    let mut tries = Tries::new(plan, deadline);
    loop {
        let (place, lease) = match tries.open(stop).await {
            Ok(open) => open,
            Err((ended, then)) => return tries.end(Err(ended), then),
        };
        let Some(endpoint) = plan.endpoints.get(place) else {
            return tries.end(Err(Ended::Failed(Failure::Cancelled)), Then::End);
        };
        request.model.clone_from(&endpoint.model.wire_name);
        let tried = attempt::embed(endpoint, (place, lease), &request, deadline, stop).await;
        let failure = match tries.take(vec![tried]) {
            Ok(answer) => return tries.end(Ok(answer), Then::End),
            Err(failure) => failure,
        };
        let pause = match tries.after(&failure) {
            Ok(pause) => pause,
            Err(then) => return tries.end(Err(Ended::Failed(failure)), then),
        };
        tracing::warn!(model = plan.model, attempts = tries.attempts, %failure, ?pause, "vectors were not made, and are asked for again");
        if !rested(pause, stop).await {
            return tries.end(Err(Ended::Failed(Failure::Cancelled)), Then::End);
        }
    }
}

/// Waits; false where the call was given up meanwhile.
async fn rested(pause: Duration, stop: &CancellationToken) -> bool {
    if pause.is_zero() {
        // The timer's tick is a millisecond, which even no time at all is rounded up to.
        return !stop.is_cancelled();
    }
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = stop.cancelled() => false,
    }
}

/// The state of a call.
struct Tries<'a> {
    plan: &'a Plan<'a>,
    deadline: Instant,
    room: Room,
    /// The price of the dearest endpoint.
    dearest: Price,
    usage: Usage,
    cost_usd_micros: u64,
    attempts: u32,
    /// Providers that have failed for this turn.
    failed: Vec<String>,
    routing: Routing,
}

impl<'a> Tries<'a> {
    fn new(plan: &'a Plan<'a>, deadline: Instant) -> Self {
        let strategy = match plan.endpoints.len() {
            0 | 1 => "only",
            _ => plan.router.route(plan.model).strategy.as_str(),
        };
        let prices = plan.endpoints.iter().map(|endpoint| endpoint.model.price);
        Self {
            plan,
            deadline,
            room: Room::of(plan.grant),
            dearest: prices.fold(Price::default(), Price::or_dearer),
            usage: Usage::default(),
            cost_usd_micros: 0,
            attempts: 0,
            failed: (of_model(plan).flat_map(|call| &call.endpoints))
                .cloned()
                .collect(),
            routing: Routing {
                strategy: strategy.to_owned(),
                ..Routing::default()
            },
        }
    }

    fn wish<'w>(&'w self, never: &'w [String]) -> Wish<'w> {
        Wish {
            model: self.plan.model,
            endpoints: self.plan.endpoints,
            number: mix(self.plan.number.wrapping_add(self.attempts.into())),
            last: &self.failed,
            never,
            tokens: self.room.tokens_of_one(),
        }
    }

    /// Takes an endpoint, and waits for one where all are closed for a while.
    async fn open(&mut self, stop: &CancellationToken) -> Result<(usize, Lease), (Ended, Then)> {
        let began = Instant::now();
        let latest = self.deadline.min(began + MOST_WAIT);
        let router = self.plan.router;
        loop {
            let mut changed = pin!(router.changed());
            // Registered before the look, so that no change falls between the two.
            changed.as_mut().enable();
            let choice = router.choose(&self.wish(&[]), Instant::now());
            self.routing.skipped = skipped(self.plan.endpoints, &choice.closed);
            let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if let Some(open) = choice.taken {
                self.routing.waited_ms = self.routing.waited_ms.saturating_add(waited);
                return Ok(open);
            }
            let passing = choice.closed.iter().filter(|(_, why)| why.passing);
            let earliest = passing.clone().filter_map(|(_, why)| why.until).min();
            let hopeless = passing.count() == 0
                || earliest.is_some_and(|until| until >= latest)
                || Instant::now() >= latest;
            if hopeless || self.plan.has_next {
                let then = self.next();
                return Err((Ended::Closed(self.all_closed(&choice.closed)), then));
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(earliest.unwrap_or(latest)) => {}
                () = stop.cancelled() => {
                    return Err((Ended::Failed(Failure::Cancelled), Then::End));
                }
            }
        }
    }

    fn all_closed(&self, closed: &[(usize, Closed)]) -> String {
        let each: Vec<String> = (skipped(self.plan.endpoints, closed).into_iter())
            .take(MOST_TOLD)
            .map(|skipped| format!("{}: {}", skipped.endpoint, skipped.reason))
            .collect();
        format!(
            "no endpoint of model {} can be called now: {}",
            self.plan.model,
            each.join("; ")
        )
    }

    async fn attempt(
        &mut self,
        place: usize,
        lease: Lease,
        request: &mut ChatRequest,
        stop: &CancellationToken,
        live: &LiveStream,
    ) -> Result<(Completion, usize), Failure> {
        let plan = self.plan;
        let Some(endpoint) = plan.endpoints.get(place) else {
            return Err(Failure::Cancelled);
        };
        let wanted = plan.grant.max_output_tokens;
        let hedge = self.hedge_after();
        let most = match (hedge, self.attempts) {
            (Some((_, most)), _) => most,
            // Nothing was used yet: it may have what the ledger said.
            (None, 0) => wanted,
            (None, _) => self.room.answer(&endpoint.model.price).unwrap_or(1),
        };
        request.max_tokens = u32::try_from(most).unwrap_or(u32::MAX);
        aim(request, endpoint);
        let mut other = hedge.map(|_| request.clone());
        let race = Race::new(live, self.deadline, stop);
        let first = Shot {
            endpoint,
            place,
            lease,
            request,
        };
        let never = [endpoint.model.provider.clone()];
        let wish = self.wish(&never);
        let other = &mut other;
        let tried = race
            .run(first, hedge.map(|(after, _)| after), move || {
                let request = other.as_mut()?;
                let (place, lease) = plan.router.choose(&wish, Instant::now()).taken?;
                let endpoint = plan.endpoints.get(place)?;
                aim(request, endpoint);
                Some(Shot {
                    endpoint,
                    place,
                    lease,
                    request,
                })
            })
            .await;
        self.take(tried)
    }

    /// After how long a second endpoint is asked, and how long the answer may be so that both fit.
    fn hedge_after(&self) -> Option<(Duration, u64)> {
        let after = self.plan.router.route(self.plan.model).hedge_after_ms?;
        let shows_all = |endpoint: &Resolved| !endpoint.model.reasoning;
        let may = self.attempts == 0
            && self.plan.endpoints.len() > 1
            // What is billed and not shown has no bound but the whole answer.
            && self.plan.endpoints.iter().all(shows_all);
        let most = self.room.answer_of_two(&self.dearest).filter(|_| may)?;
        Some((Duration::from_millis(after), most))
    }

    /// Accounts for what was tried.
    fn take<A: Charged>(&mut self, tried: Vec<Tried<A>>) -> Result<(A, usize), Failure> {
        let mut last = Err(Failure::Cancelled);
        for one in tried {
            let Some(endpoint) = self.plan.endpoints.get(one.place) else {
                continue;
            };
            let usage = match &one.result {
                Ok(done) => done.usage(),
                Err(error) => error.partial.usage,
            };
            let cost_usd_micros = endpoint.model.price.cost_usd_micros(&usage);
            let outcome = match &one.result {
                _ if one.outrun => "outrun",
                Ok(_) => "answered",
                Err(error) => error.failure.code(),
            };
            self.attempts += 1;
            self.usage = sum(self.usage, usage);
            self.cost_usd_micros = self.cost_usd_micros.saturating_add(cost_usd_micros);
            self.room.spend(&usage, cost_usd_micros);
            if self.routing.attempts.len() < MOST_TOLD {
                self.routing.attempts.push(RouteAttempt {
                    endpoint: endpoint.model.provider.clone(),
                    outcome: outcome.chars().take(64).collect(),
                    usage,
                    cost_usd_micros,
                    duration_ms: u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX),
                    hedge: one.hedge,
                });
            }
            if one.outrun {
                continue;
            }
            last = match one.result {
                Ok(answer) => Ok((answer, one.place)),
                Err(error) => {
                    self.failed.push(endpoint.model.provider.clone());
                    Err(error.failure)
                }
            };
        }
        last
    }

    /// How long to wait before the next attempt, or what follows where there is none.
    fn after(&self, failure: &Failure) -> Result<Duration, Then> {
        if !is_of_the_endpoint(failure) {
            return Err(Then::End);
        }
        let endpoints = self.plan.endpoints.len();
        let most = match self.plan.has_next {
            true => endpoints + 1,
            false => ATTEMPTS.max(endpoints + 1),
        };
        let tried = self.before().saturating_add(self.attempts) as usize;
        let untried = self.untried();
        let lasting = matches!(failure, Failure::Permanent { .. });
        if tried >= most.min(MOST_ATTEMPTS) || lasting && !untried {
            return Err(self.next());
        }
        if self.room.answer(&self.dearest).is_none() {
            return Err(Then::Again);
        }
        let pause = match untried {
            true => Duration::ZERO,
            false => back_off(tried as u32, self.plan.number),
        };
        match Instant::now() + pause < self.deadline {
            true => Ok(pause),
            false => Err(self.next()),
        }
    }

    /// How long to wait before the first attempt: what a call that failed left of its reservation may
    /// have been too little for another, and whoever reserves anew is no sooner welcome.
    fn first_pause(&self) -> Duration {
        let pause = match self.before() {
            0 => Duration::ZERO,
            _ if self.untried() => Duration::ZERO,
            tried => back_off(tried, self.plan.number),
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        pause.min(left / 2)
    }

    /// Attempts of the turn's calls that failed before this one.
    fn before(&self) -> u32 {
        of_model(self.plan).map(|call| call.attempts).sum()
    }

    /// Whether there is an endpoint that has not failed in this turn.
    fn untried(&self) -> bool {
        let mut endpoints = self.plan.endpoints.iter();
        endpoints.any(|endpoint| !self.failed.contains(&endpoint.model.provider))
    }

    fn next(&self) -> Then {
        match self.plan.has_next {
            true => Then::Next,
            false => Then::End,
        }
    }

    fn end<A>(mut self, result: Result<(A, usize), Ended>, then: Then) -> Called<A> {
        self.routing.skipped.truncate(MOST_TOLD);
        if let Ok((_, place)) = &result {
            let endpoint = self.plan.endpoints.get(*place);
            self.routing.endpoint = endpoint.map(|endpoint| endpoint.model.provider.clone());
        }
        Called {
            result,
            usage: self.usage,
            cost_usd_micros: self.cost_usd_micros,
            attempts: self.attempts,
            routing: self.routing,
            then,
        }
    }
}

/// Calls of the turn that this model failed.
fn of_model<'a>(plan: &Plan<'a>) -> impl Iterator<Item = &'a FailedCall> {
    let model = plan.model;
    (plan.failed.iter()).filter(move |call| call.model == model)
}

/// Makes the request one for this endpoint.
fn aim(request: &mut ChatRequest, endpoint: &Resolved) {
    request.model.clone_from(&endpoint.model.wire_name);
    request.hidden_output = endpoint.model.reasoning;
}

/// A pause that grows, and that two calls do not end at one moment.
fn back_off(attempt: u32, number: u64) -> Duration {
    let whole = FIRST_PAUSE * 4u32.saturating_pow(attempt.saturating_sub(1).min(8));
    let whole = whole.min(LONGEST_PAUSE);
    let share = (mix(number.wrapping_add(attempt.into())) % 1_000) as u32;
    whole / 2 + whole / 2 * share / 1_000
}

/// Another number of the same kind (the finalizer of splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        cached_input_tokens: a.cached_input_tokens.saturating_add(b.cached_input_tokens),
        cache_write_tokens: a.cache_write_tokens.saturating_add(b.cache_write_tokens),
        estimated: a.estimated || b.estimated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds_and_differ() {
        for attempt in 1..20 {
            let whole = (FIRST_PAUSE * 4u32.pow((attempt - 1).min(6))).min(LONGEST_PAUSE);
            let pauses: Vec<_> = (0..50).map(|n| back_off(attempt, n)).collect();
            assert!(
                pauses
                    .iter()
                    .all(|pause| (whole / 2..=whole).contains(pause))
            );
            assert!(pauses.windows(2).any(|two| two.first() != two.last()));
        }
    }
}
