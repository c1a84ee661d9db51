//! The streams over WebSockets: the same records as server-sent events give, from wherever a reader
//! comes back, with the reason when it is over.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nexus_bus::Store;
use nexus_events::run::{RunCancelled, RunEvent, RunPaused, RunSignalled};
use nexus_gateway::{CorsConfig, GatewayConfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::outages::alone;
use crate::sse::Frame;
use crate::world::{Api, bus, delta, local_config, record, record_with, spawn_roles};

const PATIENCE: Duration = Duration::from_secs(30);

/// An open WebSocket.
pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

/// How a WebSocket ended: the code and the reason.
type End = (u16, String);

/// Opens one; what refuses it is its status and code.
pub(crate) async fn open(
    base: &str,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Socket, (u16, String)> {
    let url = format!("{}{path}", base.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    match tokio::time::timeout(PATIENCE, connect_async(request))
        .await
        .unwrap()
    {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let problem: Value = serde_json::from_slice(body).unwrap_or_default();
            let code = problem["code"].as_str().unwrap_or_default().to_owned();
            Err((response.status().as_u16(), code))
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

impl Socket {
    /// The next record, or how it ended; pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Result<Frame, End> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match next.unwrap() {
                Some(Ok(Message::Text(text))) => return Ok(frame(&text)),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err((close.code.into(), close.reason.to_string()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// All records until the end, and how it ended.
    async fn all(mut self) -> (Vec<Frame>, End) {
        let mut frames = vec![];
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(end) => return (frames, end),
            }
        }
    }
}

fn frame(text: &str) -> Frame {
    let message: Value = serde_json::from_str(text).unwrap();
    Frame {
        id: message["id"].as_str().map(str::to_owned),
        event: message["event"].as_str().unwrap().to_owned(),
        data: message["data"].clone(),
    }
}

impl Api {
    async fn socket(&self, path: &str) -> Result<Socket, (u16, String)> {
        open(&self.base, path, &[("nexus-tenant", self.tenant.as_str())]).await
    }
}

fn signalled(text: &str) -> RunEvent {
    RunSignalled {
        input: text.into(),
        tokens: None,
    }
    .into()
}

fn cancelled() -> RunEvent {
    RunCancelled { reason: None }.into()
}

fn over() -> End {
    (CloseCode::Normal.into(), "run_over".to_owned())
}

#[tokio::test]
async fn a_socket_tells_what_a_stream_tells_from_wherever_a_reader_comes_back() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    let path = format!("/v1/runs/{run}/events");
    let mut socket = api.socket(&path).await.unwrap();
    let mut told = vec![socket.next().await.unwrap()];
    delta(&bus, &api.tenant, run, 1, "tok\nen").await;
    let said = socket.next().await.unwrap();
    assert_eq!((said.event.as_str(), &said.id), ("delta", &None));
    assert_eq!(
        said.data,
        json!({ "type": "text", "turn": 1, "text": "tok\nen" })
    );
    let paused = RunPaused { reason: None }.into();
    record(&bus, &api.tenant, run, vec![paused, signalled("a")]).await;
    record(&bus, &api.tenant, run, vec![cancelled()]).await;
    let (rest, end) = socket.all().await;
    told.extend(rest);
    assert_eq!(end, over());
    let streamed = api.stream(run, None, "").await.unwrap().all().await;
    assert_eq!(told, streamed);
    for (index, frame) in told.iter().enumerate() {
        let after = frame.id.as_deref().unwrap();
        for name in ["after", "last_event_id"] {
            let socket = api.socket(&format!("{path}?{name}={after}")).await.unwrap();
            let found = socket.all().await;
            assert_eq!(
                found,
                (told[index + 1..].to_vec(), over()),
                "{name} {after}"
            );
        }
    }
    let only = format!("{path}?types=nexus.run.signalled.v1");
    let (only, _) = api.socket(&only).await.unwrap().all().await;
    assert_eq!(only, told[2..3]);
    let strange = format!("/v1/runs/{}/events", uuid::Uuid::now_v7());
    let refused = api.socket(&strange).await.err().unwrap();
    assert_eq!(refused, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn wide_streams_are_filtered_by_type_and_go_on_after_a_place() {
    let (api, bus) = (Api::new(), bus().await);
    let (run, _) = api.start("hello").await;
    for text in ["a", "b", "c"] {
        record(&bus, &api.tenant, run, vec![signalled(text)]).await;
    }
    for path in [
        "/v1/events".to_owned(),
        format!("/v1/sessions/{run}/events"),
    ] {
        let path = format!("{path}?types=nexus.run.signalled.v1");
        let mut socket = api.socket(&path).await.unwrap();
        let mut told = vec![];
        for _ in 0..3 {
            told.push(socket.next().await.unwrap());
        }
        let texts: Vec<_> = told
            .iter()
            .map(|frame| &frame.data["data"]["input"])
            .collect();
        assert_eq!(texts, ["a", "b", "c"], "{path}");
        let after = told[0].id.as_deref().unwrap();
        let mut socket = api.socket(&format!("{path}&after={after}")).await.unwrap();
        assert_eq!(socket.next().await.unwrap(), told[1]);
    }
}

#[tokio::test]
async fn silence_has_pings_and_nothing_is_read() {
    let api = Api::new();
    let (run, _) = api.start("hello").await;
    let path = format!("/v1/runs/{run}/events");
    let mut socket = api.socket(&path).await.unwrap();
    socket.next().await.unwrap();
    // More of them than may be unanswered.
    for _ in 0..5 {
        let next = tokio::time::timeout(PATIENCE, socket.0.next())
            .await
            .unwrap();
        let message = next.unwrap().unwrap();
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
    socket.0.send(Message::text("hello")).await.unwrap();
    let end = socket.next().await.err().unwrap();
    assert_eq!(
        end,
        (
            CloseCode::Unsupported.into(),
            "nothing_is_read_here".to_owned()
        )
    );
    let mut socket = api.socket(&path).await.unwrap();
    socket.next().await.unwrap();
    socket
        .0
        .send(Message::text("x".repeat(5_000)))
        .await
        .unwrap();
    let end = socket.next().await.err().unwrap();
    assert_eq!(
        end,
        (CloseCode::Protocol.into(), "not_understood".to_owned())
    );
}

#[tokio::test]
async fn pages_of_other_origins_may_not_listen() {
    let config = GatewayConfig {
        cors: CorsConfig {
            origins: vec!["https://app.example".to_owned()],
        },
        ..local_config()
    };
    let world = alone(config).await;
    let base = &world.api.base;
    let from = async |origin: &str| {
        let opened = open(base, "/v1/events", &[("origin", origin)]).await;
        opened.map(drop)
    };
    from("https://app.example").await.unwrap();
    from(base).await.unwrap();
    let refused = from("https://evil.example").await.unwrap_err();
    assert_eq!(refused, (403, "origin_refused".to_owned()));
    let protocol = [("sec-websocket-protocol", "bearer.x")];
    let refused = open(base, "/v1/events", &protocol).await.err().unwrap();
    assert_eq!(refused, (400, "invalid_upgrade".to_owned()));
}

#[tokio::test]
async fn a_socket_is_a_connection_as_long_as_it_is_open() {
    let world = alone(GatewayConfig {
        max_connections: 1,
        ..local_config()
    })
    .await;
    let another = async || open(&world.api.base, "/v1/events", &[]).await.map(drop);
    let socket = open(&world.api.base, "/v1/events", &[]).await.unwrap();
    assert_eq!(another().await.unwrap_err().0, 503, "one is the most");
    drop(socket);
    until(async || another().await.is_ok()).await;
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_and_waits_for_nobody() {
    let world = alone(local_config()).await;
    spawn_roles(&world.bus, world.stop.clone());
    let mut socket = world.api.socket("/v1/events").await.unwrap();
    world.api.start("hello").await;
    socket.next().await.unwrap();
    world.stop.cancel();
    let end = loop {
        if let Err(end) = socket.next().await {
            break end;
        }
    };
    assert_eq!(end, (CloseCode::Away.into(), "stopping".to_owned()));
}

/// Each with more than the buffers of both ends hold, and a reader that reads only then.
#[tokio::test]
async fn a_listener_that_stops_reading_is_dropped_and_the_reason_is_counted() {
    let config = GatewayConfig {
        stall_timeout_ms: 300,
        max_listeners: 1,
        ..local_config()
    };
    let world = alone(config).await;
    spawn_roles(&world.bus, world.stop.clone());
    let (api, store) = (&world.api, Store::new(world.bus.clone(), 10));
    let (run, _) = api.start("hello").await;
    let text = "x".repeat(60_000);
    for _ in 0..200 {
        record_with(&store, &api.tenant, run, vec![signalled(&text)]).await;
    }
    for path in ["/v1/events".to_owned(), format!("/v1/runs/{run}/events")] {
        for socket in [true, false] {
            let before = slow_readers(api).await;
            until_free(api).await;
            let (mut held, mut sse) = (None, None);
            match socket {
                true => held = Some(api.socket(&path).await.unwrap()),
                false => sse = Some(api.stream_at(&path, None).await.unwrap()),
            }
            let refused = api.socket("/v1/events").await.err().unwrap();
            assert_eq!(refused, (503, "too_many_listeners".to_owned()));
            until_free(api).await;
            until(async || slow_readers(api).await > before).await;
            drop((held.take(), sse.take()));
        }
    }
}

/// How many readers were dropped for being slow, in this process.
async fn slow_readers(api: &Api) -> u64 {
    let metrics = api.get("/metrics").await.body;
    let name = "nexus_gateway_event_streams_ended_total{reason=\"slow_reader\"} ";
    let mut lines = metrics.as_str().unwrap().lines();
    let count = lines.find_map(|line| line.strip_prefix(name));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Waits until somebody may listen, and nobody does.
async fn until_free(api: &Api) {
    let path = format!("/v1/runs/{}/events", uuid::Uuid::now_v7());
    // A place is taken before the run is looked for, and given back with the refusal.
    until(async || api.socket(&path).await.err().unwrap().0 == 404).await;
}

async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..2_400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to be");
}
