//! Thousands of short lives of the whole core, each from a seed: messages come twice, late and in
//! any order, workers die between any two steps, people change their mind.
//!
//! `NEXUS_SIM_SEEDS=100000` lives more of them, `NEXUS_SIM_SEED=42` tells one.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod audit;
mod sim;

use std::panic::{catch_unwind, resume_unwind};

const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_dies_every_run_ends_and_every_token_is_accounted_for() {
    if let Some(seed) = number("NEXUS_SIM_SEED") {
        println!("{:?}", sim::live(seed, true));
        return;
    }
    let seeds = number("NEXUS_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = 2;
    let lives = |first: u64| {
        let mut sum = sim::Seen::default();
        for seed in (first..seeds).step_by(threads) {
            match catch_unwind(|| sim::live(seed, false)) {
                Ok(seen) => sum.add(seen),
                Err(_) => panic!("seed {seed} failed: NEXUS_SIM_SEED={seed} tells its story"),
            }
        }
        sum
    };
    let seen = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads as u64)
            .map(|first| scope.spawn(move || lives(first)))
            .collect();
        let mut sum = sim::Seen::default();
        workers
            .into_iter()
            .for_each(|worker| sum.add(worker.join().unwrap()));
        sum
    });
    println!("{seeds} schedules: {seen:?}");
    seen.assert_variety();
}
