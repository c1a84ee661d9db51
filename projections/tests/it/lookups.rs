//! Runs looked up by their keys: many at once, and over connections that broke.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use nexus_events::{RunId, Tenant};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::stack::Stack;
use crate::world::{Shape, World};

const PAST: Shape = Shape {
    runs: 120,
    at_once: 20,
    strange: true,
};

async fn filled(seed: u64) -> (Stack, Vec<(Tenant, RunId)>) {
    let stack = Stack::start().await;
    let last = stack.publish(&World::past(seed, PAST)).await;
    let running = stack.projector();
    stack.applied(last).await;
    running.stop().await;
    let mut sql = stack.sql().await;
    let runs: Vec<(String, Uuid)> = sqlx::query_as("SELECT tenant, id FROM agent_runs")
        .fetch_all(&mut sql)
        .await
        .unwrap();
    let runs = runs
        .into_iter()
        .map(|(tenant, id)| (tenant.parse().unwrap(), RunId::new(id)));
    let runs = runs.collect();
    (stack, runs)
}

/// Processes of the database that look up.
async fn backends(sql: &mut PgConnection) -> BTreeSet<i32> {
    let backends = sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity
         WHERE application_name = 'nexus-lookups' AND datname = current_database()",
    );
    backends.fetch_all(sql).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn whoever_asks_with_others_is_told_of_his_own_run() {
    let (stack, runs) = filled(51).await;
    let db = &stack.projections;
    assert!(runs.len() >= 100, "{}", runs.len());
    // Some of them several times, some of another tenant's, some of nobody's.
    let nobody: Tenant = "nobody".parse().unwrap();
    let asked = runs.iter().cycle().take(500).enumerate();
    let asked = asked.map(|(turn, (tenant, run))| match turn % 7 {
        0 => (nobody.clone(), *run),
        1 => (tenant.clone(), RunId::new(Uuid::now_v7())),
        _ => (tenant.clone(), *run),
    });
    let asked: Vec<(Tenant, RunId)> = asked.collect();
    let found = join_all(asked.iter().map(|(tenant, run)| db.whole_run(tenant, *run))).await;
    let (mut calls, mut none) = (0, 0);
    for ((tenant, run), found) in asked.iter().zip(found) {
        let found = found.unwrap();
        assert_eq!(
            found.as_ref().map(|found| &found.run),
            db.run(tenant, *run).await.unwrap().as_ref()
        );
        let Some(found) = found else {
            none += 1;
            continue;
        };
        assert!(found.llm_calls.iter().all(|call| call.run_id == *run));
        assert!(found.tool_calls.iter().all(|call| call.run_id == *run));
        calls += found.llm_calls.len() + found.tool_calls.len();
    }
    assert!(calls > 200 && none > 100, "{calls} {none}");
    let backends = backends(&mut stack.sql().await).await;
    assert!(
        (1..=4).contains(&backends.len()),
        "five hundred shared a few connections: {backends:?}"
    );
}

#[tokio::test]
async fn connections_that_broke_unseen_are_made_anew() {
    let (stack, runs) = filled(52).await;
    let (db, mut sql) = (&stack.projections, stack.sql().await);
    let ask = async || join_all(runs.iter().map(|(tenant, run)| db.whole_run(tenant, *run))).await;
    let before = ask().await;
    let broken = backends(&mut sql).await;
    assert!(!broken.is_empty());
    for pid in &broken {
        let gone: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
            .bind(pid)
            .fetch_one(&mut sql)
            .await
            .unwrap();
        assert!(gone);
    }
    for (before, after) in before.into_iter().zip(ask().await) {
        let after = after.unwrap();
        assert!(after.is_some());
        assert_eq!(before.unwrap(), after);
    }
    assert!(backends(&mut sql).await.is_disjoint(&broken));
}
