//! What a tool gives is on the log with its tokens, as the run's model counts them.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::objects::Objects;
use nexus_bus::store::{Cause, ReadHint};
use nexus_bus::{
    Bus, BusConfig, CommandMeta, Store, TopologyConfig, ensure, process, publish_command, run_role,
};
use nexus_devstack::testing::TestNats;
use nexus_events::catalog::{Catalog, ModelInfo, Price, Tokenizer};
use nexus_events::command::{ExecuteTool, RunRef, StartRun};
use nexus_events::ledger::Amounts;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::run::{
    self, Entry, LlmCompleted, NewRun, PolicyDecided, PolicyPoint, ReservationGranted, Run,
    RunEvent, SessionLink,
};
use nexus_events::{Actor, Command, RunId, Tenant, Timestamp};
use nexus_tools::builtin::files::Quota;
use nexus_tools::{SPEC, ToolsRole, ToolsSettings};
use tokio_util::sync::CancellationToken;

const MODEL: &str = "counted";

fn catalog() -> Catalog {
    let model = ModelInfo {
        provider: "test".to_owned(),
        others: vec![],
        context_tokens: 128_000,
        max_output_tokens: 1_000,
        price: Price::default(),
        tokenizer: Some(Tokenizer::O200kBase),
    };
    Catalog {
        default_model: MODEL.to_owned(),
        models: [(MODEL.to_owned(), model)].into(),
        ..Catalog::default()
    }
}

/// A run whose model wants `6 * 7`, which policy allows.
fn wanting(run_id: RunId) -> Vec<RunEvent> {
    let new = NewRun {
        given: None,
        run_id,
        command: StartRun::default(),
        input: "six times seven?".into(),
        pins: Default::default(),
        session: SessionLink {
            id: run_id.own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        parent: None,
        user: Actor::default(),
        trace_id: None,
        prompt_tokens: Some(200),
        queued: None,
    };
    let mut events = run::start(&Run::default(), new, &catalog()).unwrap();
    let (turn, call_id) = (1, "a".to_owned());
    let answer = LlmCompleted {
        turn,
        provider: "test".to_owned(),
        model: MODEL.to_owned(),
        text: "".into(),
        tool_calls: vec![ToolCall {
            id: call_id.clone(),
            name: "calculator".to_owned(),
            arguments: serde_json::json!({ "expression": "6 * 7" }),
        }],
        finish: FinishReason::ToolCalls,
        usage: Usage {
            input_tokens: 100,
            output_tokens: 20,
            ..Usage::default()
        },
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
        reasons: vec![],
        rules: vec![],
        bundle: "builtin".to_owned(),
        duration_us: 1,
        error: None,
        approval: None,
        obligations: Default::default(),
        void: None,
        shadow: None,
        budget_left: None,
    };
    let granted = ReservationGranted {
        turn,
        call_id: Some("a".to_owned()),
        reservation_id: run::reservation_id(run_id, turn, Some("a"), 0),
        amounts: Amounts::default(),
        time_limited: false,
        max_output_tokens: 0,
        expires_at: Timestamp::from_millis(i64::from(u32::MAX) * 1_000),
        ledger_seq: 1,
    };
    events.extend([answer.into(), allowed.into(), granted.into()]);
    events
}

#[tokio::test]
async fn a_result_is_recorded_with_its_tokens() {
    let server = TestNats::start().await.unwrap();
    let config = BusConfig::new(server.url(), "test");
    let bus = Bus::connect(config).await.unwrap();
    ensure(&bus, &TopologyConfig::default()).await.unwrap();
    let store = Store::new(bus.clone(), 100);
    let place = tempfile::tempdir().unwrap();
    let settings = ToolsSettings::within(place.path(), Quota::default()).unwrap();
    let role = ToolsRole::new(
        store.clone(),
        Objects::new(bus.clone(), 1 << 20),
        Arc::new(catalog()),
        settings,
    );
    tokio::spawn(run_role(bus.clone(), SPEC, role, CancellationToken::new()));

    let tenant: Tenant = "acme".parse().unwrap();
    let run_id = RunId::derive(&["run"]);
    let cause = Cause {
        command_id: "start".parse().unwrap(),
        correlation: Some(run_id),
        traceparent: None,
        actor: None,
        now: bus.now(),
        source: "test",
    };
    let (id, hint) = (run_id.into(), ReadHint::UNKNOWN);
    let decide = |_: &Run| Ok(wanting(run_id));
    let done = store.execute::<Run, _>(&tenant, &id, hint, &cause, decide);
    let seq = done.await.unwrap().seq;
    let run = RunRef {
        run_id,
        first_seq: seq,
        last_seq: seq,
    };
    let command = Command::ExecuteTool(ExecuteTool {
        run,
        turn: 1,
        call_id: "a".to_owned(),
        round: 0,
    });
    let meta = CommandMeta::new("execute".parse().unwrap(), "test");
    publish_command(&bus, &tenant, &command, &meta)
        .await
        .unwrap();

    let told = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let run = process::load_latest::<Run>(&store, &tenant, &id, seq);
            let run = run.await.unwrap();
            if let Some(Entry::Tool { text, .. }) = run.state.entries.last() {
                return (
                    text.inline().unwrap().to_owned(),
                    run.state.context_tokens(),
                );
            }
            drop(run);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (text, context_tokens) = told.await.unwrap();
    let tokens = nexus_tokens::count(Tokenizer::O200kBase, &text);
    assert!(tokens < text.len() as u64, "{text}");
    let marks_of_two_messages = 32;
    assert_eq!(context_tokens, 120 + marks_of_two_messages + tokens);
}
