use std::time::Duration;

use nexus_bus::{ExecuteError, ReadHint, Store, StoreError, append, topology};
use nexus_events::{AggregateKind, subject};

use crate::support::{Stand, Sum, add, cause, messages, sum_id, tenant};

#[tokio::test]
async fn what_is_executed_is_what_another_process_loads() {
    let stand = Stand::new().await;
    let (store, id) = (stand.store(), sum_id("a"));
    let mut last = 0;
    for n in 1..=300 {
        let cause = cause(&format!("c{n}"));
        let hint = ReadHint::ABSENT;
        let done = store
            .execute::<Sum, _>(&tenant(), &id, hint, &cause, add(n, u64::MAX))
            .await;
        let done = done.unwrap();
        assert!(done.fresh && done.events.len() == 1);
        last = done.seq;
    }
    let other = Store::new(stand.other().await, 10);
    for first_seq in [0, 1, 17, 9999] {
        // A first sequence that is wrong is noticed.
        let other = if first_seq == 17 {
            &Store::new(stand.other().await, 10)
        } else {
            &other
        };
        let hint = ReadHint::between(first_seq, last);
        let loaded = other.load::<Sum>(&tenant(), &id, hint).await.unwrap();
        assert_eq!(
            (loaded.state.total, loaded.seq, loaded.first_seq),
            (300 * 301 / 2, last, 1)
        );
        assert_eq!(loaded.state.last.seq, last);
    }
}

#[tokio::test]
async fn a_command_that_comes_again_finds_its_own_commit() {
    let stand = Stand::new().await;
    let (store, id) = (stand.store(), sum_id("a"));
    let run = |store: Store, name: &'static str| async move {
        let cause = cause(name);
        let hint = ReadHint::UNKNOWN;
        let done = store
            .execute::<Sum, _>(&tenant(), &sum_id("a"), hint, &cause, add(1, 99))
            .await;
        let done = done.unwrap();
        (done.seq, done.fresh, done.guard.state.total)
    };
    assert_eq!(run(store.clone(), "one").await, (1, true, 1));
    assert_eq!(run(store.clone(), "two").await, (2, true, 2));
    assert_eq!(
        run(store.clone(), "one").await,
        (1, false, 2),
        "in the same process"
    );
    let cold = Store::new(stand.other().await, 10);
    assert_eq!(run(cold, "one").await, (1, false, 2), "in another process");
    // One whose cache is older than the commit, and one that presumes there is nothing.
    let stale = Store::new(stand.other().await, 10);
    drop(
        stale
            .load::<Sum>(&tenant(), &id, ReadHint::UNKNOWN)
            .await
            .unwrap(),
    );
    assert_eq!(run(store, "three").await, (3, true, 3));
    assert_eq!(
        run(stale, "three").await,
        (3, false, 3),
        "with an old cache"
    );
    let presuming = Store::new(stand.other().await, 10);
    let done = presuming
        .execute::<Sum, _>(&tenant(), &id, ReadHint::ABSENT, &cause("two"), add(1, 99))
        .await
        .unwrap();
    assert_eq!(
        (done.seq, done.fresh, done.guard.state.total),
        (2, false, 3)
    );
    drop(done);
    assert_eq!(messages(&stand.bus, topology::EVENTS).await, 3);
}

