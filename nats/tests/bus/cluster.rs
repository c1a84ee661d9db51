//! Three nodes that lose their leader, are restarted one after the other, and are cut from each
//! other, while commands come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexus_bus::{Bus, BusConfig, Store, TopologyConfig, ensure, topology};
use nexus_devstack::testing::TestCluster;

use crate::restart::{Counting, count_one, counted};
use crate::support::{messages, until};
use crate::worker::{Running, SPEC, until_empty};

async fn connect(url: &str) -> Bus {
    let mut config = BusConfig::new(url, "test");
    config.replicas = 3;
    Bus::connect(config).await.unwrap()
}

/// A client that sends a command after the other and counts those that were acknowledged.
struct Sending {
    bus: Bus,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Duration>,
}

impl Sending {
    async fn start(url: &str) -> Self {
        let (sent, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let bus = connect(url).await;
        let task = tokio::spawn({
            let (bus, sent, stop) = (bus.clone(), Arc::clone(&sent), Arc::clone(&stop));
            async move {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    count_one(&bus, sent.load(Ordering::SeqCst)).await;
                    sent.fetch_add(1, Ordering::SeqCst);
                    longest = longest.max(began.elapsed());
                }
                longest
            }
        });
        Self {
            bus,
            sent,
            stop,
            task,
        }
    }

    /// The node that it is connected to.
    fn node(&self, cluster: &TestCluster) -> usize {
        let name = self.bus.client().server_info().server_name;
        cluster.nats.index_of(&name).unwrap()
    }

    /// Waits until some more have been taken.
    async fn goes_on(&self) {
        let now = self.sent.load(Ordering::SeqCst);
        until("commands are taken", || async {
            self.sent.load(Ordering::SeqCst) > now + 100
        })
        .await;
    }

    /// How many were taken, and how long the slowest was.
    async fn end(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let longest = self.task.await.unwrap();
        (self.sent.load(Ordering::SeqCst), longest)
    }
}

/// The node that leads a stream.
async fn leader(bus: &Bus, cluster: &TestCluster, stream: &str) -> usize {
    let found = std::sync::Mutex::new(None);
    until("the stream has a leader", || async {
        let Ok(mut stream) = bus.jetstream().get_stream(stream).await else {
            return false;
        };
        let Ok(info) = stream.info().await else {
            return false;
        };
        let name = info.cluster.as_ref().and_then(|it| it.leader.clone());
        let index = name.and_then(|it| cluster.nats.index_of(&it));
        *found.lock().unwrap() = index;
        index.is_some()
    })
    .await;
    found.into_inner().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_leaders_and_cables_loses_and_doubles_nothing() {
    let mut cluster = TestCluster::start().await.expect("the nodes start");
    let url = cluster.nats.url();
    let bus = connect(&url).await;
    let config = TopologyConfig {
        replicas: 3,
        ..TopologyConfig::default()
    };
    ensure(&bus, &config).await.unwrap();
    let other = connect(&url).await;
    let roles = [
        Running::start(&bus, SPEC, Counting(Store::new(bus.clone(), 10))),
        Running::start(&other, SPEC, Counting(Store::new(other.clone(), 10))),
    ];
    let sending = Sending::start(&url).await;
    sending.goes_on().await;

    for stream in [topology::COMMANDS, topology::EVENTS] {
        let leads = leader(&bus, &cluster, stream).await;
        cluster.nats.node(leads).unwrap().kill().await;
        sending.goes_on().await;
        cluster.nats.node(leads).unwrap().restart().await.unwrap();
    }
    for node in 0..3 {
        cluster.nats.node(node).unwrap().restart().await.unwrap();
        sending.goes_on().await;
    }
    if let Some(network) = cluster.nats.network() {
        let leads = leader(&bus, &cluster, topology::EVENTS).await;
        // The second stays connected to its clients and can do nothing for them.
        for alone in [leads, sending.node(&cluster)] {
            for peer in (0..3).filter(|it| *it != alone) {
                network.cut(alone as u8, peer as u8).unwrap();
            }
            sending.goes_on().await;
            network.heal().unwrap();
            sending.goes_on().await;
        }
    }

    let (sent, longest) = sending.end().await;
    println!("{sent} commands, the longest took {longest:?}");
    until_empty(&bus).await;
    for role in roles {
        role.stop().await;
    }
    // The leader says what the log has. A fold reads from any node, and one that has just come back
    // may be behind for a moment.
    assert_eq!(messages(&bus, topology::EVENTS).await, sent);
    until("every node has the whole log", || async {
        let reader = Store::new(connect(&url).await, 10);
        counted(&reader).await == sent
    })
    .await;
    assert_eq!(messages(&bus, topology::DEAD_LETTERS).await, 0);
}
