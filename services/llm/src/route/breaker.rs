//! When an endpoint that fails is left alone: closed, open for a growing pause, then one probe at a
//! time. Pure, the time is an argument.
//!
//! It counts failures in a window, if they are half of the calls: failures in a row alone would never
//! open for an endpoint that fails every second call, and a share alone opens at the first.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::config::BreakerConfig;

/// Outcomes that are remembered.
const MOST: usize = 64;

#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    outcomes: VecDeque<(Instant, bool)>,
    state: State,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Calls go through.
    Closed,
    /// None does.
    Open {
        /// Until then; then one does.
        until: Instant,
    },
    /// One is on its way.
    Probing,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        let pause = Duration::from_millis(config.pause_ms);
        Self {
            config,
            outcomes: VecDeque::new(),
            state: State::Closed,
            pause,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether a call may begin.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => until <= now,
            State::Probing => false,
        }
    }

    /// A call begins that was admitted; true where it is a probe.
    pub(crate) fn begin(&mut self) -> bool {
        let probes = matches!(self.state, State::Open { .. });
        if probes {
            self.state = State::Probing;
        }
        probes
    }

    /// A probe ended without saying anything: the next call is one.
    pub(crate) fn give_up(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Open { until: now };
        }
    }

    pub(crate) fn succeeded(&mut self, now: Instant, probe: bool) {
        // A call from before it opened does not close it.
        if probe || self.state == State::Closed {
            if probe {
                self.outcomes.clear();
            }
            self.state = State::Closed;
            self.pause = Duration::from_millis(self.config.pause_ms);
        }
        self.remember(now, true);
    }

    pub(crate) fn failed(&mut self, now: Instant, probe: bool) {
        self.remember(now, false);
        let opens = match self.state {
            State::Probing if probe => {
                let longest = Duration::from_millis(self.config.longest_pause_ms);
                self.pause = (self.pause * 2).min(longest);
                true
            }
            State::Closed => self.fails_too_often(),
            _ => false,
        };
        if opens {
            self.state = State::Open {
                until: now + self.pause,
            };
        }
    }

    fn fails_too_often(&self) -> bool {
        let failures = self.outcomes.iter().filter(|(_, ok)| !ok).count();
        failures as u64 >= u64::from(self.config.failures.max(1))
            && failures * 2 >= self.outcomes.len()
    }

    fn remember(&mut self, now: Instant, ok: bool) {
        let window = Duration::from_millis(self.config.window_ms);
        self.outcomes.push_back((now, ok));
        while self.outcomes.len() > MOST
            || (self.outcomes.front())
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > window)
        {
            self.outcomes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(BreakerConfig {
            failures,
            window_ms: 10_000,
            pause_ms: 1_000,
            longest_pause_ms: 3_000,
        })
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn it_opens_after_so_many_failures_and_one_probe_at_a_time_closes_it() {
        let (mut b, t) = (breaker(3), Instant::now());
        for n in 0..3 {
            assert!(b.admits(t + ms(n)));
            assert!(!b.begin());
            b.failed(t + ms(n), false);
        }
        assert!(!b.admits(t + ms(1_001)));
        let later = t + ms(1_002);
        assert!(b.admits(later) && b.begin());
        assert!(!b.admits(later), "one probe at a time");
        // One that was under way since before says nothing of now.
        b.succeeded(later, false);
        assert_eq!(b.state(), State::Probing);
        b.succeeded(later, true);
        assert!(b.admits(later));
        b.failed(later, false);
        assert!(b.admits(later), "what was before the probe is forgotten");
    }

    #[test]
    fn its_pause_grows_with_each_probe_that_fails_up_to_a_bound() {
        let (mut b, mut t) = (breaker(1), Instant::now());
        b.failed(t, false);
        for pause in [1_000, 2_000, 3_000, 3_000] {
            assert!(!b.admits(t + ms(pause - 1)), "{pause}");
            t += ms(pause);
            assert!(b.admits(t) && b.begin());
            b.failed(t, true);
        }
        t += ms(3_000);
        assert!(b.begin());
        b.succeeded(t, true);
        b.failed(t, false);
        assert!(b.admits(t + ms(1_000)), "a success makes it short again");
    }

    #[test]
    fn few_of_many_or_long_ago_do_not_open_it() {
        let (mut b, t) = (breaker(3), Instant::now());
        for n in 0..40 {
            b.succeeded(t + ms(n), false);
        }
        for n in 0..5 {
            b.failed(t + ms(50 + n), false);
        }
        assert_eq!(b.state(), State::Closed, "5 of 45");
        let (mut b, t) = (breaker(3), Instant::now());
        for n in 0..9 {
            b.failed(t + ms(n * 6_000), false);
        }
        assert_eq!(b.state(), State::Closed, "two in any window");
    }

    #[test]
    fn a_probe_that_is_given_up_lets_the_next_one_through() {
        let (mut b, t) = (breaker(1), Instant::now());
        b.failed(t, false);
        let t = t + ms(1_000);
        assert!(b.begin());
        b.give_up(t);
        assert!(b.admits(t) && b.begin());
    }
}
