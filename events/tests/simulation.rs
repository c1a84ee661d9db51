//! Thousands of short lives of the whole core, each from a seed: messages come twice, late and in
//! any order, workers die between any two steps, people change their mind.
//!
//! ```sh
//! NEXUS_SIM_FOR=30m cargo test -p nexus-events --test simulation whatever -- --nocapture
//! NEXUS_SIM_SEEDS=100000 …    # the first so many
//! NEXUS_SIM_SEED=42 …         # tells one, step by step
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod audit;
mod sim;

use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const SEEDS: u64 = 2_000;
const THREADS: u64 = 2;

/// Seeds that once failed, and what they found. A schedule follows from its seed and from the
/// simulation as it is, so that what a seed tries may change with it.
const KEPT: &[(u64, &str)] = &[(
    769,
    "a worker that was alive after all did not publish what its call made due",
)];

#[test]
fn whatever_dies_every_run_ends_and_every_token_is_accounted_for() {
    if let Some(seed) = number("NEXUS_SIM_SEED") {
        println!("{:?}", sim::live(seed, true));
        return;
    }
    let (first, end) = match span("NEXUS_SIM_FOR") {
        // Other seeds each time: the first ones are lived with every test run.
        Some(time) => (now_as_seed(), End::Time(Instant::now() + time)),
        None => (0, End::Count(number("NEXUS_SIM_SEEDS").unwrap_or(SEEDS))),
    };
    let (began, mut seen) = (Instant::now(), sim::Seen::default());
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| lives(first, &next, end)))
            .collect();
        for worker in workers {
            seen.add(worker.join().unwrap_or_else(|failed| resume_unwind(failed)));
        }
    });
    // Each worker took one number that it did not use.
    let lived = next.load(Ordering::Relaxed).saturating_sub(THREADS);
    let a_minute = lived as f64 * 60.0 / began.elapsed().as_secs_f64();
    println!("{lived} schedules from seed {first} on, {a_minute:.0} a minute: {seen:?}");
    seen.assert_variety();
}

#[test]
fn seeds_that_once_failed_do_so_no_more() {
    for (seed, found) in KEPT {
        let lived = catch_unwind(|| sim::live(*seed, false));
        assert!(lived.is_ok(), "seed {seed} fails again: {found}");
    }
}

/// When enough has been lived.
#[derive(Clone, Copy)]
enum End {
    Count(u64),
    Time(Instant),
}

impl End {
    fn is_before(self, lived: u64) -> bool {
        match self {
            Self::Count(count) => lived < count,
            Self::Time(end) => Instant::now() < end,
        }
    }
}

fn lives(first: u64, next: &AtomicU64, end: End) -> sim::Seen {
    let mut sum = sim::Seen::default();
    loop {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        if !end.is_before(nth) {
            return sum;
        }
        let seed = first + nth;
        match catch_unwind(|| sim::live(seed, false)) {
            Ok(seen) => sum.add(seen),
            Err(_) => panic!(
                "seed {seed} failed: NEXUS_SIM_SEED={seed} tells its story; it belongs into KEPT"
            ),
        }
    }
}

fn now_as_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// `90s`, `30m` or `8h`.
fn span(name: &str) -> Option<Duration> {
    let text = std::env::var(name).ok()?;
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => panic!("{name} is a number with s, m or h"),
    };
    let count: u64 = digits.parse().expect("a number before the unit");
    Some(Duration::from_secs(count * seconds))
}
