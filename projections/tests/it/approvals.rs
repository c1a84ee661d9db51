//! Questions to people as the tables show them, after each step of the log.

use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::policy::ApprovalRequirement;
use nexus_events::run::{
    AgentRef, ApprovalDenied, ApprovalEscalated, ApprovalGranted, ApprovalRequested, LlmCompleted,
    PolicyDecided, PolicyPoint, RunCancelled, RunEvent, RunStarted, SessionLink,
    ToolArgumentsChanged,
};
use nexus_events::{AggregateKind, ApprovalId, RunId, Tenant, Timestamp, subject};
use nexus_projections::query::{
    ApprovalFilter, ApprovalStatus, PageRequest, RunStatus, ToolCallRow, Waits,
};
use serde_json::json;

use crate::stack::Stack;
use crate::world::{actor, message};

fn run_id() -> RunId {
    RunId::derive(&["asked"])
}

fn question(name: &str) -> ApprovalId {
    ApprovalId::derive(&[name])
}

fn point(call: &str) -> PolicyPoint {
    PolicyPoint::ToolCall {
        turn: 1,
        call_id: call.into(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_353_377_328)
}

fn judged(point: PolicyPoint, allowed: bool) -> PolicyDecided {
    PolicyDecided {
        point,
        allowed,
        reasons: vec!["so".into()],
        rules: vec![],
        bundle: "sha256:1".into(),
        duration_us: 1,
        ..PolicyDecided::default()
    }
}

/// People are asked about a call.
fn asks(call: &str, name: &str, void: Option<ApprovalId>) -> Vec<RunEvent> {
    let decided = PolicyDecided {
        approval: Some(ApprovalRequirement::default()),
        void,
        ..judged(point(call), false)
    };
    let asked = ApprovalRequested {
        approval_id: question(name),
        point: point(call),
        tool: Some("calculator".into()),
        arguments: Some(json!({ "expression": "6*7" })),
        subject: "sha256:2".into(),
        bundle: "sha256:1".into(),
        reasons: vec!["so".into()],
        requester: "ada".into(),
        roles: vec!["admin".into()],
        count: 2,
        expires_at: now().plus_millis(60_000),
        escalate_at: None,
        escalate_to: vec!["chief".into()],
    };
    vec![decided.into(), asked.into()]
}

fn granted(name: &str, by: &str, missing: u32) -> RunEvent {
    ApprovalGranted {
        approval_id: question(name),
        approver: by.into(),
        reason: Some("fine".into()),
        missing,
    }
    .into()
}

fn begun() -> Vec<RunEvent> {
    let started = RunStarted {
        given: None,
        invoke: None,
        run_id: run_id(),
        session: SessionLink {
            id: run_id().own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        user: actor("ada"),
        agent: AgentRef {
            name: "default".into(),
            version: "1".into(),
        },
        model: "m".into(),
        tools: vec![],
        pins: Default::default(),
        input: "hello".into(),
        budget: None,
        parent: None,
        prompt_tokens: None,
        queued: None,
        max_turns: 4,
        metadata: Default::default(),
        trace_id: None,
    };
    let call = |id: &str| ToolCall {
        id: id.into(),
        name: "calculator".into(),
        arguments: json!({ "expression": "6*7" }),
    };
    let answer = LlmCompleted {
        turn: 1,
        provider: "p".into(),
        model: "m".into(),
        text: "".into(),
        tool_calls: vec![call("a"), call("b")],
        finish: FinishReason::ToolCalls,
        usage: Usage::default(),
        cost_usd_micros: 0,
        duration_ms: 1,
        time_to_first_token_ms: None,
        attempts: 1,
        response_id: None,
        route: "r".into(),
        routing: None,
        findings: vec![],
        cached: None,
    };
    let start = judged(PolicyPoint::RunStart, true);
    vec![started.into(), start.into(), answer.into()]
}

struct Log<'a> {
    stack: &'a Stack,
    tenant: Tenant,
    number: u64,
}

impl Log<'_> {
    async fn add(&mut self, events: Vec<RunEvent>) {
        self.number += 1;
        let subject = subject::events(&self.tenant, AggregateKind::Run, &run_id().into());
        let message = message(&subject, self.number, now(), events, None);
        let seq = self.stack.publish(&[message]).await;
        self.stack.applied(seq).await;
    }

    async fn status(&self) -> (RunStatus, Vec<ApprovalId>) {
        let db = &self.stack.projections;
        let run = db.run(&self.tenant, run_id()).await.unwrap().unwrap();
        let asked = run.waiting_for.iter().filter_map(|waits| match waits {
            Waits::Approval(waits) => Some(waits.approval_id),
            Waits::Budget(_) | Waits::Word(_) => None,
        });
        (run.status, asked.collect())
    }

    async fn call(&self, id: &str) -> ToolCallRow {
        let db = &self.stack.projections;
        let whole = db.whole_run(&self.tenant, run_id()).await.unwrap();
        let mut calls = whole.unwrap().tool_calls.into_iter();
        calls.find(|call| call.call_id == id).unwrap()
    }
}

