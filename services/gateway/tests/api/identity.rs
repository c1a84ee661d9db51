//! Who may call: keys, tokens, the root key, and what each route demands of whoever shows one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use nexus_bus::objects::Objects;
use nexus_bus::{Bus, BusConfig, Store, TopologyConfig, ensure, run_role};
use nexus_devstack::testing::{TestNats, fresh_database};
use nexus_gateway::{GatewayConfig, IssuerConfig, Secret};
use nexus_policy::PolicyRole;
use nexus_projections::{Projections, Projector, ProjectorMetrics, ProjectorOptions};
use nexus_webhooks::{WebhooksConfig, WebhooksRole};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::sockets;
use crate::world::{Answer, answer, catalog, gateway, local_config, projections, spawn_roles};

const ROOT: &str = "root-key-of-a-test-that-is-long-enough";
const AUDIENCE: &str = "nexus";
/// An Ed25519 key of this test alone, as PKCS #8 and as the public half of a JWK.
const SIGNING_KEY: &str = "302e020100300506032b6570042204200fc03779fddbf7e54bd4f0f00602ada5eee10ed1de10d5c3b62344196dc86462";
const PUBLIC_KEY: &str = "sxEx90ix3YxedZaugG1x02dmlZhMeU80R2kWmbPSpsI";

/// A gateway that asks for credentials, with the roles behind it.
struct Closed {
    base: String,
    client: Client,
    issuer: String,
    bus: Bus,
    projections: Projections,
    config: GatewayConfig,
    _nats: TestNats,
}

async fn closed() -> Closed {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let issuer = issuer().await;
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
        .await
        .unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let projections = projections(&fresh_database().await.unwrap()).await;
    let never = CancellationToken::new();
    let (options, metrics) = (ProjectorOptions::default(), ProjectorMetrics::default());
    let js = bus.jetstream().clone();
    let projector = Projector::new(&projections, js, options, metrics);
    tokio::spawn(projector.run(never.clone()));
    spawn_roles(&bus, never.clone());
    let objects = Objects::new(bus.clone(), 1 << 20);
    let store = Store::new(bus.clone(), 1000);
    let policy = PolicyRole::new(store, objects, Arc::new(catalog()));
    let spec = nexus_policy::SPEC;
    tokio::spawn(run_role(bus.clone(), spec, policy, never.clone()));
    let settings = WebhooksConfig::default().settings(None).unwrap();
    let webhooks = WebhooksRole::new(Store::new(bus.clone(), 10), settings);
    let spec = nexus_webhooks::SPEC;
    tokio::spawn(run_role(bus.clone(), spec, webhooks, never.clone()));
    let config = GatewayConfig {
        require_credentials: true,
        root_key: Some(Secret::new(ROOT.to_owned())),
        issuers: vec![IssuerConfig {
            issuer: issuer.clone(),
            audience: AUDIENCE.to_owned(),
            jwks_url: None,
            tenant: None,
            tenant_claim: "org.name".to_owned(),
            user_claim: "sub".to_owned(),
            roles_claim: "roles".to_owned(),
            groups_claim: "groups".to_owned(),
        }],
        ..local_config()
    };
    let base = gateway(config.clone(), &bus, &projections, never).await;
    Closed {
        bus,
        projections,
        config,
        base,
        client: Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap(),
        issuer,
        _nats: nats,
    }
}

