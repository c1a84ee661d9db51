//! Three nodes, where the test cannot start them itself: `NEXUS_TEST_CLUSTER` names their
//! addresses, and whoever runs it kills leaders meanwhile.

use std::time::{Duration, Instant};

use nexus_bus::{Bus, BusConfig, Store, TopologyConfig, ensure, topology};

use crate::restart::{Counting, count_one, counted};
use crate::support::messages;
use crate::worker::{Running, SPEC, until_empty};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants a cluster of three nodes"]
async fn a_cluster_that_loses_its_leader_loses_and_doubles_nothing() {
    let url = std::env::var("NEXUS_TEST_CLUSTER").expect("addresses of three nodes");
    let connect = || {
        let mut config = BusConfig::new(&url, "test");
        config.replicas = 3;
        Bus::connect(config)
    };
    let bus = connect().await.unwrap();
    let config = TopologyConfig {
        replicas: 3,
        ..TopologyConfig::default()
    };
    ensure(&bus, &config).await.unwrap();
    let roles = [
        Running::start(&bus, SPEC, Counting(Store::new(bus.clone(), 10))),
        Running::start(
            &connect().await.unwrap(),
            SPEC,
            Counting(Store::new(bus.clone(), 10)),
        ),
    ];
    let started = Instant::now();
    let mut sent = 0;
    let mut longest = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(30) {
        let began = Instant::now();
        count_one(&bus, sent).await;
        longest = longest.max(began.elapsed());
        sent += 1;
    }
    println!("{sent} commands, the longest took {longest:?}");
    until_empty(&bus).await;
    for role in roles {
        role.stop().await;
    }
    assert_eq!(
        counted(&Store::new(connect().await.unwrap(), 10)).await,
        sent
    );
    assert_eq!(messages(&bus, topology::DEAD_LETTERS).await, 0);
}
