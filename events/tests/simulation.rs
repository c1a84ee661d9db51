//! Thousands of short lives of the whole core, each from a seed: messages come twice, late and in
//! any order, workers die between any two steps, people change their mind.
//!
//! `NEXUS_SIM_SEEDS=100000` lives more of them, `NEXUS_SIM_SEED=42` tells one.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod audit;
mod sim;

use std::panic::{catch_unwind, resume_unwind};
use std::thread;

const SEEDS: u64 = 2_000;
const THREADS: u64 = 2;

#[test]
fn whatever_dies_every_run_ends_and_every_token_is_accounted_for() {
    if let Some(seed) = number("NEXUS_SIM_SEED") {
        println!("{:?}", sim::live(seed, true));
        return;
    }
    let seeds = number("NEXUS_SIM_SEEDS").unwrap_or(SEEDS);
    let mut seen = sim::Seen::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|first| scope.spawn(move || lives(first, seeds)))
            .collect();
        for worker in workers {
            seen.add(worker.join().unwrap_or_else(|failed| resume_unwind(failed)));
        }
    });
    println!("{seeds} schedules: {seen:?}");
    seen.assert_variety();
}

fn lives(first: u64, seeds: u64) -> sim::Seen {
    let mut sum = sim::Seen::default();
    for seed in (first..seeds).step_by(THREADS as usize) {
        match catch_unwind(|| sim::live(seed, false)) {
            Ok(seen) => sum.add(seen),
            Err(_) => panic!("seed {seed} failed: NEXUS_SIM_SEED={seed} tells its story"),
        }
    }
    sum
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}
