//! What this process knows of one endpoint, and whether it may be called now. Pure, the time is an
//! argument. Other processes know other things: to share it would need a place that is asked before
//! every call, and what is known is old by then.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, State};
use super::config::{BreakerConfig, EndpointConfig};

const MINUTE: Duration = Duration::from_secs(60);
/// Share of a new measure in the average.
const NEW: f64 = 0.2;
/// How long an endpoint is left alone that refuses for its rate limit and does not say how long.
const LIMITED: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Health {
    limits: EndpointConfig,
    breaker: Breaker,
    /// The provider takes nothing until then, and why.
    closed: Option<(Instant, String)>,
    minute: Minute,
    in_flight: u32,
    first_token_ms: Option<f64>,
    /// What went wrong last, and whether trying again helps.
    last_failure: Option<(String, bool)>,
}

/// What was begun in the minute that is going.
#[derive(Debug, Default)]
struct Minute {
    since: Option<Instant>,
    requests: u32,
    tokens: u64,
}

/// Why an endpoint is not called now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) reason: String,
    /// When it may be called again, where that is known; else when another call of it ends.
    pub(crate) until: Option<Instant>,
    /// Waiting helps: it fails for now only.
    pub(crate) passing: bool,
}

/// How a call ended, for the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, or refused what nobody would have answered.
    Alive {
        /// How long its first token took.
        first_token: Option<Duration>,
    },
    /// It did not.
    Failed {
        /// A stable code.
        code: String,
        /// The same call may succeed later.
        passing: bool,
    },
    /// It takes no more for now.
    Limited {
        /// For so long, if it said.
        pause: Option<Duration>,
    },
    /// The call was given up before anything was known.
    Unknown,
}

