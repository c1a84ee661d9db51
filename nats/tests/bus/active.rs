//! A role of which one process is active: the others stand by, and one of them takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nexus_bus::{
    BatchHandler, Bus, Delivery, Failure, RoleSpec, consumer, run_batch_role, topology,
};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;
use crate::support::{Stand, cancel, config, messages, send, until};
use crate::worker::until_empty;

const SPEC: RoleSpec = RoleSpec {
    single_active: true,
    ack_wait: Duration::from_secs(2),
    ..RoleSpec::new("run", &["run"])
};

/// Counts what it handles, and stops in the middle while it is told to.
#[derive(Clone, Default)]
struct Counting {
    begun: Arc<AtomicU64>,
    handled: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
    stuck: Arc<AtomicBool>,
    go_on: Arc<Notify>,
}

impl Counting {
    fn handled(&self) -> u64 {
        self.handled.load(Ordering::SeqCst)
    }
}

impl BatchHandler for Counting {
    async fn handle_batch(&self, deliveries: Vec<Delivery>) -> Vec<Result<(), Failure>> {
        let count = deliveries.len() as u64;
        self.begun.fetch_add(count, Ordering::SeqCst);
        let again = deliveries.iter().filter(|d| d.delivered > 1).count() as u64;
        self.again.fetch_add(again, Ordering::SeqCst);
        while self.stuck.load(Ordering::SeqCst) {
            self.go_on.notified().await;
        }
        self.handled.fetch_add(count, Ordering::SeqCst);
        deliveries.iter().map(|_| Ok(())).collect()
    }
}

/// One process of the role, with a connection of its own.
struct Process {
    handler: Counting,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start(bus: Bus, spec: RoleSpec) -> Self {
        let (handler, stop) = (Counting::default(), CancellationToken::new());
        let task = tokio::spawn(run_batch_role(bus, spec, handler.clone(), stop.clone()));
        Self {
            handler,
            stop,
            task,
        }
    }