/// An OpenID provider: its discovery document and its keys.
async fn issuer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
    let keys = json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one", "x": PUBLIC_KEY,
    }] });
    let router = axum::Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(|| async { axum::Json(document) }),
        )
        .route("/keys", get(|| async { axum::Json(keys) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    issuer
}

impl Closed {
    /// The address of another gateway of the same installation.
    async fn another(&self) -> String {
        let never = CancellationToken::new();
        gateway(self.config.clone(), &self.bus, &self.projections, never).await
    }

    fn request(&self, method: Method, path: &str, credential: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match credential {
            "" => request,
            credential => request.bearer_auth(credential),
        }
    }

    async fn get(&self, path: &str, credential: &str) -> Answer {
        answer(self.request(Method::GET, path, credential)).await
    }

    async fn post(&self, path: &str, credential: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path, credential).json(body)).await
    }

    /// A key for a tenant, made with the root key.
    async fn key(&self, tenant: &str, user: &str, roles: &[&str]) -> Value {
        let request = self.request(Method::POST, "/v1/keys", ROOT);
        let body = json!({ "name": "test", "user": user, "roles": roles });
        let request = request.header("nexus-tenant", tenant).json(&body);
        answer(request).await.ok(201)
    }

    fn token(&self, change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "iss": self.issuer, "aud": AUDIENCE, "exp": now.as_secs() + 300, "sub": "ada",
            "org": { "name": "globex" }, "roles": ["user", "boss"], "groups": "research staff",
        });
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("one".to_owned());
        change(&mut header, &mut claims);
        let key = match header.alg {
            Algorithm::HS256 => EncodingKey::from_secret(PUBLIC_KEY.as_bytes()),
            _ => EncodingKey::from_ed_der(&hex::decode(SIGNING_KEY).unwrap()),
        };
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[tokio::test]
async fn a_key_says_who_calls_and_nothing_else_does() {
    let closed = closed().await;
    let made = closed.key("acme", "robot", &["user"]).await;
    let key = text(&made, "key");
    let run = closed
        .post("/v1/runs", key, &json!({ "input": "hello" }))
        .await
        .ok(202);
    let path = format!("/v1/runs/{}?wait=5s", text(&run, "run_id"));
    let run = closed.get(&path, key).await.body;
    assert_eq!(run["user_id"], "robot", "{run}");
    // As Anthropic's clients send it.
    let request = closed.request(Method::GET, "/v1/runs", "");
    answer(request.header("x-api-key", key)).await.ok(200);
    for header in ["nexus-tenant", "nexus-user", "nexus-roles", "nexus-groups"] {
        let request = closed.request(Method::GET, "/v1/runs", key);
        let refused = answer(request.header(header, "other")).await;
        assert_eq!(refused.problem(), (403, "identity_refused"));
    }
    let other = closed.key("globex", "eve", &["admin"]).await;
    let seen = closed.get(&path, text(&other, "key")).await;
    assert_eq!(seen.problem(), (404, "not_found"), "another tenant's");
}

/// Holds so many tokens with a key, at the gateway of this address.
async fn hold(closed: &Closed, base: &str, key: &str, tokens: u64) -> Answer {
    let body = json!({
        "amounts": { "tokens": tokens }, "model": "elsewhere", "hold_seconds": 60
    });
    let request = closed.client.post(format!("{base}/v1/reservations"));
    answer(request.bearer_auth(key).json(&body)).await
}

#[tokio::test]
async fn limits_of_a_key_hold_over_all_gateways_and_for_that_key_alone() {
    let closed = closed().await;
    let (one, other) = (closed.base.clone(), closed.another().await);
    let make = |body: Value| {
        let request = closed.request(Method::POST, "/v1/keys", ROOT);
        answer(request.header("nexus-tenant", "acme").json(&body))
    };
    let limited = json!({
        "name": "ci", "user": "robot", "roles": ["admin"],
        "requests_per_minute": 500, "tokens_per_minute": 100, "runs": 1
    });
    let made = make(limited).await.ok(201);
    let key = text(&made, "key");
    let free = make(json!({ "name": "free", "user": "robot", "roles": ["user"] })).await;
    let free = free.ok(201);
    let held = hold(&closed, &one, key, 60).await;
    assert!(held.status.is_success(), "{held:?}");
    let refused = hold(&closed, &other, key, 60).await;
    assert_eq!(refused.body["code"], "budget_exhausted", "{refused:?}");
    assert!(
        refused.body.to_string().contains(text(&made, "key_id")),
        "{refused:?}"
    );
    assert!(hold(&closed, &other, key, 40).await.status.is_success());
    // Another key of the same user has nothing to do with it.
    let held = hold(&closed, &one, text(&free, "key"), 1_000).await;
    assert!(held.status.is_success(), "{held:?}");

    let list = format!("/v1/keys?min_seq={}", free["seq"]);
    let listed = closed.get(&list, key).await.ok(200);
    let find = |id: &Value| {
        let items = listed["items"].as_array().unwrap();
        items.iter().find(|item| item["id"] == *id).unwrap().clone()
    };
    let row = find(&made["key_id"]);
    let limits =
        ["requests_per_minute", "tokens_per_minute", "runs"].map(|field| row[field].as_u64());
    assert_eq!(limits, [Some(500), Some(100), Some(1)], "{row}");
    let row = find(&free["key_id"]);
    assert!(
        row["tokens_per_minute"].is_null() && row["runs"].is_null(),
        "{row}"
    );

    // What a run may be in flight is the ledger's, too: the run begins with the key that it counts in.
    let run = json!({ "input": "hello" });
    let started = closed.post("/v1/runs", key, &run).await.ok(202);
    let events = format!("/v1/runs/{}/events", text(&started, "run_id"));
    let events = closed.get(&events, key).await.ok(200);
    assert!(
        events.to_string().contains(text(&made, "key_id")),
        "{events}"
    );
}

