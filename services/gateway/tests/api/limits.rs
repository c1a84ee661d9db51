//! How often who may ask: over all gateways of an installation together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_bus::{Bus, BusConfig, TopologyConfig, ensure};
use nexus_devstack::testing::{TestNats, fresh_database};
use nexus_gateway::{GatewayConfig, LimitsConfig, Rates};
use nexus_projections::Projections;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use crate::world::{Answer, Api, answer, gateway, local_config, projections};

/// One bus, and as many gateways as a test wants.
struct Cluster {
    nats: TestNats,
    projections: Projections,
    tenant: Api,
}

impl Cluster {
    async fn start() -> Self {
        let nats = TestNats::start().await.unwrap();
        let bus = Bus::connect(BusConfig::new(nats.url(), "test")).await;
        ensure(&bus.unwrap(), &TopologyConfig::default())
            .await
            .unwrap();
        Self {
            nats,
            projections: projections(&fresh_database().await.unwrap()).await,
            tenant: Api::at(""),
        }
    }

    /// A gateway with a connection of its own, for the tenant that all of them serve.
    async fn gateway(&self, limits: LimitsConfig) -> Arc<Api> {
        let bus = Bus::connect(BusConfig::new(self.nats.url(), "test")).await;
        let config = GatewayConfig {
            limits,
            ..local_config()
        };
        let never = CancellationToken::new();
        let base = gateway(config, &bus.unwrap(), &self.projections, never).await;
        Arc::new(Api {
            base,
            tenant: self.tenant.tenant.clone(),
            client: self.tenant.client.clone(),
        })
    }
}

fn per_minute(user: Option<u32>, tenant: Option<u32>) -> LimitsConfig {
    let key = None;
    LimitsConfig {
        requests_per_minute: Rates { key, user, tenant },
        ..LimitsConfig::default()
    }
}

async fn ask(api: &Api, user: &str) -> Answer {
    let request = api.request(Method::GET, "/v1/runs");
    answer(request.header("Nexus-User", user)).await
}

#[tokio::test]
async fn two_gateways_and_many_clients_accept_exactly_the_limit() {
    let cluster = Cluster::start().await;
    let limits = per_minute(None, Some(100));
    let gateways = [
        cluster.gateway(limits.clone()).await,
        cluster.gateway(limits).await,
    ];
    let began = Instant::now();
    let clients = (0..32).map(|n: usize| {
        let api = Arc::clone(&gateways[n % 2]);
        tokio::spawn(async move {
            let mut accepted = 0;
            for _ in 0..20 {
                let answer = ask(&api, &format!("user{n}")).await;
                assert!(matches!(answer.status.as_u16(), 200 | 429), "{answer:?}");
                accepted += usize::from(answer.status == 200);
            }
            accepted
        })
    });
    let mut accepted: usize = join_all(clients)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert!(accepted <= 100, "{accepted}");
    // What one gateway had leased and did not use the other may have a moment later.
    while accepted < 100 && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        accepted += usize::from(ask(&gateways[0], "late").await.status == 200);
    }
    assert_eq!(accepted, 100);
    let refused = ask(&gateways[1], "late").await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=63).contains(&after), "{refused:?}");
    assert_eq!(refused.header("ratelimit-policy"), "\"tenant\";q=100;w=60");
    let standing = refused.header("ratelimit");
    assert!(standing.starts_with("\"tenant\";r=0;t="), "{standing}");

    // Another tenant has a limit of its own, and one that was raised holds at once where it was.
    let other = Api::at(&gateways[0].base);
    assert_eq!(ask(&other, "a").await.status, 200);
    let raised = cluster.gateway(per_minute(None, Some(103))).await;
    let more = join_all((0..6).map(|_| ask(&raised, "a"))).await;
    let accepted = more.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(accepted, 3);
}

#[tokio::test]
async fn a_user_that_asks_too_often_does_not_use_up_what_others_have() {
    let cluster = Cluster::start().await;
    let api = cluster.gateway(per_minute(Some(2), Some(4))).await;
    let first = ask(&api, "ada").await;
    let policy = "\"user\";q=2;w=60, \"tenant\";q=4;w=60";
    assert_eq!(first.header("ratelimit-policy"), policy);
    assert!(
        first.header("ratelimit").starts_with("\"user\";r=1;t="),
        "{first:?}"
    );
    assert_eq!(ask(&api, "ada").await.status, 200);
    for _ in 0..5 {
        assert_eq!(ask(&api, "ada").await.status, 429);
    }
    assert_eq!(ask(&api, "bob").await.status, 200);
    assert_eq!(ask(&api, "eve").await.status, 200);
    assert_eq!(
        ask(&api, "kim").await.status,
        429,
        "the tenant's is used up"
    );
    let chat = api.request(Method::POST, "/v1/chat/completions");
    let refused = answer(chat.json(&serde_json::json!({}))).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.body["error"]["type"], "rate_limit_error");
    assert!(!refused.header("retry-after").is_empty() && !refused.header("ratelimit").is_empty());
    // What nobody needs to be known for is not counted.
    assert_eq!(api.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn whoever_guesses_credentials_is_refused_before_they_are_looked_up() {
    let cluster = Cluster::start().await;
    let limits = LimitsConfig {
        failed_credentials_per_minute: 3,
        ..LimitsConfig::default()
    };
    let api = cluster.gateway(limits).await;
    let guess = |n: u32| {
        let key = format!("nxk_acme_{}_{n:048}", "0".repeat(32));
        let url = format!("{}/v1/runs", api.base);
        answer(api.client.get(url).bearer_auth(key))
    };
    for n in 0..3 {
        assert_eq!(guess(n).await.problem(), (401, "credentials_invalid"));
    }
    let refused = guess(4).await;
    assert_eq!(refused.problem(), (429, "too_many_attempts"));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(
        ask(&api, "ada").await.status,
        200,
        "who shows none is not concerned"
    );
}
