//! Figures. `cargo test -p nexus-projections --release -- --ignored measure --nocapture`

use std::time::{Duration, Instant};

use nexus_projections::rebuild;

use crate::stack::{STREAM, Stack};
use crate::world::{Shape, World};

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
        let begun = Instant::now();
        let mut running = stack.projector();
        let reached = running.applied.wait_for(|applied| *applied >= last);
        tokio::time::timeout(Duration::from_secs(600), reached)
            .await
            .unwrap()
            .unwrap();
        let took = begun.elapsed().as_secs_f64();
        println!(
            "  projected: {:.0} events/s, {:.0} commits/s",
            events as f64 / took,
            last as f64 / took
        );
        running.stop().await;
        let rebuilt = rebuild(&stack.projections, stack.js.clone(), STREAM, &mut |_| {})
            .await
            .unwrap();
        let took = rebuilt.duration.as_secs_f64();
        println!(
            "  rebuilt: {:.0} events/s in {took:.1} s",
            events as f64 / took
        );
        let begun = Instant::now();
        stack.assert_equal().await;
        println!("  verified in {:.1} s", begun.elapsed().as_secs_f64());
    }
}
