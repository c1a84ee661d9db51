//! A bus, workers of the policy role that share nothing but it, and runs that are brought to the
//! steps where policy is asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nexus_bus::objects::Objects;
use nexus_bus::{
    Bus, BusConfig, Cause, CommandMeta, ReadHint, RoleSpec, Store, TopologyConfig, ensure,
    publish_command, read, run_role, topology,
};
use nexus_devstack::testing::TestNats;
use nexus_events::catalog::{Catalog, ModelInfo, Price};
use nexus_events::command::{Budget, EvaluatePolicy, PublishBundle, RunRef, StartRun};
use nexus_events::ledger::Amounts;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::run::{
    self, LlmCompleted, NewRun, PolicyDecided, ReservationGranted, Run, RunEvent, SessionLink,
};
use nexus_events::{
    Actor, AggregateId, AggregateKind, Command, CommandId, Commit, RunId, Tenant, subject,
};
use nexus_policy::{PolicyRole, SPEC};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stand {
    server: TestNats,
    pub(crate) bus: Bus,
    store: Store,
    workers: Vec<JoinHandle<()>>,
}

/// A decision with the commit that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) seq: u64,
    pub(crate) time_ms: i64,
    pub(crate) decided: PolicyDecided,
}

impl Stand {
    /// With so many workers.
    pub(crate) async fn new(workers: usize) -> Self {
        let server = TestNats::start().await.expect("nats-server starts");
        let bus = Bus::connect(BusConfig::new(server.url(), "test"))
            .await
            .unwrap();
        ensure(&bus, &TopologyConfig::default()).await.unwrap();
        let mut stand = Self {
            server,
            store: Store::new(bus.clone(), 10_000),
            bus,
            workers: vec![],
        };
        for _ in 0..workers {
            stand.start_worker().await;
        }
        stand
    }

    pub(crate) async fn start_worker(&mut self) {
        let bus = Bus::connect(BusConfig::new(self.server.url(), "worker"))
            .await
            .unwrap();
        let store = Store::new(bus.clone(), 10_000);
        let objects = Objects::new(bus.clone(), 64 << 20);
        let role = PolicyRole::new(store, objects, Arc::new(catalog()));
        let spec = RoleSpec {
            ack_wait: Duration::from_secs(1),
            ..SPEC
        };
        let work = run_role(bus, spec, role, CancellationToken::new());
        self.workers.push(tokio::spawn(work));
    }

    /// As kill -9 would: what it is doing is not finished.
    pub(crate) fn kill_worker(&mut self) {
        self.workers.remove(0).abort();
    }

    /// Sends a command and gives what it is answered.
    pub(crate) async fn ask(&self, tenant: &Tenant, command: impl Into<Command>) -> Value {
        let inbox = self.bus.client().new_inbox();
        let mut answers = self.bus.client().subscribe(inbox.clone()).await.unwrap();
        let mut meta = CommandMeta::new(CommandId::random(Uuid::now_v7()), "test");
        meta.reply_to = Some(inbox);
        publish_command(&self.bus, tenant, &command.into(), &meta)
            .await
            .unwrap();
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
        serde_json::from_slice(&answer.expect("an answer").unwrap().payload).unwrap()
    }

