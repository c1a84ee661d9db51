//! What carries requests, with sockets of the tests' own: bounds, HTTP/2, HTTPS, pages of other
//! origins, compression.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, BusConfig, TopologyConfig, ensure};
use nexus_devstack::testing::TestNats;
use nexus_gateway::{CorsConfig, GatewayConfig, TlsConfig};
use nexus_projections::{Projections, ProjectionsOptions};
use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::world::{Api, answer, gateway, local_config};

/// A gateway whose database is not there: none of these tests asks it.
struct Bare {
    api: Api,
    stop: CancellationToken,
    _nats: TestNats,
}

async fn bare(config: GatewayConfig) -> Bare {
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
        .await
        .unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let options = ProjectionsOptions::default();
    let projections = Projections::open(nowhere, options).unwrap();
    let stop = CancellationToken::new();
    let base = gateway(config, &bus, &projections, stop.clone()).await;
    Bare {
        api: Api::at(&base),
        stop,
        _nats: nats,
    }
}

impl Bare {
    fn address(&self) -> &str {
        self.api.base.strip_prefix("http://").unwrap()
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }
}

/// Sends bytes, then reads until the other side closes.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Vec<u8> {
    // Whoever closed already has said why.
    let _ = stream.write_all(bytes).await;
    let mut said = vec![];
    let all = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
    let _ = all.unwrap();
    said
}

async fn text(stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    String::from_utf8_lossy(&talk(stream, bytes.as_bytes()).await).into_owned()
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn who_sends_no_head_in_time_is_cut_and_who_sends_it_slowly_too() {
    let world = bare(GatewayConfig {
        head_timeout_ms: 300,
        ..local_config()
    })
    .await;
    assert_eq!(text(world.socket().await, "").await, "");
    let mut slow = world.socket().await;
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaa" {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(text(slow, "").await, "");
    let quick = text(world.socket().await, HEALTH).await;
    assert!(quick.starts_with("HTTP/1.1 200 OK"), "{quick}");
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_with_408() {
    let world = bare(GatewayConfig {
        body_timeout_ms: 200,
        ..local_config()
    })
    .await;
    let request = "POST /v1/runs?wait=10m HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"input\":";
    let mut stream = world.socket().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
}

#[tokio::test]
async fn bodies_have_room_together_and_what_is_more_is_told_to_come_again() {
    let world = bare(GatewayConfig {
        body_limit_bytes: 4_096,
        body_memory_bytes: 8_192,
        ..local_config()
    })
    .await;
    let begun = "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 4096\r\n\r\n{";
    let mut open = vec![];
    for _ in 0..2 {
        let mut stream = world.socket().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        open.push(stream);
    }
    // Whether the two have been begun cannot be seen but by this.
    let refused = loop {
        let small = world.api.request(Method::POST, "/v1/reservations");
        let asked = answer(small.json(&serde_json::json!({ "x": 1 }))).await;
        if asked.status == StatusCode::SERVICE_UNAVAILABLE {
            break asked;
        }
        assert_eq!(asked.status, 400, "{asked:?}");
    };
    assert_eq!(refused.problem(), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    drop(open);
    loop {
        let small = world.api.request(Method::POST, "/v1/reservations");
        let asked = answer(small.json(&serde_json::json!({ "x": 1 }))).await;
        if asked.status == 400 {
            break;
        }
    }
}

#[tokio::test]
async fn too_many_connections_of_an_address_are_told_so() {
    let world = bare(GatewayConfig {
        max_connections_per_address: 2,
        ..local_config()
    })
    .await;
    // They count from when they are accepted, which the answer to a request shows.
    let mut kept = vec![];
    for _ in 0..2 {
        let mut stream = world.socket().await;
        let request = HEALTH.replace("Connection: close\r\n", "");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        kept.push(stream);
    }
    let refused = text(world.socket().await, HEALTH).await;
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "overloaded");
    let length = format!("content-length: {}", refused.len() - head.len() - 4);
    assert!(head.contains(&length), "{head}");
    drop(kept);
    loop {
        let again = text(world.socket().await, HEALTH).await;
        if again.starts_with("HTTP/1.1 200 OK") {
            break;
        }
    }
}

/// One frame: its type and its payload.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], payload)
}

/// Asks for `/` over HTTP/2 by a host; gives the first byte of the answer's header block, which is
/// the status as HPACK's table has it.
async fn http2(world: &Bare, host: &str) -> u8 {
    const HEADERS: u8 = 1;
    let mut stream = world.socket().await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut block = vec![0x82, 0x86, 0x84, 0x01, u8::try_from(host.len()).unwrap()];
    block.extend(host.as_bytes());
    let length = u8::try_from(block.len()).unwrap();
    stream
        .write_all(&[0, 0, length, HEADERS, 5, 0, 0, 0, 1])
        .await
        .unwrap();
    stream.write_all(&block).await.unwrap();
    loop {
        let (kind, payload) = frame(&mut stream).await;
        if kind == HEADERS {
            return payload[0];
        }
    }
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_address_and_its_host_is_checked() {
    const STATUS_200: u8 = 0x88;
    let world = bare(local_config()).await;
    assert_eq!(http2(&world, "localhost").await, STATUS_200);
    assert_ne!(http2(&world, "evil.example").await, STATUS_200);
}

#[tokio::test]
async fn pages_of_named_origins_may_call_and_others_may_not() {
    let origins = vec!["https://app.example".to_owned()];
    let world = bare(GatewayConfig {
        cors: CorsConfig { origins },
        ..local_config()
    })
    .await;
    let preflight = |origin: &'static str| {
        let request = world.api.request(Method::OPTIONS, "/v1/runs");
        answer(
            request
                .header("Origin", origin)
                .header("Access-Control-Request-Method", "POST")
                .header(
                    "Access-Control-Request-Headers",
                    "content-type,authorization",
                ),
        )
    };
    let allowed = preflight("https://app.example").await;
    assert_eq!(allowed.status, 200);
    let origin = "access-control-allow-origin";
    assert_eq!(allowed.header(origin), "https://app.example");
    assert!(
        allowed
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    assert_eq!(allowed.header("access-control-allow-credentials"), "");
    assert_eq!(preflight("https://evil.example").await.header(origin), "");
    let post = |origin: &'static str| {
        let request = world.api.request(Method::POST, "/v1/reservations");
        let request = request.header("Origin", origin);
        answer(request.json(&serde_json::json!({ "x": 1 })))
    };
    assert_eq!(post("https://app.example").await.status, 400);
    assert_eq!(
        post("https://evil.example").await.problem(),
        (403, "origin_refused")
    );

    let closed = bare(local_config()).await;
    let request = closed.api.request(Method::GET, "/healthz");
    let plain = answer(request.header("Origin", "https://app.example")).await;
    assert_eq!(plain.header(origin), "", "off by default");
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_takes_that_and_short_ones_are_not() {
    let world = bare(local_config()).await;
    let get = async |path: &str, takes: &str| {
        let request = world.api.request(Method::GET, path);
        answer(request.header("Accept-Encoding", takes)).await
    };
    let plain = get("/openapi.json", "identity").await;
    assert_eq!(plain.header("content-encoding"), "");
    for encoding in ["gzip", "br", "zstd"] {
        let small = get("/openapi.json", encoding).await;
        assert_eq!(small.header("content-encoding"), encoding);
        assert_eq!(small.header("vary"), "accept-encoding");
    }
    assert_eq!(get("/healthz", "gzip").await.header("content-encoding"), "");
}

fn file(name: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.join("tests/api/tls").join(name)
}

/// Connects, believing one certificate.
async fn handshake(
    world: &Bare,
    believed: &str,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file(believed)).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, world.socket().await).await
}

