//! The audit log as a proof: whatever is done to its rows or to the log is found and named.

use std::process::Command;

use async_nats::jetstream;
use nexus_projections::query::{AuditFilter, AuditRow};
use nexus_projections::{
    AuditHead, ChainReport, Compared, Fault, Projections, Side, compare_audit, rebuild,
};
use sqlx::PgConnection;

use crate::stack::{STREAM, Stack};
use crate::world::{Message, Shape, World};

const PAST: Shape = Shape {
    runs: 60,
    at_once: 10,
    strange: true,
};

async fn filled(seed: u64) -> (Stack, Vec<Message>) {
    let stack = Stack::start().await;
    let past = World::past(seed, PAST);
    let last = stack.publish(&past).await;
    let running = stack.projector();
    stack.applied(last).await;
    running.stop().await;
    (stack, past)
}

async fn verify(stack: &Stack, tenant: &str) -> ChainReport {
    let db = &stack.projections;
    db.verify_audit(tenant, &[], &mut |_| {}).await.unwrap()
}

async fn all(stack: &Stack) -> Vec<AuditRow> {
    let (tenant, db) = ("acme".parse().unwrap(), &stack.projections);
    let filter = AuditFilter::default();
    db.audit_after(&tenant, &filter, None, 100_000)
        .await
        .unwrap()
}

async fn head(stack: &Stack) -> AuditHead {
    let tenant = "acme".parse().unwrap();
    let heads = stack.projections.audit_heads(Some(&tenant)).await.unwrap();
    heads.into_iter().next().unwrap()
}

async fn compare(db: &Projections, js: jetstream::Context) -> Compared {
    compare_audit(db, js, STREAM, None, &mut |_| {})
        .await
        .unwrap()
}

