//! The projector: nothing lost, nothing twice, whatever dies.

use nexus_projections::{ProjectorOptions, ProjectorState};
use sqlx::Connection;

use crate::stack::{PATIENCE, Stack};
use crate::world::{Message, Shape, World};

const PAST: Shape = Shape {
    runs: 150,
    at_once: 20,
    strange: true,
};

#[tokio::test]
async fn it_applies_the_log_and_the_tables_equal_a_rebuild() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let last = stack.publish(&World::past(1, PAST)).await;
    stack.applied(last).await;
    let verified = stack.assert_equal().await;
    assert_eq!(verified.seq, last);
    let empty: Vec<_> = verified
        .tables
        .iter()
        // Retention alone writes these, and nothing is old here.
        .filter(|table| table.live_rows == 0 && table.table != "audit_anchors")
        .map(|t| &t.table)
        .collect();
    assert!(empty.is_empty(), "nothing was projected into {empty:?}");
    running.stop().await;
}

#[tokio::test]
async fn it_is_killed_again_and_again_and_loses_and_doubles_nothing() {
    let stack = Stack::start().await;
    let past = World::past(2, PAST);
    let last = stack.publish(&past).await;
    // Small batches, so that a kill finds it at work.
    let options = ProjectorOptions {
        batch_events: 40,
        ..ProjectorOptions::default()
    };
    for share in 1..=8 {
        let mut running = stack.projector_with(options.clone());
        running.reached(last * share / 10).await;
        running.kill().await;
    }
    let running = stack.projector();
    stack.applied(last).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn a_death_between_apply_and_commit_leaves_no_trace() {
    let stack = Stack::start().await;
    let past = World::past(3, PAST);
    let (first, rest) = past.split_at(past.len() / 2);
    let mut running = stack.projector();
    let half = stack.publish(first).await;
    running.reached(half).await;
    // Holding the last table that is written stops the projector with everything else written.
    let mut holder = stack.sql().await;
    let mut hold = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE budgets IN SHARE MODE")
        .execute(&mut *hold)
        .await
        .unwrap();
    let last = stack.publish(rest).await;
    let mut watcher = stack.sql().await;
    let blocked = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'
                     AND application_name = 'nexus-projector'";
    let begun = std::time::Instant::now();
    while sqlx::query_scalar::<_, i64>(blocked)
        .fetch_one(&mut watcher)
        .await
        .unwrap()
        == 0
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    running.kill().await;
    hold.rollback().await.unwrap();
    assert!(stack.projections.applied_seq().await.unwrap() < last);
    let running = stack.projector();
    stack.applied(last).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn its_connections_are_cut_at_random_and_it_goes_on() {
    let stack = Stack::start().await;
    let mut sql = stack.sql().await;
    let options = ProjectorOptions {
        batch_events: 40,
        ..ProjectorOptions::default()
    };
    let running = stack.projector_with(options);
    let past = World::past(4, PAST);
    let mut last = 0;
    for some in past.chunks(past.len() / 10) {
        last = stack.publish(some).await;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(&mut sql)
        .await
        .unwrap();
    }
    stack.applied(last).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn the_bus_restarts_and_it_goes_on() {
    let mut stack = Stack::start().await;
    let mut running = stack.projector();
    let past = World::past(5, PAST);
    let (first, rest) = past.split_at(past.len() / 2);
    let half = stack.publish(first).await;
    running.reached(half).await;
    stack.nats.nats.restart().await.unwrap();
    let connected = || stack.js.get_stream(crate::stack::STREAM);
    while connected().await.is_err() {}
    let last = stack.publish(rest).await;
    running.reached(last).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn the_second_projector_stands_by_and_takes_over() {
    let stack = Stack::start().await;
    let past = World::past(6, PAST);
    let (first, rest) = past.split_at(past.len() / 2);
    let mut a = stack.projector();
    a.until(|state| *state == ProjectorState::Live).await;
    let mut b = stack.projector();
    b.until(|state| *state == ProjectorState::Standby).await;
    let half = stack.publish(first).await;
    a.reached(half).await;
    a.kill().await;
    b.until(|state| *state == ProjectorState::Live).await;
    let last = stack.publish(rest).await;
    stack.applied(last).await;
    stack.assert_equal().await;
    b.stop().await;
}

#[tokio::test]
async fn an_unknown_event_parks_it_with_everything_before_applied() {
    let stack = Stack::start().await;
    let mut running = stack.projector();
    let past = World::past(7, Shape { runs: 20, ..PAST });
    let before = stack.publish(&past).await;
    let newer = String::from_utf8(past[0].body.clone()).unwrap();
    let newer = newer.replace("nexus.run.started.v1", "nexus.run.teleported.v9");
    let newer = newer.replace("nexus.session.opened.v1", "nexus.session.teleported.v9");
    let newer = Message {
        body: newer.into(),
        ..past[0].clone()
    };
    stack.publish(&[newer]).await;
    stack.publish(&past[..1]).await;
    let state = running
        .until(|state| matches!(state, ProjectorState::Parked { .. }))
        .await;
    let ProjectorState::Parked { seq, reason } = state else {
        panic!("{state:?}")
    };
    assert_eq!(seq, before + 1);
    assert!(
        reason.contains("teleported.v9") && reason.contains("newer"),
        "{reason}"
    );
    assert_eq!(stack.projections.applied_seq().await.unwrap(), before);
    running.stop().await;
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_parks_it_and_a_repair_lets_it_go_on() {
    let stack = Stack::start().await;
    let mut sql = stack.sql().await;
    let past = World::past(8, Shape { runs: 30, ..PAST });
    let refuse = "ALTER TABLE llm_calls ADD CONSTRAINT refuse CHECK (turn < 2) NOT VALID";
    sqlx::query(refuse).execute(&mut sql).await.unwrap();
    let last = stack.publish(&past).await;
    let mut running = stack.projector();
    let state = running
        .until(|state| matches!(state, ProjectorState::Parked { .. }))
        .await;
    let ProjectorState::Parked { seq, reason } = state else {
        panic!("{state:?}")
    };
    assert_eq!(stack.projections.applied_seq().await.unwrap(), seq - 1);
    assert!(reason.contains("refuse"), "{reason}");
    sqlx::query("ALTER TABLE llm_calls DROP CONSTRAINT refuse")
        .execute(&mut sql)
        .await
        .unwrap();
    stack.applied(last).await;
    running.until(|state| *state == ProjectorState::Live).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn another_log_than_the_tables_were_made_from_parks_it() {
    let stack = Stack::start().await;
    let mut sql = stack.sql().await;
    sqlx::query("UPDATE checkpoints SET seq = 1000")
        .execute(&mut sql)
        .await
        .unwrap();
    let mut running = stack.projector();
    let state = running
        .until(|state| matches!(state, ProjectorState::Parked { .. }))
        .await;
    let ProjectorState::Parked { seq, reason } = state else {
        panic!("{state:?}")
    };
    assert_eq!(seq, 1001);
    assert!(reason.contains("rebuild"), "{reason}");
    running.stop().await;
}

#[tokio::test]
async fn what_was_passed_is_refused_by_every_row() {
    let stack = Stack::start().await;
    let past = World::past(9, PAST);
    let last = stack.publish(&past).await;
    let running = stack.projector();
    stack.applied(last).await;
    running.stop().await;
    // The checkpoint is lost, the rows are not: everything comes again.
    let mut sql = stack.sql().await;
    sqlx::query("UPDATE checkpoints SET seq = 0")
        .execute(&mut sql)
        .await
        .unwrap();
    // The tables whose rows go away, and with them what they have passed.
    for table in ["reservations", "runs_in_flight"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}")))
            .execute(&mut sql)
            .await
            .unwrap();
    }
    let running = stack.projector();
    stack.applied(last).await;
    stack.assert_equal().await;
    running.stop().await;
}

#[tokio::test]
async fn as_a_role_it_makes_its_tables_and_stops_when_told() {
    let stack = Stack::start().await;
    let last = stack.publish(&World::past(10, PAST)).await;
    let mut sql = stack.sql().await;
    sqlx::query("DROP SCHEMA nexus CASCADE")
        .execute(&mut sql)
        .await
        .unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let (db, bus) = (stack.projections.clone(), stack.bus.clone());
    let role = tokio::spawn(nexus_projections::run_projector(db, bus, stop.clone()));
    stack.applied(last).await;
    let metrics = nexus_bus::metrics::encoded();
    for name in [
        "events_total",
        "applied_seq",
        "lag_seconds",
        "live 1",
        "parked 0",
    ] {
        assert!(
            metrics.contains(&format!("nexus_projection_{name}")),
            "{metrics}"
        );
    }
    stop.cancel();
    role.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_finds_rows_by_key_however_small_the_tables_were_when_it_planned() {
    let stack = Stack::start().await;
    let last = stack.publish(&World::past(11, PAST)).await;
    let running = stack.projector();
    stack.applied(last).await;
    running.stop().await;
    let mut sql = stack.sql().await;
    // What the projector did is counted once its connection has ended.
    let ended = "SELECT count(*) = 0 FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'nexus-projector'";
    let begun = std::time::Instant::now();
    while !sqlx::query_scalar::<_, bool>(ended)
        .fetch_one(&mut sql)
        .await
        .unwrap()
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    let scanned: Vec<(String, i64)> = sqlx::query_as(
        "SELECT indexrelname::text, idx_tup_read FROM pg_stat_user_indexes
         WHERE schemaname = 'nexus' AND idx_tup_read > 0
           AND indexrelname NOT LIKE '%\\_pkey'
           AND indexrelname NOT IN ('tool_calls_of_run', 'approvals_of_run')",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert!(scanned.is_empty(), "{scanned:?}");
    let read: (i64, i64) = sqlx::query_as(
        "SELECT sum(seq_tup_read)::bigint, sum(idx_tup_fetch)::bigint
         FROM pg_stat_user_tables WHERE schemaname = 'nexus'",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    let commits = i64::try_from(last).unwrap();
    assert!(
        read.0 < commits && read.1 < 5 * commits,
        "{read:?} rows for {commits} commits"
    );
}

#[tokio::test]
async fn several_processes_migrate_at_once() {
    let stack = Stack::start().await;
    let options = nexus_projections::ProjectionsOptions {
        schema: "another".to_owned(),
        ..Default::default()
    };
    let open =
        || nexus_projections::Projections::open(&stack.database_url, options.clone()).unwrap();
    let (a, b, c) = (open(), open(), open());
    let (a, b, c) = tokio::join!(a.migrate(), b.migrate(), c.migrate());
    a.and(b).and(c).unwrap();
}
