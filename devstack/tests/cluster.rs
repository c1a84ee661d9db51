//! Three real nats-servers that are one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nexus_devstack::testing::TestCluster;
use nexus_devstack::{NatsServer, Network};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One request at one node, and the line that answers it; none within three seconds.
async fn ask(node: &NatsServer, subject: &str, body: &str) -> Option<String> {
    let asked = async {
        let address = node.url().trim_start_matches("nats://").to_owned();
        let stream = TcpStream::connect(address).await.ok()?;
        let mut stream = BufReader::new(stream);
        let length = body.len();
        let sent = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{body}\r\n"
        );
        stream.write_all(sent.as_bytes()).await.ok()?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line.starts_with('{') {
                return Some(line);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3), asked)
        .await
        .ok()?
}

/// Asks until the answer has this in it, at most half a minute.
async fn until(node: &NatsServer, subject: &str, body: &str, expected: &str) {
    let mut last = None;
    let asked = async {
        loop {
            last = ask(node, subject, body).await;
            if last.as_ref().is_some_and(|it| it.contains(expected)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), asked).await;
    assert!(in_time.is_ok(), "{subject} was last answered with {last:?}");
}

const STREAM: &str = r#"{"name":"KEPT","subjects":["kept.>"],"storage":"file","num_replicas":3}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_done_without_and_finds_back() {
    let mut test = TestCluster::start().await.unwrap();
    let nodes = test.nats.nodes();
    until(
        &nodes[0],
        "$JS.API.STREAM.CREATE.KEPT",
        STREAM,
        "\"created\"",
    )
    .await;
    until(&nodes[0], "kept.a", "one", "\"seq\":").await;
    test.nats.node(1).unwrap().kill().await;
    until(&test.nats.nodes()[2], "kept.a", "two", "\"seq\":").await;
    test.nats.node(1).unwrap().restart().await.unwrap();
    let whole = "\"name\":\"nats-1\",\"current\":true";
    let leader = "\"leader\":\"nats-1\"";
    let info = "$JS.API.STREAM.INFO.KEPT";
    let mut found = String::new();
    for _ in 0..300 {
        found = ask(&test.nats.nodes()[1], info, "")
            .await
            .unwrap_or_default();
        if found.contains(whole) || found.contains(leader) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(found, whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_takes_no_writes_until_it_is_back() {
    if !Network::is_possible() {
        println!("skipped: network namespaces want root and the program `ip`");
        return;
    }
    let test = TestCluster::start().await.unwrap();
    let (nodes, network) = (test.nats.nodes(), test.nats.network().unwrap());
    until(
        &nodes[0],
        "$JS.API.STREAM.CREATE.KEPT",
        STREAM,
        "\"created\"",
    )
    .await;
    network.cut(0, 1).unwrap();
    network.cut(0, 2).unwrap();
    until(&nodes[1], "kept.a", "one", "\"seq\":").await;
    // It is there and still cannot say that anything is kept.
    let address = SocketAddr::new(IpAddr::V4(network.address(0)), 4222);
    TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&nodes[0], "kept.a", "lost").await, None);
    network.heal().unwrap();
    until(&nodes[0], "kept.a", "two", "\"seq\":").await;
}