#[tokio::test]
async fn what_is_no_credential_is_refused_and_recorded() {
    let closed = closed().await;
    let made = closed.key("acme", "robot", &[]).await;
    let key = text(&made, "key");
    let forged = key.replace("_acme_", "_globex_");
    let mut cut = key.to_owned();
    cut.pop();
    let unsigned = closed
        .token(|_, _| ())
        .rsplit_once('.')
        .unwrap()
        .0
        .to_owned()
        + ".";
    for bad in [
        &forged,
        &cut,
        "nxk_",
        "Bearer",
        "sk-1234",
        ROOT.trim_end_matches('h'),
        &unsigned,
    ] {
        let refused = closed.get("/v1/runs", bad).await;
        assert_eq!(refused.problem(), (401, "credentials_invalid"), "{bad}");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        assert!(!refused.body.to_string().contains(bad), "{refused:?}");
    }
    let nobody = closed.get("/v1/runs", "").await;
    assert_eq!(nobody.problem(), (401, "credentials_required"));
    for open in ["/healthz", "/readyz", "/openapi.json", "/docs", "/"] {
        assert_ne!(closed.get(open, "").await.status, 401, "{open}");
    }
    // Whoever is refused before anybody knows them is in the installation's audit log.
    let mut found = Value::Null;
    for _ in 0..200 {
        let request = closed.request(Method::GET, "/v1/audit?action=access.denied", ROOT);
        let request = request.header("nexus-tenant", "nexus-installation");
        found = answer(request).await.ok(200);
        if found["items"]
            .as_array()
            .is_some_and(|items| items.len() >= 8)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let entry = &found["items"][0];
    assert_eq!(entry["action"], "access.denied", "{found}");
    assert!(!found.to_string().contains(key.rsplit('_').next().unwrap()));
}

#[tokio::test]
async fn keys_are_rotated_and_revoked() {
    let closed = closed().await;
    let admin = closed.key("acme", "root", &["admin"]).await;
    let admin = text(&admin, "key");
    let body = json!({ "name": "ci", "user": "robot", "groups": ["builders"] });
    let made = closed.post("/v1/keys", admin, &body).await.ok(201);
    let (id, first) = (text(&made, "key_id"), text(&made, "key"));
    closed.get("/v1/runs", first).await.ok(200);
    let rotate = format!("/v1/keys/{id}/rotate");
    let grace = json!({ "grace_ms": 3_600_000 });
    let rotated = closed.post(&rotate, admin, &grace).await.ok(200);
    let second = text(&rotated, "key");
    assert_ne!(first, second);
    accepted(&closed, second, true).await;
    closed.get("/v1/runs", first).await.ok(200);
    let third = closed.post(&rotate, admin, &json!({})).await.ok(200);
    let third = text(&third, "key");
    accepted(&closed, third, true).await;
    accepted(&closed, second, false).await;
    let revoke = format!("/v1/keys/{id}/revoke");
    let why = json!({ "reason": "leaked" });
    let revoked = closed.post(&revoke, admin, &why).await.ok(200);
    accepted(&closed, third, false).await;
    let again = closed.post(&revoke, admin, &why).await;
    assert_eq!(again.problem(), (404, "not_found"));
    let list = format!("/v1/keys?min_seq={}", revoked["seq"]);
    let list = closed.get(&list, admin).await.ok(200);
    let items = list["items"].as_array().unwrap();
    let row = items.iter().find(|row| row["id"] == id).unwrap();
    assert_eq!(
        (&row["status"], &row["groups"]),
        (&json!("revoked"), &json!(["builders"]))
    );
    for secret in [first, second, third, admin] {
        let secret = secret.rsplit('_').next().unwrap();
        assert!(!list.to_string().contains(secret), "{list}");
    }
    let bad = json!({ "name": "ci", "roles": ["a,b"] });
    let refused = closed.post("/v1/keys", admin, &bad).await;
    assert_eq!(refused.problem().0, 422, "{refused:?}");
}

/// What became of a key is known everywhere within a second.
async fn accepted(closed: &Closed, key: &str, wanted: bool) {
    for _ in 0..200 {
        if (closed.get("/v1/runs", key).await.status == 200) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the key's fate is not known: {wanted}");
}

#[tokio::test]
async fn a_token_of_an_issuer_says_who_calls() {
    let closed = closed().await;
    let token = closed.token(|_, _| ());
    let run = closed
        .post("/v1/runs", &token, &json!({ "input": "hello" }))
        .await
        .ok(202);
    let path = format!("/v1/runs/{}?wait=5s", text(&run, "run_id"));
    assert_eq!(closed.get(&path, &token).await.body["user_id"], "ada");
    let globex = closed.key("globex", "eve", &["viewer"]).await;
    let seen = closed.get(&path, text(&globex, "key")).await;
    assert_eq!(seen.body["user_id"], "ada", "the tenant of the claim");

    let refused = |token: String| {
        let closed = &closed;
        async move {
            let answer = closed.get("/v1/runs", &token).await;
            (answer.status.as_u16(), answer.body["code"].clone())
        }
    };
    let invalid = (401, json!("credentials_invalid"));
    let expired = closed.token(|_, claims| claims["exp"] = json!(1_000_000_000));
    let early = closed.token(|_, claims| claims["nbf"] = json!(4_000_000_000_u64));
    let other = closed.token(|_, claims| claims["aud"] = json!("another"));
    let foreign = closed.token(|_, claims| claims["iss"] = json!("http://evil.example"));
    let endless = closed.token(|_, claims| _ = claims.as_object_mut().unwrap().remove("exp"));
    // Signed with the public key as if it were a secret.
    let confused = closed.token(|header, _| header.alg = Algorithm::HS256);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let swapped = closed.token(|_, claims| claims["sub"] = json!("root"));
    let swapped = swapped
        .rsplit_once('.')
        .unwrap()
        .0
        .split_once('.')
        .unwrap()
        .1;
    let swapped = format!("{header}.{swapped}.{signature}");
    for bad in [expired, early, other, foreign, endless, confused, swapped] {
        assert_eq!(refused(bad).await, invalid);
    }
    let stranger = closed.token(|header, _| header.kid = Some("two".to_owned()));
    assert_eq!(
        refused(stranger).await,
        invalid,
        "a key that the issuer has not"
    );
    for claim in ["sub", "org"] {
        let without = closed.token(|_, claims| claims[claim] = Value::Null);
        assert_eq!(refused(without).await, (403, json!("claim_missing")));
    }
    let upstairs = closed.token(|_, claims| claims["org"]["name"] = json!("nexus-installation"));
    assert_eq!(refused(upstairs).await, (403, json!("claim_missing")));
}

/// What each operation demands. A route that is not here fails the test.
fn table() -> BTreeMap<&'static str, &'static str> {
    let rows = [
        ("public", "health ready openapi docs index"),
        (
            "read",
            "listRuns getRun listEvents listSessions getSession streamSessionEvents listMessages listSessionRuns \
             listBudgets listBudgetAlerts getTenantBudget getBudget listReservations getReservation \
             getSpend listApprovals getApproval listPolicies evaluatePolicy explainPolicy \
             backtestPolicy listTools getTool getToolVersion listToolCalls listAgents listModels getModel getResponse",
        ),
        (
            "use",
            "startRun createChatCompletion createEmbeddings createMessage mcp createResponse cancelResponse cancelRun pauseRun resumeRun signalRun openSession closeSession holdBudget \
             releaseBudget approve deny resolveToolCall invokeTool",
        ),
        ("audit", "listAudit exportAudit streamEvents"),
        (
            "manage",
            "setTenantBudget setBudget grantBudget refuseBudget publishPolicy activatePolicy \
             rollBackPolicy shadowPolicy registerTool importTools deprecateTool removeTool createKey listKeys rotateKey revokeKey createWebhook listWebhooks getWebhook updateWebhook deleteWebhook \
             rotateWebhook enableWebhook disableWebhook redeliverWebhook testWebhook listDeliveries",
        ),
        ("operate", "metrics"),
    ];
    let row = |(demand, names): (&'static str, &'static str)| {
        names.split_whitespace().map(move |name| (name, demand))
    };
    rows.into_iter().flat_map(row).collect()
}

#[tokio::test]
async fn a_page_shows_its_credential_among_the_protocols_of_a_socket() {
    let closed = closed().await;
    let made = closed.key("acme", "ada", &["auditor"]).await;
    let key = text(&made, "key");
    let path = "/v1/events";
    let offer = format!("nexus.v1, bearer.{key}");
    let offered = [("sec-websocket-protocol", offer.as_str())];
    sockets::open(&closed.base, path, &offered).await.unwrap();
    let named = format!("Bearer {key}");
    let header = [("authorization", named.as_str())];
    sockets::open(&closed.base, path, &header).await.unwrap();
    let strange = format!("nexus.v1, bearer.{}", key.replace("nxk_", "nxk_a"));
    for (offer, code) in [
        ("nexus.v1", "credentials_required"),
        (&strange, "credentials_invalid"),
    ] {
        let offered = [("sec-websocket-protocol", offer)];
        let refused = sockets::open(&closed.base, path, &offered)
            .await
            .err()
            .unwrap();
        assert_eq!(refused, (401, code.to_owned()));
    }
    // Where no WebSocket is asked for it is no credential.
    let request = closed.request(Method::GET, "/v1/runs", "");
    let request = request.header("sec-websocket-protocol", &offer);
    assert_eq!(
        answer(request).await.problem(),
        (401, "credentials_required")
    );
}

#[tokio::test]
async fn every_route_demands_what_it_should_of_every_role() {
    let closed = closed().await;
    let mut keys = vec![("", String::new()), ("root", ROOT.to_owned())];
    for role in ["viewer", "user", "auditor", "admin"] {
        let made = closed.key("acme", role, &[role]).await;
        keys.push((role, text(&made, "key").to_owned()));
    }
    let table = table();
    let document = nexus_gateway::openapi();
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = text(operation, "operationId");
            let demand = table
                .get(name)
                .unwrap_or_else(|| panic!("{name} has no row"));
            seen += 1;
            let id = "00000000-0000-7000-8000-000000000000";
            let path = path
                .replace("{scope}/{id}", "user/somebody")
                .replace("{scope}", "tenant")
                .replace("{digest}", "builtin");
            let path: Vec<&str> = (path.split('/'))
                .map(|part| if part.starts_with('{') { id } else { part })
                .collect();
            let method: Method = method.to_uppercase().parse().unwrap();
            for (role, key) in &keys {
                let mut request = closed.request(method.clone(), &path.join("/"), key);
                if method != Method::GET {
                    request = request.json(&json!({ "strange": 1 }));
                }
                let answer = answer(request).await;
                let may = match *demand {
                    "public" => true,
                    _ if *role == "root" => true,
                    "operate" => false,
                    "read" => !role.is_empty(),
                    "use" => matches!(*role, "user" | "admin"),
                    "audit" => matches!(*role, "auditor" | "admin"),
                    _ => *role == "admin",
                };
                let status = answer.status.as_u16();
                let expected = if role.is_empty() { 401 } else { 403 };
                match may {
                    true => assert!(!matches!(status, 401 | 403), "{name} {role}: {answer:?}"),
                    false => assert_eq!(status, expected, "{name} {role}: {answer:?}"),
                }
            }
        }
    }
    assert_eq!(seen, table.len(), "rows of routes that are gone");
}
