use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_bus::{
    Bus, CommandMeta, Delivery, Failure, Handler, ReadHint, Store, publish_command, topology,
};

use crate::support::{Stand, Sum, add, cancel, cause, command_id, messages, sum_id, tenant, until};
use crate::worker::{Running, SPEC, until_empty};

/// Counts each command in one of three sums.
pub(crate) struct Counting(pub(crate) Store);

impl Handler for Counting {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        let id = delivery.envelope.id.as_str();
        let sum = sum_id(&format!("s{}", id.len() % 3));
        let cause = cause(id);
        self.0
            .execute::<Sum, _>(&tenant(), &sum, ReadHint::UNKNOWN, &cause, add(1, u64::MAX))
            .await?;
        Ok(())
    }
}

/// Sends a command that adds one.
pub(crate) async fn count_one(bus: &Bus, n: u64) {
    let id = format!("{}{n}", "x".repeat(1 + n as usize % 7));
    let meta = CommandMeta::new(command_id(&id), "test");
    publish_command(bus, &tenant(), &cancel(u128::from(n)), &meta)
        .await
        .unwrap();
}

/// What has been added in all.
pub(crate) async fn counted(store: &Store) -> u64 {
    let mut total = 0;
    for n in 0..3 {
        let hint = ReadHint::UNKNOWN;
        let sum = store
            .load::<Sum>(&tenant(), &sum_id(&format!("s{n}")), hint)
            .await
            .unwrap();
        total += sum.state.total;
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_loses_and_doubles_nothing() {
    const COMMANDS: u64 = 3000;
    let mut stand = Stand::new().await;
    let roles = [
        Running::start(&stand.bus, SPEC, Counting(stand.store())),
        Running::start(
            &stand.other().await,
            SPEC,
            Counting(Store::new(stand.other().await, 10)),
        ),
    ];
    let sent = Arc::new(AtomicU64::new(0));
    let sending = tokio::spawn({
        let (bus, sent) = (stand.other().await, Arc::clone(&sent));
        async move {
            for n in 0..COMMANDS {
                count_one(&bus, n).await;
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for kill_at in [300, 900, 1500] {
        until("some are sent", || async {
            sent.load(Ordering::SeqCst) >= kill_at
        })
        .await;
        stand.server.nats.kill().await;
        assert!(!sending.is_finished());
        stand.server.nats.restart().await.unwrap();
    }
    sending.await.unwrap();
    stand.bus.connected().await;
    until_empty(&stand.bus).await;
    for role in roles {
        role.stop().await;
    }
    assert_eq!(
        counted(&Store::new(stand.other().await, 10)).await,
        COMMANDS
    );
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 0);
}
