//! Tools on NATS: what a worker's answer, its silence or its absence become.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use nexus_bus::objects::Objects;
use nexus_bus::{
    Bus, BusConfig, Cause, CommandMeta, ReadHint, Store, TopologyConfig, ensure, process,
    publish_command, run_role,
};
use nexus_devstack::testing::TestNats;
use nexus_events::command::{CancelRun, ControlRun, ExecuteTool, RegisterTool, RunRef, StartRun};
use nexus_events::ledger::Amounts;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::run::{
    self, Entry, LlmCompleted, NewRun, PolicyDecided, PolicyPoint, ReservationGranted, Run,
    RunEvent, SessionLink, Step, ToolPhase,
};
use nexus_events::tool::ToolDefinition;
use nexus_events::tool::registry::{self, Tools};
use nexus_events::{Actor, AggregateId, Command, Position, RunId, Tenant, Timestamp};
use nexus_tools::builtin::files::Quota;
use nexus_tools::{SPEC, ToolsRole, ToolsSettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Stand {
    bus: Bus,
    store: Store,
    tenant: Tenant,
    _server: TestNats,
    _place: tempfile::TempDir,
}

/// A tool that gives up after a while, so that tests of silence are short.
fn tool(name: &str, idempotent: bool, timeout: &str) -> ToolDefinition {
    serde_json::from_value(json!({
        "name": name, "version": "1.0.0", "description": "A tool.", "category": "http",
        "kind": "nats", "idempotent": idempotent, "input_schema": { "type": "object" },
        "limits": { "timeout": timeout, "max_output_bytes": 1000 },
    }))
    .unwrap()
}

impl Stand {
    async fn start() -> Self {
        let server = TestNats::start().await.unwrap();
        let bus = Bus::connect(BusConfig::new(server.url(), "test"))
            .await
            .unwrap();
        ensure(&bus, &TopologyConfig::default()).await.unwrap();
        let store = Store::new(bus.clone(), 100);
        let objects = Objects::new(bus.clone(), 1 << 20);
        let place = tempfile::tempdir().unwrap();
        let settings = ToolsSettings::within(place.path(), Quota::default()).unwrap();
        let role = ToolsRole::new(store.clone(), objects, Arc::default(), settings);
        tokio::spawn(run_role(bus.clone(), SPEC, role, CancellationToken::new()));
        Self {
            bus,
            store,
            tenant: "acme".parse().unwrap(),
            _server: server,
            _place: place,
        }
    }

    async fn command(&self, id: &str, command: impl Into<Command>) {
        let meta = CommandMeta::new(id.parse().unwrap(), "test");
        let command = command.into();
        publish_command(&self.bus, &self.tenant, &command, &meta)
            .await
            .unwrap();
    }

    fn cause(&self, id: &str) -> Cause {
        Cause {
            command_id: id.parse().unwrap(),
            correlation: None,
            traceparent: None,
            actor: None,
            now: self.bus.now(),
            source: "test",
        }
    }

    async fn register(&self, tool: ToolDefinition) {
        let name = tool.name.clone();
        let id = format!("register-{name}");
        self.command(&id, RegisterTool { definition: tool }).await;
        let id = AggregateId::ONLY;
        self.until(async || {
            let tools = self.store.peek::<Tools>(&self.tenant, &id, Duration::ZERO);
            tools.await.unwrap().state.version(&name, "1.0.0").is_some()
        })
        .await;
    }

    /// Serves the tool: each call is handed to `answer`, which gives what is replied, if anything.
    async fn serve(
        &self,
        name: &str,
        answer: impl Fn(&Message) -> Option<String> + Send + 'static,
    ) {
        let client = self.bus.client().clone();
        let subject = format!("nexus.{}.tool.{name}", self.tenant);
        let mut calls = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                if let (Some(answer), Some(reply)) = (answer(&call), call.reply.clone()) {
                    client.publish(reply, answer.into()).await.unwrap();
                }
            }
        });
    }

    /// Begins a run whose model wants the tool, and lets it be called.
    async fn call(&self, tool: &ToolDefinition) -> RunRef {
        let run_id = RunId::derive(&[&tool.name]);
        let decide = |_: &Run| Ok(wanting(run_id, tool));
        let cause = self.cause(&format!("start-{}", tool.name));
        let (id, hint) = (run_id.into(), ReadHint::UNKNOWN);
        let done = self
            .store
            .execute::<Run, _>(&self.tenant, &id, hint, &cause, decide);
        let seq = done.await.unwrap().seq;
        let run = RunRef {
            run_id,
            first_seq: seq,
            last_seq: seq,
        };
        let execute = ExecuteTool {
            run,
            turn: 1,
            call_id: "a".to_owned(),
            round: 0,
        };
        self.command(&format!("execute-{}", tool.name), execute)
            .await;
        run
    }

    async fn run<T>(&self, run: RunRef, look: impl Fn(&Run) -> Option<T>) -> T {
        let (id, seen) = (run.run_id.into(), std::cell::RefCell::new(None));
        self.until(async || {
            let run = process::load_latest::<Run>(&self.store, &self.tenant, &id, run.first_seq);
            *seen.borrow_mut() = look(&run.await.unwrap().state);
            seen.borrow().is_some()
        })
        .await;
        seen.into_inner().unwrap()
    }

    /// What the model is told.
    async fn told(&self, run: RunRef) -> String {
        self.run(run, |run| match run.entries.last() {
            Some(Entry::Tool { text, .. }) => text.inline().map(str::to_owned),
            _ => None,
        })
        .await
    }

    async fn until(&self, holds: impl AsyncFn() -> bool) {
        let waits = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waits)
            .await
            .unwrap();
    }
}