impl Health {
    pub(crate) fn new(limits: EndpointConfig, breaker: BreakerConfig) -> Self {
        Self {
            limits,
            breaker: Breaker::new(breaker),
            closed: None,
            minute: Minute::default(),
            in_flight: 0,
            first_token_ms: None,
            last_failure: None,
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) fn first_token_ms(&self) -> Option<f64> {
        self.first_token_ms
    }

    pub(crate) fn weight(&self) -> u32 {
        self.limits.weight
    }

    pub(crate) fn is_open(&self) -> bool {
        self.breaker.state() != State::Closed
    }

    /// Whether a call of so many tokens may begin.
    pub(crate) fn check(&self, now: Instant, tokens: u64) -> Result<(), Closed> {
        if let Some((until, reason)) = self.closed.as_ref().filter(|(until, _)| *until > now) {
            let left = until.saturating_duration_since(now);
            return Err(Closed {
                reason: format!("{reason}, for {:.1} s more", left.as_secs_f64()),
                until: Some(*until),
                passing: true,
            });
        }
        if !self.breaker.admits(now) {
            let failure = self.last_failure.as_ref();
            let code = failure.map_or("failed", |(code, _)| code);
            let (what, until) = match self.breaker.state() {
                State::Open { until } => ("it is left alone for a while", Some(until)),
                _ => ("it is being tried again by another call", None),
            };
            return Err(Closed {
                reason: format!("it failed too often ({code}); {what}"),
                until,
                passing: failure.is_none_or(|(_, passing)| *passing),
            });
        }
        self.check_limits(now, tokens)
    }

    fn check_limits(&self, now: Instant, tokens: u64) -> Result<(), Closed> {
        let closed = |reason: String, until| {
            let passing = true;
            Err(Closed {
                reason,
                until,
                passing,
            })
        };
        if let Some(most) = self.limits.concurrency
            && self.in_flight >= most
        {
            return closed(format!("it has {most} calls at once"), None);
        }
        let (requests, spent, ends) = self.minute_at(now);
        if let Some(most) = self.limits.requests_per_minute
            && requests >= most
        {
            return closed(format!("it had its {most} calls of this minute"), ends);
        }
        if let Some(most) = self.limits.tokens_per_minute
            && spent.saturating_add(tokens) > most
            // What is more than a whole minute's is let through alone, or never would be.
            && spent > 0
        {
            return closed(format!("it had its {most} tokens of this minute"), ends);
        }
        Ok(())
    }

    fn minute_at(&self, now: Instant) -> (u32, u64, Option<Instant>) {
        match self.minute.since {
            Some(since) if since + MINUTE > now => (
                self.minute.requests,
                self.minute.tokens,
                Some(since + MINUTE),
            ),
            _ => (0, 0, None),
        }
    }

    /// A call begins that [`Self::check`] let through; true where it is a probe.
    pub(crate) fn begin(&mut self, now: Instant, tokens: u64) -> bool {
        self.in_flight += 1;
        if self.minute_at(now).2.is_none() {
            self.minute = Minute {
                since: Some(now),
                ..Minute::default()
            };
        }
        self.minute.requests = self.minute.requests.saturating_add(1);
        self.minute.tokens = self.minute.tokens.saturating_add(tokens);
        self.breaker.begin()
    }

    /// It takes nothing until then.
    pub(crate) fn close(&mut self, until: Instant, reason: String) {
        if self.closed.as_ref().is_none_or(|(known, _)| *known < until) {
            self.closed = Some((until, reason));
        }
    }

    /// A call ended.
    pub(crate) fn end(&mut self, now: Instant, probe: bool, verdict: &Verdict) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match verdict {
            Verdict::Alive { first_token } => {
                self.breaker.succeeded(now, probe);
                if let Some(took) = first_token {
                    let new = took.as_secs_f64() * 1_000.0;
                    let old = self.first_token_ms.unwrap_or(new);
                    self.first_token_ms = Some(old + NEW * (new - old));
                }
            }
            Verdict::Failed { code, passing } => {
                self.last_failure = Some((code.clone(), *passing));
                self.breaker.failed(now, probe);
            }
            Verdict::Limited { pause } => {
                // It answers, if only that it is too much: no failure.
                if probe {
                    self.breaker.give_up(now);
                }
                let until = now + pause.unwrap_or(LIMITED);
                self.close(until, "it is at its rate limit".to_owned());
            }
            Verdict::Unknown if probe => self.breaker.give_up(now),
            Verdict::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn health(limits: EndpointConfig) -> Health {
        Health::new(limits, BreakerConfig::default())
    }

    fn alive(ms: u64) -> Verdict {
        Verdict::Alive {
            first_token: Some(Duration::from_millis(ms)),
        }
    }

    #[test]
    fn what_the_provider_asks_for_is_obeyed_to_the_moment() {
        let (mut it, t) = (health(EndpointConfig::default()), Instant::now());
        it.begin(t, 1);
        let pause = Some(Duration::from_secs(7));
        it.end(t, false, &Verdict::Limited { pause });
        let closed = it.check(t + Duration::from_millis(6_999), 1).unwrap_err();
        assert_eq!(closed.until, Some(t + Duration::from_secs(7)));
        assert_eq!(it.check(t + Duration::from_secs(7), 1), Ok(()));
        // A shorter word later does not open it sooner.
        it.close(t + Duration::from_secs(9), "quota".to_owned());
        it.close(t + Duration::from_secs(8), "quota".to_owned());
        assert!(it.check(t + Duration::from_millis(8_500), 1).is_err());
    }

    #[test]
    fn limits_of_a_minute_and_of_calls_at_once_hold() {
        let limits = EndpointConfig {
            requests_per_minute: Some(3),
            tokens_per_minute: Some(100),
            concurrency: Some(2),
            ..EndpointConfig::default()
        };
        let (mut it, t) = (health(limits), Instant::now());
        it.begin(t, 30);
        it.begin(t, 30);
        assert_eq!(it.check(t, 1).unwrap_err().until, None, "two at once");
        it.end(t, false, &alive(1));
        assert!(it.check(t, 41).is_err(), "tokens");
        it.begin(t, 40);
        it.end(t, false, &alive(1));
        let closed = it.check(t, 0).unwrap_err();
        assert_eq!(closed.until, Some(t + MINUTE));
        assert_eq!(
            it.check(t + MINUTE, 1_000),
            Ok(()),
            "larger than a minute's"
        );
    }

    #[test]
    fn the_first_token_is_averaged() {
        let (mut it, t) = (health(EndpointConfig::default()), Instant::now());
        assert_eq!(it.first_token_ms(), None);
        for ms in [100, 200] {
            it.begin(t, 1);
            it.end(t, false, &alive(ms));
        }
        assert_eq!(it.first_token_ms(), Some(120.0));
        assert_eq!(it.in_flight(), 0);
    }
}
