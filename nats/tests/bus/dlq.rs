use nexus_bus::{RoleSpec, dlq, topology};
use nexus_events::Tenant;

use crate::support::{Stand, messages, send, signal, tenant, until};
use crate::worker::{Running, SPEC, Scripted, until_empty};

#[tokio::test]
async fn a_poisoned_message_is_laid_aside_with_the_reason_and_the_role_goes_on() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    let js = stand.bus.jetstream();
    for (subject, body) in [
        ("nexus.acme.cmd.run.cancel", "not json"),
        ("nexus.acme.cmd.run.unheard-of", "{}"),
        ("nexus.UPPER.cmd.run.cancel", "{}"),
    ] {
        js.publish(subject, body.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let role = Running::start(&stand.bus, SPEC, handler.clone());
    send(&stand.bus, "good", &signal(1, "good")).await;
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!(handler.commands(), 1);
    let mine = dlq::list(&stand.bus, Some(&tenant()), None, 10)
        .await
        .unwrap();
    assert_eq!(mine.len(), 2);
    assert!(mine[0].seq > mine[1].seq, "newest first");
    let reasons: Vec<_> = mine.iter().map(|letter| letter.reason.as_str()).collect();
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("cannot be read")),
        "{reasons:?}"
    );
    assert!(
        reasons.iter().any(|reason| reason.contains("no command")),
        "{reasons:?}"
    );
    let all = dlq::list(&stand.bus, None, None, 10).await.unwrap();
    assert_eq!(all.len(), 3);
    let other: Tenant = "other".parse().unwrap();
    assert!(
        dlq::get(&stand.bus, Some(&other), all[0].seq)
            .await
            .is_err(),
        "not another's"
    );
    let counts = dlq::counts(&stand.bus, Some(&tenant())).await.unwrap();
    assert_eq!(counts["nexus.acme.dlq.run"], 2);
}

#[tokio::test]
async fn a_dead_letter_is_redriven_under_its_own_id() {
    let stand = Stand::new().await;
    let spec = RoleSpec {
        max_attempts: 2,
        ..SPEC
    };
    let handler = Scripted::default();
    let role = Running::start(&stand.bus, spec, handler.clone());
    // Gives up after two attempts; the third one works.
    send(&stand.bus, "one", &signal(1, "flaky")).await;
    until("it is dead", || async {
        messages(&stand.bus, topology::DEAD_LETTERS).await == 1
    })
    .await;
    let letters = dlq::list(&stand.bus, Some(&tenant()), None, 10)
        .await
        .unwrap();
    let letter = dlq::get(&stand.bus, Some(&tenant()), letters[0].seq)
        .await
        .unwrap();
    assert_eq!(
        (letter.command_id.as_deref(), letter.attempts),
        (Some("one"), 2)
    );
    assert!(
        letter.explain().contains("given up after 2 attempts"),
        "{}",
        letter.explain()
    );
    dlq::redrive(&stand.bus, &letter).await.unwrap();
    until("it is handled", || async { handler.times("one") == 3 }).await;
    until_empty(&stand.bus).await;
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 0);
    role.stop().await;
}

#[tokio::test]
async fn all_are_redriven_and_paged_newest_first() {
    let stand = Stand::new().await;
    let role = Running::start(&stand.bus, SPEC, Scripted::default());
    for n in 0..25 {
        send(&stand.bus, &format!("d{n}"), &signal(n, "dead")).await;
    }
    until("all are dead", || async {
        messages(&stand.bus, topology::DEAD_LETTERS).await == 25
    })
    .await;
    until_empty(&stand.bus).await;
    role.stop().await;
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = dlq::list(&stand.bus, Some(&tenant()), before, 10)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        pages.push(page.len());
    }
    assert_eq!(pages, [10, 10, 5]);
    let result = dlq::redrive_all(&stand.bus, Some(&tenant())).await.unwrap();
    assert_eq!(
        result,
        dlq::Redriven {
            redriven: 25,
            left: 0
        }
    );
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 0);
    assert_eq!(messages(&stand.bus, topology::COMMANDS).await, 25);
}