    /// As when it is killed: nothing more is said, and the connection closes.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Two processes, and which of them is active after the first command.
async fn two(stand: &Stand, spec: &RoleSpec) -> (Process, Process) {
    let one = Process::start(stand.other().await, spec.clone());
    let two = Process::start(stand.other().await, spec.clone());
    send(&stand.bus, "first", &cancel(1)).await;
    until("one is active", || async {
        one.handler.begun.load(Ordering::SeqCst) + two.handler.begun.load(Ordering::SeqCst) == 1
    })
    .await;
    if one.handler.begun.load(Ordering::SeqCst) == 1 {
        (one, two)
    } else {
        (two, one)
    }
}

async fn send_some(bus: &Bus, name: &str, count: u64) {
    for n in 0..count {
        send(bus, &format!("{name}{n}"), &cancel(u128::from(n))).await;
    }
}

async fn info(bus: &Bus) -> Value {
    let name = consumer::name_of("run");
    let subject = format!("$JS.API.CONSUMER.INFO.{}.{name}", topology::COMMANDS);
    let answer = bus.client().request(subject, "".into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Who has the place, as the server names it.
async fn pinned(bus: &Bus) -> Option<String> {
    let info = info(bus).await;
    let id = info.pointer("/priority_groups/0/pinned_client_id")?;
    id.as_str().map(str::to_owned)
}

/// Waits for this many renewals of the place.
async fn until_renewed(bus: &Bus, times: usize) {
    let subject = format!(
        "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
        topology::COMMANDS,
        consumer::name_of("run")
    );
    let requests = bus.client().subscribe(subject).await.unwrap();
    let renewals = requests.filter(|request| {
        let body: Value = serde_json::from_slice(&request.payload).unwrap();
        std::future::ready(body["max_bytes"] == 1)
    });
    let seen = renewals.take(times).count();
    let waited = tokio::time::timeout(Duration::from_secs(60), seen).await;
    assert!(waited.is_ok(), "the place is not renewed");
}

#[tokio::test]
async fn one_is_active_and_hands_over_when_it_stops() {
    let stand = Stand::new().await;
    let (active, standby) = two(&stand, &SPEC).await;
    send_some(&stand.bus, "a", 300).await;
    until_empty(&stand.bus).await;
    assert_eq!(
        (active.handler.handled(), standby.handler.handled()),
        (301, 0)
    );
    // Idle for longer than the place is kept without a sign.
    let place = pinned(&stand.bus).await;
    assert!(place.is_some());
    until_renewed(&stand.bus, 6).await;
    assert_eq!(pinned(&stand.bus).await, place);
    send_some(&stand.bus, "b", 10).await;
    until_empty(&stand.bus).await;
    assert_eq!(
        (active.handler.handled(), standby.handler.handled()),
        (311, 0)
    );
    let text = nexus_bus::metrics::encoded();
    assert!(text.contains("nexus_role_active{role=\"run\"}"), "{text}");

    active.stop().await;
    assert_eq!(pinned(&stand.bus).await, None, "given back, not timed out");
    send_some(&stand.bus, "c", 10).await;
    until_empty(&stand.bus).await;
    assert_eq!(standby.handler.handled(), 10);
    standby.stop().await;
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn a_stop_in_the_middle_gives_back_what_was_taken_with_the_place() {
    let stand = Stand::new().await;
    let spec = RoleSpec {
        concurrency: 1,
        ..SPEC
    };
    let (active, standby) = two(&stand, &spec).await;
    until_empty(&stand.bus).await;
    active.handler.stuck.store(true, Ordering::SeqCst);
    send_some(&stand.bus, "a", 20).await;
    until("a batch is begun", || async {
        active.handler.begun.load(Ordering::SeqCst) == 2
    })
    .await;
    let (handler, stop) = (active.handler.clone(), active.stop());
    let stop = tokio::spawn(stop);
    handler.stuck.store(false, Ordering::SeqCst);
    handler.go_on.notify_one();
    stop.await.unwrap();
    until_empty(&stand.bus).await;
    assert!(handler.handled() < 21, "it did not stop");
    assert_eq!(handler.handled() + standby.handler.handled(), 21);
    standby.stop().await;
}

#[tokio::test]
async fn when_it_is_killed_another_takes_over_and_no_command_is_lost() {
    let stand = Stand::new().await;
    let (active, standby) = two(&stand, &SPEC).await;
    until_empty(&stand.bus).await;
    active.handler.stuck.store(true, Ordering::SeqCst);
    send_some(&stand.bus, "a", 20).await;
    until("all are in work", || async {
        info(&stand.bus).await["num_ack_pending"] == 20
    })
    .await;
    let dead = active.handler.clone();
    active.kill().await;
    let killed = Instant::now();
    send_some(&stand.bus, "b", 20).await;
    until("another takes over", || async {
        standby.handler.handled() > 0
    })
    .await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    until_empty(&stand.bus).await;
    assert_eq!((dead.handled(), standby.handler.handled()), (1, 40));
    // And perhaps what was on its way to it when it died.
    let again = standby.handler.again.load(Ordering::SeqCst);
    assert!(again >= 20, "of 20 in work {again} came again");
    standby.stop().await;
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn work_that_takes_long_keeps_its_place_though_there_is_no_room_for_more() {
    let stand = Stand::new().await;
    let spec = RoleSpec {
        concurrency: 1,
        prefetch: 0,
        ..SPEC
    };
    let (active, standby) = two(&stand, &spec).await;
    until_empty(&stand.bus).await;
    active.handler.stuck.store(true, Ordering::SeqCst);
    send_some(&stand.bus, "a", 5).await;
    until_renewed(&stand.bus, 6).await;
    active.handler.stuck.store(false, Ordering::SeqCst);
    active.handler.go_on.notify_one();
    until_empty(&stand.bus).await;
    assert_eq!(
        (active.handler.handled(), standby.handler.handled()),
        (6, 0)
    );
    assert_eq!(active.handler.again.load(Ordering::SeqCst), 0);
    active.stop().await;
    standby.stop().await;
}

#[tokio::test]
async fn one_that_hears_nothing_loses_its_place_and_stands_by_when_it_hears_again() {
    let stand = Stand::new().await;
    let proxy = Proxy::to(stand.server.nats.port()).await;
    let deaf = Bus::connect(config(&proxy.url)).await.unwrap();
    let deaf = Process::start(deaf, SPEC);
    send(&stand.bus, "first", &cancel(1)).await;
    until_empty(&stand.bus).await;
    let standby = Process::start(stand.other().await, SPEC);
    proxy.mute();
    send_some(&stand.bus, "a", 5).await;
    until_empty(&stand.bus).await;
    assert_eq!(
        (deaf.handler.handled(), standby.handler.handled()),
        (1, 5),
        "what the deaf one did not hear comes again"
    );
    proxy.cut();
    let waiting = || async { info(&stand.bus).await["num_waiting"] == 2 };
    until("both are there", waiting).await;
    send_some(&stand.bus, "b", 20).await;
    until_empty(&stand.bus).await;
    assert_eq!((deaf.handler.handled(), standby.handler.handled()), (1, 25));
    standby.stop().await;
    deaf.stop().await;
}

#[tokio::test]
async fn a_server_that_restarts_knows_of_no_place_and_gives_it_to_one_again() {
    let mut stand = Stand::new().await;
    let (active, standby) = two(&stand, &SPEC).await;
    until_empty(&stand.bus).await;
    stand.server.nats.kill().await;
    stand.server.nats.restart().await.unwrap();
    stand.bus.connected().await;
    let (first, second) = (active.handler.handled(), standby.handler.handled());
    assert_eq!((first, second), (1, 0));
    send_some(&stand.bus, "a", 50).await;
    until_empty(&stand.bus).await;
    let handled = [active.handler.handled(), standby.handler.handled()];
    assert!(handled == [51, 0] || handled == [1, 50], "{handled:?}");
    active.stop().await;
    standby.stop().await;
}

#[tokio::test]
async fn a_queue_of_a_version_without_the_group_goes_on_where_it_was() {
    let stand = Stand::new().await;
    let before = RoleSpec {
        single_active: false,
        ..SPEC
    };
    let old = Process::start(stand.other().await, before.clone());
    old.handler.stuck.store(true, Ordering::SeqCst);
    send_some(&stand.bus, "a", 10).await;
    until("all are in work", || async {
        info(&stand.bus).await["num_ack_pending"] == 10
    })
    .await;
    old.kill().await;
    send_some(&stand.bus, "b", 10).await;
    let first = Process::start(stand.other().await, SPEC);
    let second = Process::start(stand.other().await, SPEC);
    until_empty(&stand.bus).await;
    let handled = [first.handler.handled(), second.handler.handled()];
    assert!(handled == [20, 0] || handled == [0, 20], "{handled:?}");
    let again = |p: &Process| p.handler.again.load(Ordering::SeqCst);
    let again = again(&first) + again(&second);
    assert!(again >= 10, "deliveries are counted on: {again} of 10");
    first.kill().await;
    second.stop().await;
    // And back.
    let old = Process::start(stand.other().await, before);
    send_some(&stand.bus, "c", 10).await;
    until_empty(&stand.bus).await;
    assert_eq!(old.handler.handled(), 10);
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn take_over_figures() {
    for how in ["stopped", "killed"] {
        let mut times = Vec::new();
        for _ in 0..8 {
            let stand = Stand::new().await;
            let (active, standby) = two(&stand, &SPEC).await;
            until_empty(&stand.bus).await;
            until_renewed(&stand.bus, 2).await;
            let ended = Instant::now();
            match how {
                "stopped" => active.stop().await,
                _ => active.kill().await,
            }
            send(&stand.bus, "next", &cancel(2)).await;
            until("another takes over", || async {
                standby.handler.handled() == 1
            })
            .await;
            times.push(ended.elapsed());
            standby.stop().await;
        }
        times.sort();
        println!("take-over from one that is {how}: {times:?}");
    }
}
