//! Retention: what is gone is gone by horizons alone, so that a rebuild and a verification agree with
//! the live tables; audit entries go only when they are archived, and partitions go whole.

use std::time::Duration;

use nexus_projections::query::AuditFilter;
use nexus_projections::{AuditChain, ChainReport, Pruned, RetentionPolicy, prune, rebuild};
use time::OffsetDateTime;

use crate::stack::{STREAM, Stack};
use crate::world::{Message, Shape, World};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The first sequence that has no partition in new tables.
const EDGE: u64 = 2 * 4_194_304;

fn past(seed: u64) -> Vec<Message> {
    let shape = Shape {
        runs: 120,
        at_once: 12,
        strange: true,
    };
    World::past(seed, shape)
}

/// The past is recorded in two halves; gives the moment between them and the last sequence.
async fn halves(stack: &Stack, past: &[Message]) -> (OffsetDateTime, u64) {
    let (old, young) = past.split_at(past.len() / 2);
    let first = stack.publish(old).await;
    let stream = stack.js.get_stream(STREAM).await.unwrap();
    let last = stream.get_raw_message(first).await.unwrap().time;
    let between = last + Duration::from_nanos(1);
    (between, stack.publish(young).await)
}

async fn round(stack: &Stack, policy: RetentionPolicy, now: OffsetDateTime) -> Pruned {
    prune(&stack.projections, &stack.js, STREAM, &policy, now)
        .await
        .unwrap()
}

async fn count(stack: &Stack, what: &str) -> i64 {
    let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {what}"));
    let mut db = stack.sql().await;
    sqlx::query_scalar(query).fetch_one(&mut db).await.unwrap()
}

async fn verify(stack: &Stack, tenant: &str) -> ChainReport {
    let db = &stack.projections;
    db.verify_audit(tenant, &[], &mut |_| {}).await.unwrap()
}

/// Reads the chains as an archive does, and says so.
async fn archive(stack: &Stack) {
    let db = &stack.projections;
    for tenant in db.audit_tenants().await.unwrap() {
        let name = tenant.parse().unwrap();
        let filter = AuditFilter::default();
        let rows = db.audit_after(&name, &filter, None, 100_000);
        let mut chain = AuditChain::default();
        for row in rows.await.unwrap() {
            // As a file has it.
            let line = serde_json::to_string(&row).unwrap();
            chain.take(&serde_json::from_str(&line).unwrap()).unwrap();
        }
        db.note_archived(&chain.head(&tenant)).await.unwrap();
    }
}

#[tokio::test]
async fn old_runs_leave_the_tables_and_a_rebuild_agrees() {
    let stack = Stack::start().await;
    let (between, last) = halves(&stack, &past(31)).await;
    let running = stack.projector();
    stack.applied(last).await;
    let before = count(&stack, "agent_runs").await;
    let policy = RetentionPolicy {
        runs: Some(DAY),
        audit: None,
    };
    let done = round(&stack, policy, between + DAY).await;
    assert_eq!(done.runs_before, last / 2 + 1);
    let left = count(&stack, "agent_runs").await;
    assert!(done.runs > 0 && left > 0, "{done:?}");
    assert_eq!(left + done.runs.cast_signed(), before);
    let orphans = "messages m WHERE NOT EXISTS (SELECT 1 FROM agent_runs r WHERE r.id = m.run_id)";
    assert_eq!(count(&stack, orphans).await, 0);
    let old = format!("llm_calls WHERE seq < {}", done.calls_before);
    assert_eq!(count(&stack, &old).await, 0);
    stack.assert_equal().await;
    rebuild(&stack.projections, stack.js.clone(), STREAM, &mut |_| {})
        .await
        .unwrap();
    assert_eq!(count(&stack, "agent_runs").await, left);
    stack.assert_equal().await;
    // Nothing more is old.
    assert_eq!(round(&stack, policy, between + DAY).await.runs, 0);
    running.stop().await;
}

#[tokio::test]
async fn audit_entries_stay_until_they_are_archived_and_the_chain_goes_on() {
    let stack = Stack::start().await;
    let (between, last) = halves(&stack, &past(32)).await;
    let running = stack.projector();
    stack.applied(last).await;
    let policy = RetentionPolicy {
        runs: None,
        audit: Some(DAY),
    };
    let all = count(&stack, "audit_logs").await;
    let done = round(&stack, policy, between + DAY).await;
    assert!(done.audit_waits, "{done:?}");
    assert_eq!(count(&stack, "audit_logs").await, all);
    archive(&stack).await;
    let done = round(&stack, policy, between + DAY).await;
    assert!(
        !done.audit_waits && done.audit_before == last / 2 + 1,
        "{done:?}"
    );
    let left = count(&stack, "audit_logs").await;
    assert!(0 < left && left < all);
    stack.assert_equal().await;
    for _ in 0..2 {
        for tenant in stack.projections.audit_tenants().await.unwrap() {
            assert_eq!(verify(&stack, &tenant).await.broken, None, "{tenant}");
        }
        let (db, js) = (&stack.projections, stack.js.clone());
        rebuild(db, js, STREAM, &mut |_| {}).await.unwrap();
        assert_eq!(count(&stack, "audit_logs").await, left);
    }
    // Whoever removes one more is found out.
    let mut db = stack.sql().await;
    sqlx::query(
        "DELETE FROM audit_logs WHERE (tenant, number) IN (
             SELECT tenant, min(number) FROM audit_logs WHERE tenant = 'acme' GROUP BY 1)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    assert!(verify(&stack, "acme").await.broken.is_some());
    running.stop().await;
}

#[tokio::test]
async fn the_log_goes_on_into_new_partitions_and_old_ones_go_whole() {
    let past = past(33);
    let half = past.len() / 2;
    let stack = Stack::start_at(EDGE - half as u64).await;
    let (between, last) = halves(&stack, &past).await;
    assert!(last >= EDGE);
    let running = stack.projector();
    stack.applied(last).await;
    assert_eq!(count(&stack, "log_partitions").await, 4);
    assert_eq!(
        count(&stack, "llm_calls_first WHERE seq >= 8388608").await,
        0
    );
    stack.assert_equal().await;
    archive(&stack).await;
    let policy = RetentionPolicy {
        runs: Some(DAY),
        audit: Some(DAY),
    };
    let done = round(&stack, policy, between + DAY).await;
    assert_eq!((done.audit_before, done.partitions), (EDGE, 2), "{done:?}");
    assert_eq!(count(&stack, "log_partitions").await, 2);
    assert!(count(&stack, "audit_logs").await > 0);
    stack.assert_equal().await;
    rebuild(&stack.projections, stack.js.clone(), STREAM, &mut |_| {})
        .await
        .unwrap();
    stack.assert_equal().await;
    running.stop().await;
}
