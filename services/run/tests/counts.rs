//! What is said to a run is on its log with its tokens, where its models have a tokenizer.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::objects::Objects;
use nexus_bus::store::ReadHint;
use nexus_bus::{
    Bus, BusConfig, CommandMeta, Store, TopologyConfig, ensure, process, publish_command, run_role,
};
use nexus_devstack::testing::TestNats;
use nexus_events::catalog::{Catalog, ModelInfo, Price, Tokenizer};
use nexus_events::command::{SignalRun, StartRun};
use nexus_events::run::{Run, RunStarted, StartLimits};
use nexus_events::{Body, Command, RunId, Tenant};
use nexus_run::{RunRole, SPEC};
use nexus_tokens::count;
use tokio_util::sync::CancellationToken;

const COUNTED: &str = "counted";
const UNKNOWN: &str = "unknown";
/// A model without a tokenizer whose provider adds to a prompt with tools.
const TELLS_OF_TOOLS: &str = "tells-of-tools";
const OVERHEAD: u64 = 600;

/// A server and the role on it; both end with the test.
struct Stand {
    bus: Bus,
    store: Store,
    tenant: Tenant,
    _server: TestNats,
}

impl Stand {
    async fn new() -> Self {
        let server = TestNats::start().await.unwrap();
        let config = BusConfig::new(server.url(), "test");
        let bus = Bus::connect(config).await.unwrap();
        ensure(&bus, &TopologyConfig::default()).await.unwrap();
        let store = Store::new(bus.clone(), 100);
        let objects = Objects::new(bus.clone(), 1 << 20);
        let limits = StartLimits {
            input_bytes: 1 << 20,
        };
        let role = RunRole::new(store.clone(), objects, Arc::new(catalog()), limits);
        tokio::spawn(run_role(bus.clone(), SPEC, role, CancellationToken::new()));
        Self {
            bus,
            store,
            tenant: "acme".parse().unwrap(),
            _server: server,
        }
    }

    async fn send(&self, id: &str, command: Command) {
        let meta = CommandMeta::new(id.parse().unwrap(), "test");
        publish_command(&self.bus, &self.tenant, &command, &meta)
            .await
            .unwrap();
    }

    /// What of the run is looked for, once it is there.
    async fn find<T>(&self, run_id: RunId, look: impl Fn(&Run) -> Option<T>) -> T {
        let found = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let id = run_id.into();
                let run = process::load_latest::<Run>(&self.store, &self.tenant, &id, 0);
                if let Some(found) = look(&run.await.unwrap().state) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        found.await.unwrap()
    }

    async fn started(&self, model: &str, input: &str) -> RunStarted {
        let run_id = RunId::derive(&[model, input]);
        let start = StartRun {
            run_id: Some(run_id),
            model: Some(model.to_owned()),
            input: input.to_owned(),
            ..StartRun::default()
        };
        self.send(&run_id.to_string(), Command::StartRun(start))
            .await;
        self.find(run_id, |run| run.info().cloned()).await
    }
}

fn catalog() -> Catalog {
    let model = |tokenizer| ModelInfo {
        provider: "test".to_owned(),
        others: vec![],
        context_tokens: 128_000,
        max_output_tokens: 1_000,
        price: Price::default(),
        tokenizer,
    };
    let models = [
        (COUNTED.to_owned(), model(Some(Tokenizer::O200kBase))),
        (UNKNOWN.to_owned(), model(None)),
        (TELLS_OF_TOOLS.to_owned(), model(None)),
    ];
    Catalog {
        default_model: COUNTED.to_owned(),
        models: models.into(),
        tool_overhead_tokens: [(TELLS_OF_TOOLS.to_owned(), OVERHEAD)].into(),
        ..Catalog::default()
    }
}

#[tokio::test]
async fn what_is_said_to_a_run_is_recorded_with_its_tokens() {
    let stand = Stand::new().await;
    let hello = stand.started(COUNTED, "hello").await;
    let short = hello.prompt_tokens.unwrap();
    assert!((100..300).contains(&short), "{short}");

    let text = "Twelve angry men, and one who is not. ".repeat(5_400);
    let long = stand.started(COUNTED, &text).await;
    assert!(matches!(
        long.input,
        Body::Stored {
            bytes: 200_000..,
            ..
        }
    ));
    let words = count(Tokenizer::O200kBase, &text);
    assert_eq!(long.prompt_tokens, Some(short - 1 + words));
    assert!(words < 70_000, "{words}");

    let signal = |text: &str| SignalRun {
        run_id: hello.run_id,
        input: text.to_owned(),
    };
    stand
        .send("signal-1", Command::SignalRun(signal("tiktoken is great!")))
        .await;
    let heard = stand.find(hello.run_id, |run| run.signals.first().cloned());
    assert_eq!(heard.await.tokens, Some(6));
}

#[tokio::test]
async fn what_a_provider_tells_of_tools_by_itself_is_reserved() {
    let stand = Stand::new().await;
    let run_id = |n| RunId::derive(&["tools", n]);
    let start = |n, tools: &[&str]| StartRun {
        run_id: Some(run_id(n)),
        model: Some(TELLS_OF_TOOLS.to_owned()),
        input: "hello".to_owned(),
        tools: Some(tools.iter().map(|tool| (*tool).to_owned()).collect()),
        ..StartRun::default()
    };
    let without = Command::StartRun(start("without", &[]));
    stand.send("without", without).await;
    let with = Command::StartRun(start("with", &["calculator"]));
    stand.send("with", with).await;
    let context = |n| stand.find(run_id(n), |run| run.info().map(|_| run.context_tokens()));
    let (without, with) = (context("without").await, context("with").await);
    assert!(with > without + OVERHEAD, "{with} and {without}");
    let started = stand.find(run_id("with"), |run| run.info().cloned()).await;
    assert_eq!(started.prompt_tokens, Some(with));
}

#[tokio::test]
async fn without_a_tokenizer_nothing_is_counted() {
    let stand = Stand::new().await;
    let started = stand.started(UNKNOWN, "hello").await;
    assert_eq!(started.prompt_tokens, None);
    let signal = SignalRun {
        run_id: started.run_id,
        input: "hello".to_owned(),
    };
    stand.send("signal-1", Command::SignalRun(signal)).await;
    let heard = stand.find(started.run_id, |run| run.signals.first().cloned());
    assert_eq!(heard.await.tokens, None);
    let id = started.run_id.into();
    let run = stand
        .store
        .load::<Run>(&stand.tenant, &id, ReadHint::UNKNOWN);
    assert!(run.await.unwrap().state.context_tokens() > 900, "bytes");
}
