//! Figures. `cargo test --release -p nexus-projections --test it -- --ignored measure --nocapture`
//!
//! CPU time counts: on a machine that is shared, events a second say little.

use std::time::{Duration, Instant};

use nexus_projections::rebuild;

use crate::stack::{STREAM, Stack};
use crate::world::{Shape, World};

/// CPU seconds of this process and of the backend that writes.
async fn cpu(stack: &Stack) -> (f64, f64) {
    let mut sql = stack.sql().await;
    let pid: Option<i32> = sqlx::query_scalar(
        "SELECT max(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'nexus-projector'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    let of = |process: String| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields: Vec<f64> = stat
            .split(' ')
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        fields
            .get(13..15)
            .map_or(0.0, |times| times.iter().sum::<f64>() / 100.0)
    };
    (
        of("self".to_owned()),
        pid.map_or(0.0, |pid| of(pid.to_string())),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn measure() {
    let runs = std::env::var("RUNS").map_or(20_000, |runs| runs.parse().unwrap());
    for (name, strange) in [("plain runs", false), ("strange runs", true)] {
        let stack = Stack::start().await;
        let past = World::past(
            51,
            Shape {
                runs,
                at_once: 300,
                strange,
            },
        );
        let events: usize = past.iter().map(|message| message.events).sum();
        let last = stack.publish(&past).await;
        println!("{name}: {runs} runs, {last} commits, {events} events");
        let (begun, (before, _)) = (Instant::now(), cpu(&stack).await);
        let mut running = stack.projector();
        let reached = running.applied.wait_for(|applied| *applied >= last);
        tokio::time::timeout(Duration::from_secs(600), reached)
            .await
            .unwrap()
            .unwrap();
        let took = begun.elapsed().as_secs_f64();
        let (client, server) = cpu(&stack).await;
        let each = |seconds: f64| 1e6 * seconds / events as f64;
        println!(
            "  projected: {:.0} events/s, {:.0} commits/s; CPU an event: {:.1} us here, {:.1} us in Postgres",
            events as f64 / took,
            last as f64 / took,
            each(client - before),
            each(server),
        );
        running.stop().await;
        let mut server = 0.0;
        let (before, _) = cpu(&stack).await;
        let (db, js) = (&stack.projections, stack.js.clone());
        let mut tell = |_| {};
        let rebuilding = rebuild(db, js, STREAM, &mut tell);
        tokio::pin!(rebuilding);
        let rebuilt = loop {
            tokio::select! {
                rebuilt = &mut rebuilding => break rebuilt.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    server = cpu(&stack).await.1.max(server);
                }
            }
        };
        let (client, _) = cpu(&stack).await;
        let took = rebuilt.duration.as_secs_f64();
        println!(
            "  rebuilt: {:.0} events/s in {took:.1} s; CPU an event: {:.1} us here, {:.1} us in Postgres",
            events as f64 / took,
            each(client - before),
            each(server),
        );
        let begun = Instant::now();
        stack.assert_equal().await;
        println!("  verified in {:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// From the publication of one commit to its being readable, one at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn measure_lag() {
    let stack = Stack::start().await;
    let past = World::past(
        52,
        Shape {
            runs: 200,
            at_once: 20,
            strange: false,
        },
    );
    let running = stack.projector();
    let mut took = Vec::new();
    for message in past.chunks(1) {
        let begun = Instant::now();
        let seq = stack.publish(message).await;
        stack.applied(seq).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("published, applied and known after: p50 {p50:?}, p99 {p99:?}");
    running.stop().await;
}
