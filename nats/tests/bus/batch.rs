use std::sync::{Arc, Mutex};

use nexus_bus::{BatchHandler, Delivery, Failure, RoleSpec, run_batch_role, topology};
use nexus_events::Command;
use tokio_util::sync::CancellationToken;

use crate::support::{Stand, cancel, messages, send, signal};
use crate::worker::until_empty;

#[derive(Clone, Default)]
struct Batches(Arc<Mutex<Vec<Vec<String>>>>);

impl BatchHandler for Batches {
    async fn handle_batch(&self, deliveries: Vec<Delivery>) -> Vec<Result<(), Failure>> {
        let mut batches = self.0.lock().unwrap();
        let seen = |id: &str| batches.iter().flatten().any(|seen| seen == id);
        let outcome = |delivery: &Delivery| match &delivery.command {
            Command::SignalRun(_) if !seen(delivery.envelope.id.as_str()) => {
                Err(Failure::Unavailable("db".into()))
            }
            _ => Ok(()),
        };
        let outcomes = deliveries.iter().map(outcome).collect();
        batches.push(
            deliveries
                .iter()
                .map(|delivery| delivery.envelope.id.to_string())
                .collect(),
        );
        outcomes
    }
}

#[tokio::test]
async fn what_is_there_is_one_batch() {
    let stand = Stand::new().await;
    let handler = Batches::default();
    for n in 0..600 {
        send(&stand.bus, &format!("c{n}"), &cancel(n)).await;
    }
    send(&stand.bus, "again", &signal(1, "x")).await;
    let bad = stand
        .bus
        .jetstream()
        .publish("nexus.acme.cmd.run.cancel", "{".into())
        .await;
    bad.unwrap().await.unwrap();
    let spec = RoleSpec {
        concurrency: 256,
        prefetch: 256,
        ..RoleSpec::new("run", &["run"])
    };
    let stop = CancellationToken::new();
    let role = run_batch_role(stand.bus.clone(), spec, handler.clone(), stop.clone());
    let role = tokio::spawn(role);
    until_empty(&stand.bus).await;
    stop.cancel();
    role.await.unwrap();
    let batches = handler.0.lock().unwrap().clone();
    assert!(batches.iter().all(|batch| batch.len() <= 256));
    assert!(
        batches.len() < 300,
        "{} batches for 600 commands",
        batches.len()
    );
    let mut all: Vec<_> = batches.iter().flatten().collect();
    assert_eq!(all.len(), 602, "one of them twice");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 601);
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 1);
}