#[tokio::test]
async fn a_refusal_counts_only_on_the_latest_state() {
    let stand = Stand::new().await;
    let (ours, theirs) = (stand.store(), Store::new(stand.other().await, 10));
    let id = sum_id("a");
    let hint = ReadHint::UNKNOWN;
    ours.execute::<Sum, _>(&tenant(), &id, hint, &cause("one"), add(5, 10))
        .await
        .unwrap();
    theirs
        .execute::<Sum, _>(&tenant(), &id, hint, &cause("two"), add(5, 10))
        .await
        .unwrap();
    // Ours still believes 5: it would allow 5 more, and the stream tells it otherwise.
    let refused = ours
        .execute::<Sum, _>(&tenant(), &id, hint, &cause("three"), add(5, 10))
        .await;
    assert!(
        matches!(refused, Err(ExecuteError::Rejected(_))),
        "{refused:?}"
    );
    // Ours believes that it is full; meanwhile it holds more than the new limit would refuse.
    theirs
        .execute::<Sum, _>(&tenant(), &id, hint, &cause("four"), add(5, 20))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let nothing = ours
        .execute::<Sum, _>(&tenant(), &id, hint, &cause("five"), |sum| {
            seen.push(sum.total);
            Ok(Vec::new())
        })
        .await
        .unwrap();
    assert!(nothing.fresh && nothing.events.is_empty());
    drop(nothing);
    assert_eq!(
        seen,
        [10, 15],
        "an empty decision is taken again after reading"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_in_two_processes_lose_no_update() {
    let stand = Stand::new().await;
    let stores = [stand.store(), Store::new(stand.other().await, 10)];
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..50 {
        let store = stores[writer % 2].clone();
        writers.spawn(async move {
            for n in 0..4 {
                let cause = cause(&format!("w{writer}-{n}"));
                let hint = ReadHint::UNKNOWN;
                let limit = u64::MAX;
                store
                    .execute::<Sum, _>(&tenant(), &sum_id("hot"), hint, &cause, add(1, limit))
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let cold = Store::new(stand.other().await, 10);
    let loaded = cold
        .load::<Sum>(&tenant(), &sum_id("hot"), ReadHint::UNKNOWN)
        .await
        .unwrap();
    assert_eq!(loaded.state.total, 200);
    assert_eq!(messages(&stand.bus, topology::EVENTS).await, 200);
}

#[tokio::test]
async fn the_same_command_id_of_two_tenants_or_on_two_aggregates_is_two_commands() {
    let stand = Stand::new().await;
    let store = stand.store();
    let other_tenant = "other".parse().unwrap();
    for (tenant, id) in [(&tenant(), "a"), (&tenant(), "b"), (&other_tenant, "a")] {
        let done = store
            .execute::<Sum, _>(
                tenant,
                &sum_id(id),
                ReadHint::ABSENT,
                &cause("1"),
                add(1, 9),
            )
            .await
            .unwrap();
        assert!(done.fresh);
    }
    assert_eq!(messages(&stand.bus, topology::EVENTS).await, 3);
}

#[tokio::test]
async fn what_cannot_be_read_parks_that_aggregate_alone() {
    let stand = Stand::new().await;
    let store = stand.store();
    let good = store
        .execute::<Sum, _>(
            &tenant(),
            &sum_id("a"),
            ReadHint::ABSENT,
            &cause("1"),
            add(1, 9),
        )
        .await
        .unwrap();
    let after = good.seq;
    drop(good);
    let subject = subject::events(&tenant(), AggregateKind::Session, &sum_id("a"));
    append(
        &stand.bus,
        &subject,
        "x",
        after,
        "nonsense".into(),
        async_nats::HeaderMap::new(),
    )
    .await
    .unwrap();
    let broken = store
        .execute::<Sum, _>(
            &tenant(),
            &sum_id("a"),
            ReadHint::UNKNOWN,
            &cause("2"),
            add(1, 9),
        )
        .await;
    let corrupt = matches!(
        broken,
        Err(ExecuteError::Store(StoreError::Corrupt { seq: 2, .. }))
    );
    assert!(corrupt, "{broken:?}");
    let fine = store
        .execute::<Sum, _>(
            &tenant(),
            &sum_id("b"),
            ReadHint::UNKNOWN,
            &cause("2"),
            add(1, 9),
        )
        .await;
    assert!(fine.is_ok());
}

#[tokio::test]
async fn a_sequence_that_does_not_exist_is_an_error_and_not_a_wait() {
    let stand = Stand::new().await;
    let hint = ReadHint::between(1, 1000);
    let behind = stand
        .store()
        .load::<Sum>(&tenant(), &sum_id("a"), hint)
        .await;
    assert!(matches!(
        behind,
        Err(StoreError::Behind {
            at_least: 1000,
            found: 0,
            ..
        })
    ));
}

#[tokio::test]
async fn peeking_reads_only_what_is_too_old() {
    let stand = Stand::new().await;
    let (ours, theirs) = (stand.store(), Store::new(stand.other().await, 10));
    let id = sum_id("a");
    let hint = ReadHint::ABSENT;
    ours.execute::<Sum, _>(&tenant(), &id, hint, &cause("one"), add(1, 9))
        .await
        .unwrap();
    theirs
        .execute::<Sum, _>(&tenant(), &id, hint, &cause("two"), add(1, 9))
        .await
        .unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(
        ours.peek::<Sum>(&tenant(), &id, hour)
            .await
            .unwrap()
            .state
            .total,
        1
    );
    assert_eq!(
        ours.peek::<Sum>(&tenant(), &id, Duration::ZERO)
            .await
            .unwrap()
            .state
            .total,
        2
    );
}
