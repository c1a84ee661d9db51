use nexus_bus::{CommandMeta, timer, topology};
use tokio_util::sync::CancellationToken;

use crate::support::{Stand, cancel, command_id, messages, tenant, until};
use crate::worker::{Running, SPEC, Scripted, until_empty};

#[tokio::test]
async fn a_timer_becomes_a_command_once_and_a_cancelled_one_none() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    let role = Running::start(&stand.bus, SPEC, handler.clone());
    let stop = CancellationToken::new();
    let relays: Vec<_> = [stand.bus.clone(), stand.other().await]
        .map(|bus| tokio::spawn(timer::run_relay(bus, stop.clone())))
        .into_iter()
        .collect();
    let set = async |name: &str, in_ms: u64| {
        let meta = CommandMeta::new(command_id(name), "test");
        let at = stand.bus.now().plus_millis(in_ms);
        timer::schedule(&stand.bus, &tenant(), name, at, &cancel(1), &meta)
            .await
            .unwrap();
    };
    set("soon", 300).await;
    set("moved", 3_600_000).await;
    set("moved", 300).await;
    set("past", 0).await;
    set("cancelled", 2000).await;
    assert!(
        timer::cancel(&stand.bus, &tenant(), "cancelled")
            .await
            .unwrap()
    );
    assert!(
        !timer::cancel(&stand.bus, &tenant(), "cancelled")
            .await
            .unwrap()
    );
    until("all have fired", || async { handler.commands() == 3 }).await;
    until_empty(&stand.bus).await;
    until("none is left", || async {
        messages(&stand.bus, topology::TIMERS).await == 0
    })
    .await;
    for name in ["soon", "moved", "past"] {
        assert_eq!(handler.times(name), 1, "{name}");
    }
    stop.cancel();
    for relay in relays {
        relay.await.unwrap();
    }
    role.stop().await;
}