async fn sql(db: &mut PgConnection, statement: &str) {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

/// What is done to the rows of one tenant, and what must be found: the fault, and the number of the
/// entry that should be there.
const DONE: &[(&str, Fault, u64)] = &[
    (
        "UPDATE audit_logs SET user_id = 'mallory' WHERE number = 5",
        Fault::Changed,
        5,
    ),
    (
        "UPDATE audit_logs SET details = '{}' WHERE number = 1",
        Fault::Changed,
        1,
    ),
    (
        "UPDATE audit_logs SET ip_address = '127.0.0.1' WHERE number = 6",
        Fault::Changed,
        6,
    ),
    (
        "UPDATE audit_logs SET seq = seq + 1 WHERE number = 4",
        Fault::Changed,
        4,
    ),
    (
        "UPDATE audit_logs SET created_at = created_at + interval '1 ms' WHERE number = 7",
        Fault::Changed,
        7,
    ),
    (
        "UPDATE audit_logs SET prev_hash = hash WHERE number = 5",
        Fault::Changed,
        5,
    ),
    ("DELETE FROM audit_logs WHERE number = 5", Fault::Removed, 5),
    (
        "DELETE FROM audit_logs WHERE number BETWEEN 1 AND 8",
        Fault::Removed,
        1,
    ),
    ("DELETE FROM audit_logs WHERE number > 5", Fault::Removed, 6),
    ("DELETE FROM audit_logs", Fault::Removed, 1),
    ("DELETE FROM audit_heads", Fault::Removed, 0),
    // Two swap their places, with their hashes and numbers or without.
    (
        "CREATE TEMP TABLE t AS SELECT * FROM audit_logs WHERE number IN (6, 7);
         DELETE FROM audit_logs WHERE number IN (6, 7);
         UPDATE t a SET id = b.id, seq = b.seq FROM t b WHERE a.number + b.number = 13;
         INSERT INTO audit_logs SELECT * FROM t; DROP TABLE t",
        Fault::Reordered,
        6,
    ),
    (
        "UPDATE audit_logs a SET user_id = b.user_id, action = b.action, details = b.details,
             resource_id = b.resource_id, resource_type = b.resource_type, reason = b.reason
         FROM audit_logs b
         WHERE a.tenant = b.tenant AND a.number + b.number = 13 AND a.number IN (6, 7)",
        Fault::Changed,
        6,
    ),
    // One comes in between, as somebody who does not know numbers and hashes would write it.
    (
        "INSERT INTO audit_logs SELECT tenant, overlay(id::text placing 'ffff' from 20)::uuid,
             user_id, 'run.paused', resource_type, resource_id, details, ip_address, user_agent,
             created_at, seq, number, reason, prev_hash, hash FROM audit_logs WHERE number = 5",
        Fault::Inserted,
        6,
    ),
    (
        "INSERT INTO audit_logs SELECT tenant, overlay(id::text placing 'ffff' from 20)::uuid,
             user_id, 'run.paused', resource_type, resource_id, details, ip_address, user_agent,
             created_at, seq, number + 1, reason, hash, hash FROM audit_logs
         WHERE number = (SELECT max(number) FROM audit_logs)",
        Fault::Inserted,
        0,
    ),
];

#[tokio::test]
async fn what_is_done_to_the_rows_is_found_and_named() {
    let (stack, _) = filled(61).await;
    let whole = verify(&stack, "acme").await;
    assert_eq!(
        (whole.broken.as_ref(), whole.entries > 50),
        (None, true),
        "{whole:?}"
    );
    assert_eq!(whole.head, Some(head(&stack).await));
    let mut db = stack.sql().await;
    // The other tenants' rows would have the same numbers.
    let keep = "DELETE FROM audit_logs WHERE tenant <> 'acme';
                DELETE FROM audit_heads WHERE tenant <> 'acme';
                CREATE TABLE public.rows AS SELECT * FROM audit_logs;
                CREATE TABLE public.heads AS SELECT * FROM audit_heads";
    sql(&mut db, keep).await;
    for (done, fault, number) in DONE {
        sql(&mut db, done).await;
        let report = verify(&stack, "acme").await;
        let broken = report.broken.expect(done);
        // Zero stands for what is after the last entry.
        let number = if *number == 0 {
            whole.entries + 1
        } else {
            *number
        };
        assert_eq!(
            (broken.fault, broken.number),
            (*fault, number),
            "{done}: {broken:?}"
        );
        assert_eq!((report.entries, report.head), (number - 1, None), "{done}");
        let back = "TRUNCATE audit_logs, audit_heads;
                    INSERT INTO audit_logs SELECT * FROM public.rows;
                    INSERT INTO audit_heads SELECT * FROM public.heads";
        sql(&mut db, back).await;
    }
    assert_eq!(verify(&stack, "acme").await, whole);
}

#[tokio::test]
async fn a_chain_hashed_anew_is_found_by_a_head_that_was_kept_and_by_the_log() {
    let (stack, _) = filled(62).await;
    let kept = head(&stack).await;
    let mut db = stack.sql().await;
    // Whoever may write the tables and knows how to hash makes a chain that is whole.
    let mut rows = all(&stack).await;
    rows[9].user_id = "mallory".into();
    let mut prev = rows[8].hash;
    for row in &mut rows[9..] {
        row.prev_hash = prev;
        row.hash = row.hash_after(prev);
        prev = row.hash;
        sqlx::query(
            "UPDATE audit_logs SET user_id = $2, prev_hash = decode($3, 'hex'),
                 hash = decode($4, 'hex') WHERE tenant = 'acme' AND id = $1",
        )
        .bind(row.id)
        .bind(&row.user_id)
        .bind(row.prev_hash.to_string())
        .bind(row.hash.to_string())
        .execute(&mut db)
        .await
        .unwrap();
    }
    sqlx::query("UPDATE audit_heads SET hash = decode($1, 'hex') WHERE tenant = 'acme'")
        .bind(prev.to_string())
        .execute(&mut db)
        .await
        .unwrap();
    let heads = [(kept.seq, kept.hash), (rows[8].seq, rows[8].hash)];
    let (tenant, passed) = ("acme", heads[1..].to_vec());
    let mut tell = |_| {};
    let walked = stack.projections.verify_audit(tenant, &heads, &mut tell);
    let report = walked.await.unwrap();
    assert_eq!((report.broken, report.passed), (None, passed));

    let (db, js) = (&stack.projections, stack.js.clone());
    let compared = compare(db, js).await;
    let [found] = compared.differences.as_slice() else {
        panic!("{compared:?}")
    };
    let place = (found.tenant.as_str(), found.seq, found.position, found.side);
    assert_eq!(place, ("acme", rows[9].seq, rows[9].position, Side::Both));
}

#[tokio::test]
async fn a_log_that_was_changed_is_found() {
    let (stack, past) = filled(64).await;
    let rows = all(&stack).await;
    let row = rows
        .iter()
        .find(|row| row.action == "policy.denied")
        .unwrap();
    let at = usize::try_from(row.seq).unwrap() - 1;
    let (db, whole) = (&stack.projections, &past[at]);
    let unchanged = compare(db, stack.js.clone()).await;
    assert_eq!((unchanged.differences, unchanged.from_seq), (vec![], 1));
    assert_eq!(unchanged.to_seq, past.len() as u64);

    // The same log on another server, where one message was replaced.
    let text = String::from_utf8(whole.body.clone()).unwrap();
    let replaced = text.replace("not today", "why not  ");
    assert_ne!(text, replaced);
    let mut other = past.clone();
    other[at].body = replaced.into_bytes();
    // And one where it is gone.
    let elsewhere = Stack::start().await;
    elsewhere.publish(&other).await;
    let found = compare(db, elsewhere.js.clone()).await.differences;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].seq, found[0].side), (row.seq, Side::Both));

    let gone = nexus_devstack::testing::TestNats::start().await.unwrap();
    let bus = nexus_bus::Bus::connect(nexus_bus::BusConfig::new(gone.url(), "test"));
    let js = bus.await.unwrap().jetstream().clone();
    let config = jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["nexus.*.evt.>".to_owned()],
        ..Default::default()
    };
    let stream = js.create_stream(config).await.unwrap();
    for message in &past {
        let body = message.body.clone().into();
        let sent = js.publish(message.subject.clone(), body).await.unwrap();
        sent.await.unwrap();
    }
    assert!(stream.delete_message(row.seq).await.unwrap());
    let found = compare(db, js).await;
    let found = &found.differences[0];
    assert_eq!((found.seq, found.side), (row.seq, Side::Table));
}

