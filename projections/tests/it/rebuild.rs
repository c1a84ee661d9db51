//! Rebuilds while the world goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use nexus_projections::{Progress, rebuild};

use crate::stack::{STREAM, Stack};
use crate::world::{Shape, World};

#[tokio::test]
async fn a_rebuild_under_load_swaps_and_the_projector_goes_on() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let past = World::past(
        21,
        Shape {
            runs: 300,
            at_once: 20,
            strange: true,
        },
    );
    let (first, rest) = past.split_at(past.len() / 3);
    stack.publish(first).await;
    let ended = AtomicBool::new(false);
    let load = async {
        let mut last = 0;
        for some in rest.chunks(100) {
            last = stack.publish(some).await;
        }
        ended.store(true, Ordering::Relaxed);
        last
    };
    let readers = async {
        let mut highest = 0;
        let tenant = "acme".parse().unwrap();
        while !ended.load(Ordering::Relaxed) {
            let seq = stack.projections.applied_seq().await.unwrap();
            assert!(
                seq >= highest,
                "what was readable stays so: {seq} < {highest}"
            );
            highest = seq;
            let page = Default::default();
            stack
                .projections
                .runs(&tenant, &Default::default(), &page)
                .await
                .unwrap();
        }
    };
    let rebuilds = async {
        let mut told = 0;
        for _ in 0..3 {
            let mut tell = |progress: Progress| {
                assert!(progress.seq <= progress.total);
                told += 1;
            };
            let (db, js) = (&stack.projections, stack.js.clone());
            let rebuilt = rebuild(db, js, STREAM, &mut tell).await.unwrap();
            assert!(rebuilt.seq > 0 && rebuilt.events > 0);
        }
        assert!(told >= 3);
    };
    let (last, (), ()) = tokio::join!(load, readers, rebuilds);
    stack.applied(last).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn a_rebuild_needs_no_projector_and_repairs_the_tables() {
    let stack = Stack::start().await;
    let past = World::past(
        22,
        Shape {
            runs: 100,
            at_once: 20,
            strange: true,
        },
    );
    let last = stack.publish(&past).await;
    let running = stack.projector();
    stack.applied(last).await;
    running.stop().await;
    let mut sql = stack.sql().await;
    sqlx::query("UPDATE agent_runs SET turns = turns + 1")
        .execute(&mut sql)
        .await
        .unwrap();
    sqlx::query("DELETE FROM audit_logs WHERE action = 'run.started'")
        .execute(&mut sql)
        .await
        .unwrap();
    let verified = stack.verify().await;
    assert!(!verified.is_equal());
    for table in &verified.tables {
        let spoiled = ["agent_runs", "audit_logs"].contains(&table.table.as_str());
        assert_eq!(table.is_equal(), !spoiled, "{table:#?}");
        assert_eq!(table.differences.is_empty(), !spoiled, "{table:#?}");
    }
    let (db, js) = (&stack.projections, stack.js.clone());
    let rebuilt = rebuild(db, js, STREAM, &mut |_| {}).await.unwrap();
    assert_eq!(rebuilt.seq, last);
    stack.assert_equal().await;
}