fn wanting(run_id: RunId, tool: &ToolDefinition) -> Vec<RunEvent> {
    let mut tools = Tools::default();
    for event in registry::register(&tools, tool.clone()).unwrap() {
        nexus_events::Aggregate::evolve(&mut tools, &event, Position::default());
    }
    let named = vec![tool.name.clone()];
    let new = NewRun {
        given: None,
        run_id,
        pins: registry::pins(&named, &tools).unwrap(),
        command: StartRun {
            tools: Some(named),
            ..StartRun::default()
        },
        input: "go".into(),
        session: SessionLink {
            id: run_id.own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        parent: None,
        user: Actor::default(),
        trace_id: None,
        prompt_tokens: Some(1),
        queued: None,
    };
    let catalog = nexus_events::catalog::Catalog {
        default_model: "m".to_owned(),
        ..Default::default()
    };
    let mut events = run::start(&Run::default(), new, &catalog).unwrap();
    let (turn, call_id) = (1, "a".to_owned());
    let answer = LlmCompleted {
        turn,
        provider: "test".to_owned(),
        model: "m".to_owned(),
        text: "".into(),
        tool_calls: vec![ToolCall {
            id: call_id.clone(),
            name: tool.name.clone(),
            arguments: json!({ "room": "blue" }),
        }],
        finish: FinishReason::ToolCalls,
        usage: Usage::default(),
        cost_usd_micros: 0,
        duration_ms: 1,
        time_to_first_token_ms: None,
        attempts: 1,
        response_id: None,
        route: "test".to_owned(),
        routing: None,
        findings: vec![],
        cached: None,
    };
    let allowed = PolicyDecided {
        point: PolicyPoint::ToolCall { turn, call_id },
        allowed: true,
        ..PolicyDecided::default()
    };
    let granted = ReservationGranted {
        turn,
        call_id: Some("a".to_owned()),
        reservation_id: run::reservation_id(run_id, turn, Some("a"), 0),
        amounts: Amounts {
            time_ms: 60_000,
            tool_calls: 1,
            ..Amounts::default()
        },
        time_limited: false,
        max_output_tokens: 0,
        expires_at: Timestamp::from_millis(i64::from(u32::MAX) * 1_000),
        ledger_seq: 1,
    };
    events.extend([answer.into(), allowed.into(), granted.into()]);
    events
}

#[tokio::test]
async fn an_answer_is_a_result_or_an_error_and_anything_else_is_one_too() {
    let stand = Stand::start().await;
    let long = json!({ "output": "x".repeat(2_000) }).to_string();
    let cases = [
        (
            "good",
            json!({ "output": { "n": 1 } }).to_string(),
            r#"{"n":1}"#,
        ),
        ("bare", json!({ "output": null }).to_string(), "null"),
        (
            "refused",
            json!({ "error": { "code": "full", "message": "no room" } }).to_string(),
            "error: no room",
        ),
        (
            "nonsense",
            "<html>".to_owned(),
            "error: the tool's worker answered neither",
        ),
        (
            "long",
            long,
            "error: the tool gave 2013 bytes, of at most 1000",
        ),
    ];
    for (name, answer, told) in cases {
        let tool = tool(name, false, "20s");
        stand.register(tool.clone()).await;
        stand.serve(name, move |_| Some(answer.clone())).await;
        let run = stand.call(&tool).await;
        let heard = stand.told(run).await;
        assert!(heard.starts_with(told), "{name}: {heard}");
    }
}

#[tokio::test]
async fn a_worker_knows_the_call_and_nobody_there_is_told_in_time() {
    let stand = Stand::start().await;
    let echo = tool("echo", true, "20s");
    stand.register(echo.clone()).await;
    stand
        .serve("echo", |call| {
            let headers = call.headers.as_ref()?;
            let header = |name: &str| headers.get(name).map(|value| value.to_string());
            let arguments: Value = serde_json::from_slice(&call.payload).ok()?;
            let output = json!({
                "arguments": arguments,
                "key": header("idempotency-key"),
                "attempt": header("nexus-attempt"),
                "version": header("nexus-tool-version"),
                "deadline": header("nexus-deadline"),
                "reply": call.reply.as_ref()?.as_str(),
            });
            Some(json!({ "output": output }).to_string())
        })
        .await;
    let run = stand.call(&echo).await;
    let seen: Value = serde_json::from_str(&stand.told(run).await).unwrap();
    assert_eq!(seen["arguments"], json!({ "room": "blue" }));
    assert_eq!(seen["key"], run::idempotency_key(run.run_id, 1, "a"));
    assert_eq!(
        (&seen["attempt"], &seen["version"]),
        (&json!("1"), &json!("1.0.0"))
    );
    assert!(seen["deadline"].as_str().unwrap().ends_with('Z'));
    assert!(
        seen["reply"]
            .as_str()
            .unwrap()
            .starts_with("nexus.acme.reply.")
    );

    let nobody = tool("nobody", false, "300ms");
    stand.register(nobody.clone()).await;
    let run = stand.call(&nobody).await;
    assert_eq!(
        stand.told(run).await,
        "error: nobody serves the tool nobody now"
    );
}

#[tokio::test]
async fn silence_is_a_doubt_or_an_error_by_what_twice_would_mean() {
    let stand = Stand::start().await;
    let (safe, careful) = (tool("safe", true, "400ms"), tool("careful", false, "400ms"));
    for tool in [&safe, &careful] {
        stand.register(tool.clone()).await;
        stand.serve(&tool.name, |_| None).await;
    }
    let (safe, careful) = (stand.call(&safe).await, stand.call(&careful).await);
    assert!(
        stand
            .told(safe)
            .await
            .starts_with("error: no answer within")
    );
    let in_doubt = |run: &Run| match &run.step {
        Step::Tools { calls, .. } => (calls[0].phase == ToolPhase::InDoubt).then_some(()),
        _ => None,
    };
    stand.run(careful, in_doubt).await;
}

#[tokio::test]
async fn a_worker_hears_that_nobody_waits_any_more() {
    let stand = Stand::start().await;
    let slow = tool("slow", false, "60s");
    stand.register(slow.clone()).await;
    let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
    stand
        .serve("slow", move |_| {
            called.send(()).unwrap();
            None
        })
        .await;
    let client = stand.bus.client();
    let mut cancelled = client
        .subscribe("nexus.acme.tool.slow.cancel")
        .await
        .unwrap();
    client.flush().await.unwrap();
    let run = stand.call(&slow).await;
    calls.recv().await.unwrap();
    // Nobody takes commands of runs here: the run is ended by hand.
    let cancel = CancelRun(ControlRun {
        run_id: run.run_id,
        reason: None,
    });
    let cause = self::Stand::cause(&stand, "cancel");
    let (id, hint) = (cancel.0.run_id.into(), ReadHint::UNKNOWN);
    let ends = |run: &Run| run::cancel(run, None);
    drop(
        stand
            .store
            .execute::<Run, _>(&stand.tenant, &id, hint, &cause, ends)
            .await
            .unwrap(),
    );
    let heard = tokio::time::timeout(Duration::from_secs(30), cancelled.next());
    let heard = heard.await.unwrap().unwrap();
    assert_eq!(
        heard.headers.unwrap().get("nexus-call").unwrap().as_str(),
        "a"
    );
}
