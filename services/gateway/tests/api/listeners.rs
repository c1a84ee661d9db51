//! What idle listeners cost. Not run by default: it wants 20,000 file descriptors.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use nexus_gateway::GatewayConfig;

use crate::outages::alone;
use crate::world::{Api, local_config, spawn_roles};

const LISTENERS: usize = 9_000;
const RUNS: usize = 200;

/// Memory of this process, in kilobytes.
fn resident_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn listen(api: &Api, run: nexus_events::RunId) -> TcpStream {
    let address = api.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nNexus-Tenant: {}\r\n\
         Accept: text/event-stream\r\n\r\n",
        api.tenant
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
#[ignore = "wants 20,000 file descriptors"]
async fn idle_listeners_are_cheap() {
    let config = GatewayConfig {
        // All of them are of one address.
        max_connections_per_address: LISTENERS + 100,
        ..local_config()
    };
    let world = alone(config).await;
    spawn_roles(&world.bus, world.stop.clone());
    let api = &world.api;
    let mut runs = vec![];
    for _ in 0..RUNS {
        runs.push(api.start("hello").await.0);
    }
    let before = resident_kb();
    let mut open = Vec::with_capacity(LISTENERS);
    for n in 0..LISTENERS / 100 {
        let batch = (0..100).map(|m| listen(api, runs[(n * 100 + m) % RUNS]));
        open.extend(futures_util::future::join_all(batch).await);
    }
    let each = (resident_kb() - before) as f64 / open.len() as f64;
    println!("{} listeners, {each:.1} kB each, both ends", open.len());
    assert!(each < 32.0, "{each} kB each");
}
