//! Queries: what they give, and that a tenant sees only itself.

use std::time::Duration;

use nexus_events::ledger::{Scope, Window};
use nexus_events::{Tenant, Timestamp};
use nexus_projections::query::{
    AuditFilter, BudgetPage, PageRequest, QueryError, RunFilter, RunStatus, SessionFilter,
};

use crate::stack::Stack;
use crate::world::{Shape, World};

const PAST: Shape = Shape {
    runs: 150,
    at_once: 20,
    strange: true,
};

async fn filled(seed: u64) -> Stack {
    let stack = Stack::start().await;
    let last = stack.publish(&World::past(seed, PAST)).await;
    let running = stack.projector();
    stack.applied(last).await;
    running.stop().await;
    stack
}

fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_353_377_328)
}

/// Every page after another.
async fn all_runs(stack: &Stack, tenant: &Tenant, filter: &RunFilter) -> Vec<String> {
    let mut page = PageRequest {
        limit: Some(7),
        cursor: None,
    };
    let mut ids = vec![];
    loop {
        let runs = stack.projections.runs(tenant, filter, &page).await.unwrap();
        assert!(runs.items.len() <= 7);
        ids.extend(runs.items.iter().map(|run| run.id.to_string()));
        match runs.next_cursor {
            Some(cursor) => page.cursor = Some(cursor.parse().unwrap()),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn pages_give_every_run_once_the_newest_first() {
    let stack = filled(31).await;
    let acme = tenant("acme");
    let ids = all_runs(&stack, &acme, &RunFilter::default()).await;
    let mut sql = stack.sql().await;
    let expected: Vec<String> = sqlx::query_scalar(
        "SELECT id::text FROM agent_runs WHERE tenant = 'acme' ORDER BY first_seq DESC",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert!(expected.len() > 20);
    assert_eq!(ids, expected);
    let mut by_status = 0;
    for status in RunStatus::ALL {
        let filter = RunFilter {
            status: Some(status),
            ..RunFilter::default()
        };
        by_status += all_runs(&stack, &acme, &filter).await.len();
    }
    assert_eq!(by_status, expected.len());
    let mine = RunFilter {
        user: Some("user-1".into()),
        ..RunFilter::default()
    };
    let mine = all_runs(&stack, &acme, &mine).await;
    assert!(!mine.is_empty() && mine.len() < expected.len());
    let later = RunFilter {
        since: Some(now().plus_millis(1 << 40)),
        ..RunFilter::default()
    };
    assert!(all_runs(&stack, &acme, &later).await.is_empty());
    let nul = RunFilter {
        user: Some("a\0b".into()),
        ..RunFilter::default()
    };
    assert!(all_runs(&stack, &acme, &nul).await.is_empty());
}

#[tokio::test]
async fn a_run_shows_what_it_did() {
    let stack = filled(32).await;
    let (acme, db) = (tenant("acme"), &stack.projections);
    let mut sql = stack.sql().await;
    let id: uuid::Uuid = sqlx::query_scalar(
        "SELECT r.id FROM agent_runs r WHERE tenant = 'acme' AND status = 'completed' AND turns > 1
         AND input_ref IS NULL AND NOT EXISTS (
             SELECT FROM agent_runs o WHERE o.session_id = r.session_id AND o.id <> r.id
         ) LIMIT 1",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    let run = db
        .run(&acme, nexus_events::RunId::new(id))
        .await
        .unwrap()
        .unwrap();
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!(json["status"], "completed");
    assert_eq!(json["id"], id.to_string());
    assert!(json["cost"]["tokens"].as_u64().unwrap() >= 440, "{json}");
    assert!(json["cost"]["cost_usd_micros"].is_u64() && json["cost"]["time_ms"].is_u64());
    assert!(
        json["started_at"].as_str().unwrap().ends_with('Z'),
        "{json}"
    );
    assert_eq!(json["output"], "It is 10, as 12.5% is an eighth.");
    assert_eq!(json["metadata"]["team"], "search");
    let whole = db.whole_run(&acme, run.id).await.unwrap().unwrap();
    assert_eq!(whole.run, run);
    let calls = whole.llm_calls;
    assert_eq!(calls.len(), run.turns as usize);
    assert!(calls.iter().all(|call| call.cache_write_tokens == 30));
    assert!(whole.tool_calls.iter().all(|call| {
        ["completed", "failed", "denied"].contains(&call.status.as_str())
            && call.tool_name.chars().count() <= 255
    }));
    let page = PageRequest {
        limit: Some(3),
        cursor: None,
    };
    let session = db.session(&acme, run.session_id).await.unwrap().unwrap();
    let messages = db.messages(&acme, session.id, false, &page).await.unwrap();
    assert_eq!(messages.items[0].role, "user");
    assert_eq!(messages.items.len(), 3);
    let cursor = messages.next_cursor.map(|cursor| cursor.parse().unwrap());
    let next = db
        .messages(
            &acme,
            session.id,
            false,
            &PageRequest {
                limit: None,
                cursor,
            },
        )
        .await
        .unwrap();
    assert!(
        next.items
            .iter()
            .all(|message| !messages.items.contains(message))
    );
    assert!(next.items.last().unwrap().role == "assistant");
    let of_session = db
        .session_runs(&acme, session.id, &PageRequest::default())
        .await
        .unwrap();
    assert!(of_session.items.iter().any(|one| one.id == run.id));
}

#[tokio::test]
async fn a_tenant_sees_only_itself() {
    let stack = filled(33).await;
    let (acme, nobody, db) = (tenant("acme"), tenant("nobody"), &stack.projections);
    let page = PageRequest {
        limit: Some(200),
        cursor: None,
    };
    let runs = db
        .runs(&acme, &RunFilter::default(), &page)
        .await
        .unwrap()
        .items;
    for other in [tenant("globex"), nobody.clone()] {
        for run in &runs {
            assert_eq!(db.run(&other, run.id).await.unwrap(), None);
            assert_eq!(db.whole_run(&other, run.id).await.unwrap(), None);
            assert_eq!(db.session(&other, run.session_id).await.unwrap(), None);
            let none = db
                .messages(&other, run.session_id, false, &page)
                .await
                .unwrap();
            assert!(none.items.is_empty());
            let none = db
                .session_runs(&other, run.session_id, &page)
                .await
                .unwrap();
            assert!(none.items.is_empty());
            let scope = Scope::Session(run.session_id);
            let none = db.budget(&other, &scope, now()).await.unwrap();
            assert!(none.windows.is_empty() && none.reservations.is_empty());
            let about = AuditFilter {
                resource_id: Some(run.id.to_string()),
                ..AuditFilter::default()
            };
            assert!(
                db.audit(&other, &about, &page)
                    .await
                    .unwrap()
                    .items
                    .is_empty()
            );
            assert!(
                !db.audit(&acme, &about, &page)
                    .await
                    .unwrap()
                    .items
                    .is_empty()
            );
        }
    }
    assert!(
        db.runs(&nobody, &RunFilter::default(), &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        db.sessions(&nobody, &SessionFilter::default(), &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        db.audit(&nobody, &AuditFilter::default(), &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        db.budgets(&nobody, now(), &BudgetPage::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let standing = db.budget(&nobody, &Scope::Tenant, now()).await.unwrap();
    assert!(standing.windows.is_empty() && standing.reservations.is_empty());
    let bundles = db.policy_bundles(&nobody).await.unwrap();
    assert_eq!(bundles.len(), 1);
    assert!(bundles[0].active && bundles[0].digest == "builtin");
}

#[tokio::test]
async fn two_tenants_may_choose_one_id() {
    let stack = Stack::start().await;
    let past = World::past(34, Shape { runs: 20, ..PAST });
    let mirrored: Vec<_> = past
        .iter()
        .map(|message| {
            let subject = message.subject.replace("nexus.acme.", "nexus.mirror.");
            crate::world::Message {
                subject,
                ..message.clone()
            }
        })
        .filter(|message| message.subject.contains(".mirror."))
        .collect();
    stack.publish(&past).await;
    let last = stack.publish(&mirrored).await;
    let running = stack.projector();
    stack.applied(last).await;
    let page = PageRequest {
        limit: Some(200),
        cursor: None,
    };
    let runs = |name| {
        let (tenant, db) = (tenant(name), &stack.projections);
        async move {
            db.runs(&tenant, &RunFilter::default(), &page)
                .await
                .unwrap()
                .items
        }
    };
    let (acme, mirror) = (runs("acme").await, runs("mirror").await);
    assert!(!acme.is_empty());
    let ids = |runs: &[nexus_projections::query::RunRow]| -> Vec<_> {
        runs.iter()
            .map(|run| (run.id, run.status, run.cost))
            .collect()
    };
    assert_eq!(ids(&acme), ids(&mirror));
    running.stop().await;
}

#[tokio::test]
async fn a_budget_shows_limits_and_who_holds_it() {
    let stack = filled(37).await;
    let (acme, db) = (tenant("acme"), &stack.projections);
    let standing = db.budget(&acme, &Scope::Tenant, now()).await.unwrap();
    let lifetime = standing
        .windows
        .iter()
        .find(|row| row.window == Window::Lifetime)
        .unwrap();
    assert!(lifetime.total.tokens > 0);
    let held: u64 = standing
        .reservations
        .iter()
        .map(|held| held.amounts.tokens)
        .sum();
    assert_eq!(lifetime.reserved.tokens, held, "{standing:#?}");
    let mut page = BudgetPage {
        limit: Some(1),
        ..BudgetPage::default()
    };
    let mut seen = vec![];
    loop {
        let budgets = db.budgets(&acme, now(), &page).await.unwrap();
        seen.extend(budgets.items);
        match budgets.next_cursor {
            Some(cursor) => page.after = Some(cursor.parse().unwrap()),
            None => break,
        }
    }
    assert!(seen.len() > 1 && seen.iter().all(|row| row.limited));
    let mut sql = stack.sql().await;
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM budgets
         WHERE scope_kind = 'run' AND ended AND NOT limited AND limit_tokens = 100000",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert!(ended > 0, "what a run brought is history once it has ended");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM budgets WHERE tenant = 'acme' AND limited")
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert_eq!(seen.len() as i64, count);
}

#[tokio::test]
async fn the_audit_log_says_who_and_why() {
    let stack = filled(36).await;
    let (acme, db) = (tenant("acme"), &stack.projections);
    let list = |filter: AuditFilter| {
        let acme = acme.clone();
        async move {
            let (mut page, mut all) = (
                PageRequest {
                    limit: Some(50),
                    cursor: None,
                },
                vec![],
            );
            loop {
                let some = db.audit(&acme, &filter, &page).await.unwrap();
                all.extend(some.items);
                match some.next_cursor {
                    Some(cursor) => page.cursor = Some(cursor.parse().unwrap()),
                    None => return all,
                }
            }
        }
    };
    let all = list(AuditFilter::default()).await;
    assert!(all.is_sorted_by(|a, b| a.id > b.id));
    for action in [
        "run.started",
        "policy.allowed",
        "policy.denied",
        "run.cancelled",
    ] {
        let some = list(AuditFilter {
            action: Some(action.into()),
            ..Default::default()
        })
        .await;
        assert!(!some.is_empty(), "{action}");
        assert!(
            some.iter()
                .all(|row| row.action == action && !row.user_id.is_empty())
        );
    }
    let judged = list(AuditFilter {
        action: Some("policy.".into()),
        ..Default::default()
    })
    .await;
    assert!(judged.iter().any(|row| row.action == "policy.denied"));
    let denied = judged
        .iter()
        .find(|row| row.action == "policy.denied")
        .unwrap();
    assert_eq!(denied.details["reasons"][0], "not today");
    assert_eq!(denied.details["bundle"], "builtin");
    assert!(denied.user_id.starts_with("user-"), "{denied:?}");
}

#[tokio::test]
async fn waiting_for_a_sequence_ends_when_it_is_there_or_time_is_up() {
    let stack = Stack::start().await;
    let past = World::past(37, Shape { runs: 5, ..PAST });
    let last = stack.publish(&past).await;
    let short = Duration::from_millis(50);
    match stack.projections.wait_for_seq(last, short).await {
        Err(QueryError::Lagging { applied: 0, wanted }) => assert_eq!(wanted, last),
        other => panic!("{other:?}"),
    }
    // Another process: nothing is shared but the database.
    let elsewhere =
        nexus_projections::Projections::connect(&stack.database_url, Default::default())
            .await
            .unwrap();
    let waiting = tokio::spawn(async move {
        elsewhere
            .wait_for_seq(last, crate::stack::PATIENCE)
            .await
            .unwrap()
    });
    let running = stack.projector();
    assert!(waiting.await.unwrap() >= last);
    running.stop().await;
}