#[tokio::test]
async fn a_question_and_its_answers_are_shown_as_they_come() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let tenant: Tenant = "acme".parse().unwrap();
    let mut log = Log {
        stack: &stack,
        tenant: tenant.clone(),
        number: 0,
    };
    let db = &stack.projections;
    let shown = async |name: &str| {
        let row = db.approval(&tenant, question(name)).await.unwrap();
        row.unwrap()
    };
    log.add(begun()).await;
    log.add([asks("a", "a", None), asks("b", "b", None)].concat())
        .await;
    let (status, open) = log.status().await;
    assert_eq!((status, open.len()), (RunStatus::Waiting, 2));
    let row = shown("a").await;
    assert_eq!(row.status, ApprovalStatus::Pending);
    assert_eq!((row.requester.as_str(), row.count), ("ada", 2));
    assert_eq!(row.arguments, Some(json!({ "expression": "6*7" })));
    assert_eq!(log.call("a").await.status, "pending");

    let changed = ToolArgumentsChanged {
        turn: 1,
        call_id: "a".into(),
        arguments: json!({ "expression": "1+1" }),
        approval_id: question("a"),
        subject: "sha256:3".into(),
    };
    log.add(vec![changed.into(), granted("a", "bob", 1)]).await;
    let roles = vec!["chief".to_owned()];
    let approval_id = question("a");
    log.add(vec![ApprovalEscalated { approval_id, roles }.into()])
        .await;
    let row = shown("a").await;
    assert_eq!(row.status, ApprovalStatus::Pending);
    assert_eq!((row.subject.as_str(), row.roles.len()), ("sha256:3", 2));
    assert_eq!(row.arguments, Some(json!({ "expression": "1+1" })));
    assert_eq!(log.call("a").await.input, json!({ "expression": "1+1" }));
    log.add(vec![granted("a", "eve", 0)]).await;
    let row = shown("a").await;
    assert_eq!(
        (row.status, row.answers.len()),
        (ApprovalStatus::Approved, 2)
    );
    assert!(row.decided_at.is_some());

    // Under another bundle it is void, and asked anew.
    log.add(asks("a", "a again", Some(question("a")))).await;
    assert_eq!(shown("a").await.status, ApprovalStatus::Void);
    let denied = ApprovalDenied {
        approval_id: question("b"),
        approver: "bob".into(),
        reason: Some("no".into()),
    };
    log.add(vec![denied.into()]).await;
    let call = log.call("b").await;
    assert_eq!(call.status, "denied");
    assert_eq!(call.error_code.as_deref(), Some("approval_denied"));
    assert_eq!(
        log.status().await,
        (RunStatus::Waiting, vec![question("a again")])
    );

    log.add(vec![RunCancelled { reason: None }.into()]).await;
    assert_eq!(log.status().await, (RunStatus::Cancelled, vec![]));
    assert_eq!(shown("a again").await.status, ApprovalStatus::Void);
    stack.assert_equal().await;

    let ids = async |filter: ApprovalFilter| {
        let page = PageRequest::default();
        let page = db.approvals(&tenant, &filter, &page).await.unwrap();
        page.items.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let denied = ApprovalFilter {
        status: Some(ApprovalStatus::Denied),
        ..ApprovalFilter::default()
    };
    assert_eq!(ids(denied).await, [question("b")]);
    let chiefs = ApprovalFilter {
        role: Some("chief".into()),
        run: Some(run_id()),
        ..ApprovalFilter::default()
    };
    assert_eq!(ids(chiefs).await, [question("a")]);
    let all = ids(ApprovalFilter::default()).await;
    assert_eq!(all, ["a again", "b", "a"].map(question));
    let mut page = PageRequest {
        limit: Some(1),
        cursor: None,
    };
    let mut paged = vec![];
    loop {
        let found = db
            .approvals(&tenant, &ApprovalFilter::default(), &page)
            .await;
        let found = found.unwrap();
        paged.extend(found.items.into_iter().map(|row| row.id));
        let Some(next) = found.next_cursor else { break };
        page.cursor = Some(next.parse().unwrap());
    }
    assert_eq!(paged, all);
    let other: Tenant = "globex".parse().unwrap();
    let hidden = db.approval(&other, question("a")).await.unwrap();
    assert_eq!(hidden, None);
    running.stop().await;
}