    /// Publishes a bundle of one module; gives its digest.
    pub(crate) async fn publish(&self, tenant: &Tenant, text: &str, activate: bool) -> String {
        let bundle = PublishBundle {
            modules: [("policy.rego".to_owned(), text.to_owned())].into(),
            data: serde_json::Map::new(),
            activate,
        };
        let answer = self.ask(tenant, bundle).await;
        answer["digest"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// Appends to a run as another role would.
    async fn append(&self, tenant: &Tenant, run_id: RunId, events: Vec<RunEvent>) -> RunRef {
        let cause = Cause {
            command_id: CommandId::random(Uuid::now_v7()),
            correlation: Some(run_id),
            traceparent: None,
            actor: None,
            now: self.bus.now(),
            source: "test",
        };
        let id = AggregateId::from(run_id);
        let decide = |_: &Run| Ok(events.clone());
        let done = self
            .store
            .execute::<Run, _>(tenant, &id, ReadHint::UNKNOWN, &cause, decide)
            .await
            .unwrap();
        RunRef {
            run_id,
            first_seq: done.guard.first_seq,
            last_seq: done.seq,
        }
    }

    /// A run begins, and policy is asked.
    pub(crate) async fn start(&self, tenant: &Tenant, user: &str) -> RunId {
        let run_id = RunId::new(Uuid::now_v7());
        let budget = Budget {
            tokens: Some(5_000),
            ..Budget::default()
        };
        let new = NewRun {
            given: None,
            run_id,
            command: StartRun {
                input: "hello".to_owned(),
                ..StartRun::default()
            },
            input: "hello".into(),
            pins: Default::default(),
            session: SessionLink {
                id: run_id.own_session(),
                previous: None,
                budget: Some(budget),
                policy_context: None,
            },
            parent: None,
            user: Actor {
                user: user.to_owned(),
                roles: vec!["user".to_owned()],
                ..Actor::default()
            },
            prompt_tokens: None,
            queued: None,
            trace_id: None,
        };
        let events = run::start(&Run::default(), new, &catalog()).unwrap();
        let reference = self.append(tenant, run_id, events).await;
        self.evaluate(tenant, reference).await;
        run_id
    }

    /// The model of an admitted run asks for these tools, and policy is asked.
    pub(crate) async fn call_tools(&self, tenant: &Tenant, run_id: RunId, tools: &[&str]) {
        let granted = ReservationGranted {
            turn: 1,
            call_id: None,
            reservation_id: run::reservation_id(run_id, 1, None, 0),
            amounts: Amounts::default(),
            time_limited: false,
            max_output_tokens: 100,
            expires_at: self.bus.now().plus_millis(900_000),
            ledger_seq: 1,
        };
        let call = |name: &&str| ToolCall {
            id: format!("call_{name}"),
            name: (*name).to_owned(),
            arguments: json!({ "x": 1 }),
        };
        let completed = LlmCompleted {
            turn: 1,
            provider: "local".to_owned(),
            model: "small".to_owned(),
            text: "".into(),
            tool_calls: tools.iter().map(call).collect(),
            finish: FinishReason::ToolCalls,
            usage: Usage::default(),
            cost_usd_micros: 0,
            duration_ms: 1,
            time_to_first_token_ms: None,
            attempts: 1,
            response_id: None,
            route: "only".to_owned(),
            routing: None,
            findings: vec![],
            cached: None,
        };
        let events = vec![granted.into(), completed.into()];
        let reference = self.append(tenant, run_id, events).await;
        self.evaluate(tenant, reference).await;
    }

    async fn evaluate(&self, tenant: &Tenant, run: RunRef) {
        let meta = CommandMeta::new(CommandId::random(Uuid::now_v7()), "test");
        let command = EvaluatePolicy { run }.into();
        publish_command(&self.bus, tenant, &command, &meta)
            .await
            .unwrap();
    }

    /// All commits of a run.
    pub(crate) async fn log(&self, tenant: &Tenant, run_id: RunId) -> Vec<(u64, Commit<RunEvent>)> {
        let id = AggregateId::from(run_id);
        let log = subject::events(tenant, AggregateKind::Run, &id);
        let page = read::read_from(&self.bus, topology::EVENTS, &log, 1, read::PAGE).await;
        let read = |stored: &nexus_bus::Stored| {
            (
                stored.seq,
                Commit::<RunEvent>::decode(&stored.body).unwrap(),
            )
        };
        page.unwrap().messages.iter().map(read).collect()
    }

    /// The decisions of a run, as soon as there are so many.
    pub(crate) async fn decisions(
        &self,
        tenant: &Tenant,
        run_id: RunId,
        count: usize,
    ) -> Vec<Seen> {
        let mut seen = vec![];
        let waited = tokio::time::timeout(PATIENCE, async {
            while seen.len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
                seen = self.decided(tenant, run_id).await;
            }
        });
        assert!(waited.await.is_ok(), "{count} decisions of {run_id}");
        seen
    }

    async fn decided(&self, tenant: &Tenant, run_id: RunId) -> Vec<Seen> {
        let mut seen = vec![];
        for (seq, commit) in self.log(tenant, run_id).await {
            let time_ms = commit.time.as_millis();
            seen.extend(commit.events.into_iter().filter_map(|event| match event {
                RunEvent::PolicyDecided(decided) => Some(Seen {
                    seq,
                    time_ms,
                    decided,
                }),
                _ => None,
            }));
        }
        seen
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

fn catalog() -> Catalog {
    let small = ModelInfo {
        provider: "local".into(),
        others: vec![],
        context_tokens: 8_000,
        max_output_tokens: 1_000,
        price: Price::default(),
        tokenizer: None,
    };
    Catalog {
        default_model: "small".into(),
        models: [("small".to_owned(), small)].into(),
        ..Catalog::default()
    }
}