#[tokio::test]
async fn https_offers_both_protocols_and_shows_a_renewed_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = std::env::temp_dir().join(format!("nexus-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let put = |name: &str| {
        std::fs::copy(file(&format!("{name}.pem")), &cert).unwrap();
        std::fs::copy(file(&format!("{name}.key")), &key).unwrap();
    };
    put("one");
    let world = bare(GatewayConfig {
        tls: Some(TlsConfig {
            cert: cert.clone(),
            key: key.clone(),
        }),
        ..local_config()
    })
    .await;
    let stream = handshake(&world, "one.pem", b"http/1.1").await.unwrap();
    let said = text(stream, HEALTH).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    let stream = handshake(&world, "one.pem", b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert!(
        !text(world.socket().await, HEALTH)
            .await
            .starts_with("HTTP/1.1 200")
    );

    put("two");
    let mut renewed = false;
    for _ in 0..200 {
        renewed = handshake(&world, "two.pem", b"h2").await.is_ok();
        if renewed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(renewed, "the new certificate is never shown");
    // What cannot be used changes nothing.
    std::fs::write(&key, "nonsense").unwrap();
    assert!(handshake(&world, "two.pem", b"h2").await.is_ok());
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn a_gateway_says_that_it_will_stop_before_it_does() {
    let world = bare(GatewayConfig {
        drain_notice_ms: 6_000,
        ..local_config()
    })
    .await;
    world.stop.cancel();
    let unready = world.api.get("/readyz").await.ok(503);
    let checks = unready["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["name"] == "gateway"),
        "{unready}"
    );
    world.api.get("/healthz").await.ok(200);
    while TcpStream::connect(world.address()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
