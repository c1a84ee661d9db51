//! Thousands of short lives of the whole core, each from a seed: messages come twice, late and in
//! any order, workers die between any two steps, people change their mind.
//!
//! ```sh
//! NEXUS_SIM_SEEDS=100000 cargo test -p nexus-events --test simulation whatever -- --nocapture
//! NEXUS_SIM_FROM=5000000 …    # others: so many from this one on
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

const SEEDS: u64 = 2_000;
const THREADS: u64 = 2;
/// Those who live many see how far they are.
const TOLD_EVERY: u64 = 10_000;

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
    let first = number("NEXUS_SIM_FROM").unwrap_or(0);
    let end = first + number("NEXUS_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut seen, next) = (sim::Seen::default(), AtomicU64::new(first));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| lives(&next, end)))
            .collect();
        for worker in workers {
            seen.add(worker.join().unwrap_or_else(|failed| resume_unwind(failed)));
        }
    });
    println!("seeds {first} to {end}: {seen:?}");
    seen.assert_variety();
}

#[test]
fn seeds_that_once_failed_do_so_no_more() {
    for (seed, found) in KEPT {
        let lived = catch_unwind(|| sim::live(*seed, false));
        assert!(lived.is_ok(), "seed {seed} fails again: {found}");
    }
}

fn lives(next: &AtomicU64, end: u64) -> sim::Seen {
    let mut sum = sim::Seen::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return sum;
        }
        if seed.is_multiple_of(TOLD_EVERY) {
            println!("seed {seed} …");
        }
        match catch_unwind(|| sim::live(seed, false)) {
            Ok(seen) => sum.add(seen),
            Err(_) => panic!(
                "seed {seed} failed: NEXUS_SIM_SEED={seed} tells its story; it belongs into KEPT"
            ),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}
