//! One platform for all tests of this process: each test has tenants of its own in it. It lives in a
//! runtime of its own, since a test's runtime ends with the test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use nexus_budget::BudgetRole;
use nexus_bus::objects::Objects;
use nexus_bus::store::{Cause, ReadHint};
use nexus_bus::{Bus, BusConfig, Store, TopologyConfig, ensure, run_batch_role, run_role};
use nexus_devstack::testing::{TestNats, fresh_database};
use nexus_events::catalog::{Catalog, ModelInfo, Price};
use nexus_events::run::{Run, RunEvent, StartLimits};
use nexus_events::{AggregateId, CommandId, RunId, Tenant, subject};
use nexus_gateway::{Gateway, GatewayConfig};
use nexus_projections::{
    Projections, ProjectionsOptions, Projector, ProjectorMetrics, ProjectorOptions,
};
use nexus_run::RunRole;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What runs for all tests.
pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) nats: String,
    _nats: TestNats,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        send.send(runtime.block_on(start())).unwrap();
        runtime.block_on(std::future::pending::<()>());
    });
    receive.recv().unwrap()
});

async fn start() -> World {
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
        .await
        .unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let projections = projections(&fresh_database().await.unwrap()).await;
    let projector = Projector::new(
        &projections,
        bus.jetstream().clone(),
        ProjectorOptions::default(),
        ProjectorMetrics::default(),
    );
    let never = CancellationToken::new();
    tokio::spawn(projector.run(never.clone()));
    spawn_roles(&bus, never.clone());
    let config = GatewayConfig {
        body_limit_bytes: 64 * 1024,
        heartbeat_ms: 100,
        ..local_config()
    };
    let base = gateway(config, &bus, &projections, never).await;
    World {
        base,
        nats: nats.url(),
        _nats: nats,
    }
}

/// A configuration for a port of the system's choice.
pub(crate) fn local_config() -> GatewayConfig {
    GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..GatewayConfig::default()
    }
}

/// A gateway of its own; gives its address.
pub(crate) async fn gateway(
    config: GatewayConfig,
    bus: &Bus,
    projections: &Projections,
    shutdown: CancellationToken,
) -> String {
    let gateway = Gateway::bind(config).await.unwrap();
    let base = format!("http://{}", gateway.address());
    let store = Store::new(bus.clone(), 1000);
    let serving = gateway.serve(
        bus.clone(),
        store,
        projections.clone(),
        Arc::new(catalog()),
        shutdown,
    );
    tokio::spawn(async move { serving.await.unwrap() });
    base
}

pub(crate) async fn projections(url: &str) -> Projections {
    let projections = Projections::connect(url, ProjectionsOptions::default())
        .await
        .unwrap();
    projections.migrate().await.unwrap();
    projections
}

/// The run and budget roles.
pub(crate) fn spawn_roles(bus: &Bus, shutdown: CancellationToken) {
    let store = Store::new(bus.clone(), 1000);
    let catalog = Arc::new(catalog());
    let limits = StartLimits {
        input_bytes: 1024 * 1024,
    };
    let objects = Objects::new(bus.clone(), 1 << 20);
    let run = RunRole::new(store.clone(), objects, Arc::clone(&catalog), limits);
    tokio::spawn(run_role(
        bus.clone(),
        nexus_run::SPEC,
        run,
        shutdown.clone(),
    ));
    let budget = BudgetRole::new(store, catalog);
    tokio::spawn(run_batch_role(
        bus.clone(),
        nexus_budget::SPEC,
        budget,
        shutdown,
    ));
}

pub(crate) fn catalog() -> Catalog {
    let info = ModelInfo {
        provider: "test".to_owned(),
        others: vec![],
        context_tokens: 8_192,
        max_output_tokens: 1_024,
        price: Price::default(),
        tokenizer: None,
    };
    let names = ["large", "small"];
    Catalog {
        default_model: "small".to_owned(),
        agents: BTreeMap::new(),
        models: names
            .map(|name| (name.to_owned(), info.clone()))
            .into_iter()
            .collect(),
        ..Catalog::default()
    }
}

/// One caller: a tenant of its own.
pub(crate) struct Api {
    pub(crate) base: String,
    pub(crate) tenant: Tenant,
    pub(crate) client: Client,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.body["status"], self.status.as_u16());
        (self.status.as_u16(), self.body["code"].as_str().unwrap())
    }

    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.body
    }
}

impl Api {
    /// A tenant that no other test has.
    pub(crate) fn new() -> Self {
        Self::at(&WORLD.base)
    }

    /// The same at another gateway.
    pub(crate) fn at(base: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // A process may install one provider only; the second attempt changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tenant = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let client = Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Self {
            base: base.to_owned(),
            tenant: tenant.parse().unwrap(),
            client,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.client
            .request(method, url)
            .header("Nexus-Tenant", self.tenant.as_str())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Starts a run and gives its id and first sequence.
    pub(crate) async fn start(&self, input: &str) -> (RunId, u64) {
        let started = self
            .post("/v1/runs", &json!({ "input": input }))
            .await
            .ok(202);
        (
            started["run_id"].as_str().unwrap().parse().unwrap(),
            started["seq"].as_u64().unwrap(),
        )
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or("").to_owned();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    let body = response.text().await.unwrap();
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    Answer {
        status,
        headers,
        body,
    }
}

/// A connection of the test's own to the platform's bus.
pub(crate) async fn bus() -> Bus {
    Bus::connect(BusConfig::new(WORLD.nats.as_str(), "test"))
        .await
        .unwrap()
}

/// Appends a commit to a run, as a role does.
pub(crate) async fn record(bus: &Bus, tenant: &Tenant, run: RunId, events: Vec<RunEvent>) -> u64 {
    record_with(&Store::new(bus.clone(), 10), tenant, run, events).await
}

/// The same with a store that remembers the run.
pub(crate) async fn record_with(
    store: &Store,
    tenant: &Tenant,
    run: RunId,
    events: Vec<RunEvent>,
) -> u64 {
    let cause = Cause {
        command_id: CommandId::random(uuid::Uuid::now_v7()),
        correlation: Some(run),
        traceparent: None,
        actor: None,
        now: store.bus().now(),
        source: "test",
    };
    let decide = |_: &Run| Ok(events.clone());
    let (id, hint) = (AggregateId::from(run), ReadHint::UNKNOWN);
    store
        .execute::<Run, _>(tenant, &id, hint, &cause, decide)
        .await
        .unwrap()
        .seq
}

/// Sends a delta, as the model role does.
pub(crate) async fn delta(bus: &Bus, tenant: &Tenant, run: RunId, turn: u32, text: &str) {
    let body = json!({ "type": "text", "turn": turn, "text": text }).to_string();
    bus.client()
        .publish(subject::live_run(tenant, run), body.into())
        .await
        .unwrap();
}