#[tokio::test]
async fn a_rebuild_gives_the_same_chains_whatever_the_batches_were() {
    let stack = Stack::start().await;
    // More than one page of entries.
    let past = World::past(64, Shape { runs: 450, ..PAST });
    let (first, rest) = past.split_at(past.len() / 2);
    let options = nexus_projections::ProjectorOptions {
        batch_events: 40,
        ..Default::default()
    };
    // Two projectors, one after the other: the second one goes on where the chains end.
    for some in [first, rest] {
        let running = stack.projector_with(options.clone());
        let last = stack.publish(some).await;
        stack.applied(last).await;
        running.stop().await;
    }
    let before = stack.projections.audit_heads(None).await.unwrap();
    assert_eq!(before.len(), 3);
    let (db, js) = (&stack.projections, stack.js.clone());
    rebuild(db, js, STREAM, &mut |_| {}).await.unwrap();
    assert_eq!(stack.projections.audit_heads(None).await.unwrap(), before);
    assert_eq!(
        stack.projections.audit_tenants().await.unwrap(),
        ["acme", "globex", "initech"]
    );
    for head in before {
        let report = verify(&stack, &head.tenant).await;
        assert!(report.entries > 500, "{report:?}");
        assert_eq!((report.broken, report.head), (None, Some(head)));
    }
    stack.assert_equal().await;
}

#[tokio::test]
async fn tables_from_before_the_chain_get_one() {
    let (stack, past) = filled(66).await;
    let before = stack.projections.audit_heads(None).await.unwrap();
    let mut db = stack.sql().await;
    let old = "DELETE FROM _sqlx_migrations WHERE version = 6;
               DROP TABLE audit_heads;
               ALTER TABLE audit_logs DROP COLUMN number, DROP COLUMN reason,
                   DROP COLUMN prev_hash, DROP COLUMN hash,
                   DROP CONSTRAINT audit_logs_created_at_check,
                   DROP CONSTRAINT audit_logs_ip_address_check";
    sql(&mut db, old).await;
    stack.projections.migrate().await.unwrap();
    let mut running = stack.projector();
    running.reached(past.len() as u64).await;
    running.stop().await;
    assert_eq!(stack.projections.audit_heads(None).await.unwrap(), before);
    stack.assert_equal().await;
}

#[tokio::test]
async fn an_export_is_verified_by_the_example_and_a_changed_one_is_not() {
    let (stack, _) = filled(65).await;
    let rows = all(&stack).await;
    let middle = &rows[rows.len() / 2];
    let heads = [format!("{}:{}", middle.seq, middle.hash)];
    let lines: Vec<String> = rows
        .iter()
        .map(|row| serde_json::to_string(row).unwrap())
        .collect();
    let Some((code, said)) = example(&lines, &heads) else {
        eprintln!("skipped: there is no Python");
        return;
    };
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!("whole up to entry {}, 0 gaps", rows.len())),
        "{said}"
    );

    let mut changed = lines.clone();
    changed[4] = changed[4]
        .replace("user-", "root-")
        .replace("\"root\"", "\"user\"");
    assert_ne!(changed[4], lines[4], "{}", lines[4]);
    let (code, said) = example(&changed, &[]).unwrap();
    assert!(code == 1 && said.contains("entry 5 "), "{said}");

    let mut swapped = lines.clone();
    swapped.swap(4, 5);
    let (code, said) = example(&swapped, &[]).unwrap();
    assert!(code == 1 && said.contains("reordered"), "{said}");

    let mut removed = lines.clone();
    removed.remove(4);
    let (code, said) = example(&removed, &[]).unwrap();
    assert!(
        code == 3 && said.contains("entries 5 to 5 are not"),
        "{said}"
    );

    let (code, said) = example(&lines[..5], &heads).unwrap();
    assert!(code == 1 && said.contains(&heads[0]), "{said}");
}

/// Runs docs/examples/verify_audit.py; its exit code and all that it said. None without a Python.
fn example(lines: &[String], heads: &[String]) -> Option<(i32, String)> {
    let python = std::env::var("NEXUS_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let dir = nexus_devstack::testing::TestDir::create().unwrap();
    let file = dir.path().join("audit.jsonl");
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(root.join("../docs/examples/verify_audit.py"))
        .arg(&file)
        .args(heads)
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.code().unwrap_or(-1), said))
}
