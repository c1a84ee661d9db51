#![expect(clippy::unwrap_used, reason = "a test may fail")]

use axum::http::{HeaderMap, HeaderName};
use nexus_events::Actor;
use nexus_events::aggregate::Event as _;
use nexus_events::run::{
    AgentRef, ApprovalGranted, ApprovalRequested, PolicyPoint, RunCancelled, RunCompleted,
    RunEvent, RunFailed, RunStarted, SessionLink, ToolCompleted, ToolInDoubt, ToolStarted,
};
use nexus_events::{ApprovalId, RunId, Timestamp};
use serde_json::{Value, json};

use super::arguments::{Asked, Target};
use super::headers;
use super::question::{Back, back, required};
use super::reply::{Reply, refused};
use super::revision::{Revision, can_ask};
use super::session::Session;
use super::tale::{Open, Tale, matters};
use super::wire::{HEADER_MISMATCH, INVALID_PARAMS, Message, UNSUPPORTED_VERSION};

fn headers_of(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), value.parse().unwrap())
    };
    pairs.map(pair).collect()
}

fn message(method: &str, params: &Value) -> Message {
    serde_json::from_value(json!({
        "jsonrpc": "2.0", "id": 1, "method": method, "params": params,
    }))
    .unwrap()
}

fn meta(version: &str) -> Value {
    json!({ "_meta": {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    } })
}

#[test]
fn a_request_is_of_the_revision_that_it_says() {
    let of = |header: Option<&str>, method: &str, params: &Value| {
        let headers = header.map(|version| headers_of(&[("mcp-protocol-version", version)]));
        Revision::of(&headers.unwrap_or_default(), &message(method, params))
            .map_err(|error| (error.code, error.status))
    };
    let (new, none) = (meta("2026-07-28"), json!({}));
    assert_eq!(
        of(Some("2026-07-28"), "tools/list", &new),
        Ok(Revision::Stateless)
    );
    assert_eq!(
        of(Some("2026-07-28"), "initialize", &new),
        Ok(Revision::Stateless)
    );
    for header in [
        None,
        Some("2025-11-25"),
        Some("2025-06-18"),
        Some("2025-03-26"),
    ] {
        assert_eq!(
            of(header, "tools/list", &none),
            Ok(Revision::Handshake),
            "{header:?}"
        );
    }
    // The handshake settles the version, whichever is asked for.
    for header in [None, Some("2025-11-25"), Some("2024-11-05")] {
        assert_eq!(
            of(header, "initialize", &none),
            Ok(Revision::Handshake),
            "{header:?}"
        );
    }
    let bare = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
    for (header, method, params, code) in [
        (Some("2026-07-28"), "tools/list", &none, INVALID_PARAMS),
        (Some("2026-07-28"), "tools/list", &bare, INVALID_PARAMS),
        (None, "server/discover", &none, INVALID_PARAMS),
        (None, "tools/list", &new, HEADER_MISMATCH),
        (Some("2025-11-25"), "tools/list", &new, HEADER_MISMATCH),
        (
            Some("2999-01-01"),
            "tools/list",
            &meta("2999-01-01"),
            UNSUPPORTED_VERSION,
        ),
        (Some("2999-01-01"), "tools/list", &none, UNSUPPORTED_VERSION),
    ] {
        assert_eq!(
            of(header, method, params),
            Err((code, 400)),
            "{header:?} {method} {params}"
        );
    }
}

#[test]
fn headers_say_what_the_body_says() {
    let call = message("tools/call", &json!({ "name": "grüße" }));
    let checked =
        |pairs: &[(&'static str, &str)]| headers::check(&headers_of(pairs), &call).is_ok();
    let method = ("mcp-method", "tools/call");
    assert!(checked(&[method, ("mcp-name", "=?base64?Z3LDvMOfZQ==?=")]));
    assert!(!checked(&[method]));
    assert!(!checked(&[method, ("mcp-name", "greet")]));
    assert!(!checked(&[method, ("mcp-name", "=?base64?!!?=")]));
    assert!(!checked(&[
        ("mcp-method", "TOOLS/CALL"),
        ("mcp-name", "=?base64?Z3LDvMOfZQ==?=")
    ]));
    let mut twice = headers_of(&[method]);
    twice.append("mcp-method", "tools/call".parse().unwrap());
    assert!(headers::check(&twice, &message("tools/list", &json!({}))).is_err());
}

#[test]
fn a_person_is_asked_where_the_client_says_so() {
    let asks = |capabilities: Value| {
        let key = "io.modelcontextprotocol/clientCapabilities";
        can_ask(&message(
            "tools/call",
            &json!({ "_meta": { key: capabilities } }),
        ))
    };
    assert!(asks(json!({ "elicitation": {} })));
    assert!(asks(json!({ "elicitation": { "form": {}, "url": {} } })));
    assert!(!asks(json!({ "elicitation": { "url": {} } })));
    assert!(!asks(json!({ "sampling": {} })));
}

#[test]
fn no_session_is_one_that_was_not_given_out() {
    let of = |id: &str| Session::of(&headers_of(&[("mcp-session-id", id)]));
    let session = Session::begin();
    assert_eq!(of(&session.text()).unwrap(), Some(session));
    assert_eq!(of("x").unwrap_err().status, 404);
    assert_eq!(Session::of(&HeaderMap::new()).unwrap(), None);
}

fn asked() -> Asked {
    Asked {
        name: "book".to_owned(),
        target: Target::Tool(json!({ "room": "blue" })),
        user: "ada".to_owned(),
    }
}

fn run() -> RunId {
    RunId::derive(&["x"])
}

fn started(arguments: Value, user: &str) -> RunEvent {
    RunStarted {
        run_id: run(),
        session: SessionLink {
            id: run().own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        user: Actor {
            user: user.to_owned(),
            ..Actor::default()
        },
        agent: AgentRef {
            name: "default".into(),
            version: "1".into(),
        },
        model: "m".into(),
        tools: vec!["book".into()],
        pins: Default::default(),
        input: "".into(),
        given: None,
        invoke: Some(arguments),
        queued: None,
        budget: None,
        parent: None,
        max_turns: 1,
        metadata: Default::default(),
        trace_id: None,
        prompt_tokens: None,
    }
    .into()
}

fn question() -> ApprovalRequested {
    ApprovalRequested {
        approval_id: ApprovalId::derive(&["a"]),
        point: PolicyPoint::ToolCall {
            turn: 1,
            call_id: "invoke".into(),
        },
        tool: Some("book".into()),
        arguments: Some(json!({ "room": "blue" })),
        subject: "s".into(),
        bundle: "b".into(),
        reasons: vec!["it is the blue one".into()],
        requester: "ada".into(),
        roles: vec!["boss".into()],
        count: 1,
        expires_at: Timestamp::from_millis(1_000),
        escalate_at: None,
        escalate_to: vec![],
    }
}

fn completed(output: &str) -> Vec<RunEvent> {
    let done = ToolCompleted {
        turn: 1,
        call_id: "invoke".into(),
        output: output.into(),
        duration_ms: 1,
        tokens: None,
        reused: None,
    };
    let end = RunCompleted {
        tokens: 0,
        cost_usd_micros: 0,
        duration_ms: 0,
        client_calls: vec![],
    };
    vec![done.into(), end.into()]
}

fn told(events: Vec<RunEvent>) -> Tale {
    let mut tale = Tale::of(asked());
    tale.take(&started(json!({ "room": "blue" }), "ada"));
    for event in &events {
        tale.take(event);
    }
    tale
}

#[test]
fn a_run_is_known_by_what_it_does_and_for_whom() {
    for (arguments, user, strange) in [
        (json!({ "room": "blue" }), "ada", false),
        (json!({ "room": "red" }), "ada", true),
        (json!({ "room": "blue" }), "mallory", true),
    ] {
        let mut tale = Tale::of(asked());
        tale.take(&started(arguments, user));
        assert_eq!(tale.is_strange, strange);
    }
}

#[test]
fn a_question_is_open_until_it_is_answered() {
    let mut tale = told(vec![question().into()]);
    assert!(matches!(tale.open(), Some(Open::Question(_))));
    let granted = |missing| ApprovalGranted {
        approval_id: ApprovalId::derive(&["a"]),
        approver: "bob".into(),
        reason: None,
        missing,
    };
    tale.take(&granted(1).into());
    assert!(tale.open().is_some());
    tale.take(&granted(0).into());
    assert!(tale.open().is_none() && tale.end().is_none());
}

#[test]
fn what_it_came_to_is_what_the_client_of_its_revision_can_read() {
    let result = |output: &str, revision| {
        let reply = Reply {
            id: json!(1),
            revision,
        };
        reply.result(run(), told(completed(output)).end().unwrap())
    };
    let object = result(r#"{"a":1}"#, Revision::Handshake);
    assert_eq!(object["structuredContent"], json!({ "a": 1 }));
    assert_eq!(object["content"][0]["text"], r#"{"a":1}"#);
    assert!(
        result("[1]", Revision::Handshake)
            .get("structuredContent")
            .is_none()
    );
    assert_eq!(
        result("[1]", Revision::Stateless)["structuredContent"],
        json!([1])
    );
    let text = result(r#""hello""#, Revision::Stateless);
    assert_eq!(text["content"][0]["text"], "hello");
    assert!(text.get("structuredContent").is_none());
}

#[test]
fn a_failure_a_cancellation_and_a_doubt_are_results() {
    let failed = RunFailed {
        code: "policy_denied".into(),
        message: "no".into(),
    };
    let came = told(vec![failed.into()]).end().unwrap();
    assert!(came.failed && came.text.unwrap() == "policy_denied: no");
    assert!(
        told(vec![RunCancelled { reason: None }.into()])
            .end()
            .unwrap()
            .failed
    );
    let begun = ToolStarted {
        turn: 1,
        call_id: "invoke".into(),
        tool: "book".into(),
        version: "1.0.0".into(),
        attempt: 1,
    };
    let doubt = ToolInDoubt {
        turn: 1,
        call_id: "invoke".into(),
        tool: "book".into(),
        attempt: 1,
        message: "no answer".into(),
        duration_ms: 1,
    };
    let tale = told(vec![begun.into(), doubt.into()]);
    assert!(tale.has_effect && matches!(tale.open(), Some(Open::Doubt(_))));
}

#[test]
fn who_comes_back_says_whether_to_wait() {
    let asked = required(run(), &question());
    let words = asked["inputRequests"]["approval"]["params"]["message"]
        .as_str()
        .unwrap();
    assert!(
        words.contains("boss") && words.contains("the blue one"),
        "{words}"
    );
    let said = |answer: Value| {
        let params = json!({
            "requestState": asked["requestState"], "inputResponses": { "approval": answer },
        });
        back(&message("tools/call", &params))
    };
    let waits = |waits| Some(Back { run: run(), waits });
    assert_eq!(said(json!({ "action": "accept" })).unwrap(), waits(true));
    assert_eq!(
        said(json!({ "action": "accept", "content": { "wait": false } })).unwrap(),
        waits(false)
    );
    assert_eq!(said(json!({ "action": "cancel" })).unwrap(), waits(false));
    assert!(said(json!({ "action": "accept", "content": { "wait": "no" } })).is_err());
    assert!(said(json!({ "action": "perhaps" })).is_err());
    assert!(said(json!("yes")).is_err());
    assert_eq!(back(&message("tools/call", &json!({}))).unwrap(), None);
    assert!(back(&message("tools/call", &json!({ "requestState": 7 }))).is_err());
}

#[test]
fn a_refusal_is_a_result_where_the_model_should_know() {
    use nexus_events::Problem;
    let busy = Problem::new(429, "budget_exhausted", "nothing is left");
    assert_eq!(refused("x", &busy).unwrap()["isError"], true);
    let unknown = Problem::new(422, "invalid", "no such tool").at("tools");
    assert_eq!(
        refused("x", &unknown).unwrap_err().message,
        "Unknown tool: x"
    );
    let away = Problem::new(503, "bus_unavailable", "away");
    assert_eq!(refused("x", &away).unwrap_err().code, -32603);
}

#[test]
fn what_matters_exists() {
    let known = RunEvent::type_names().iter();
    assert_eq!(known.filter(|name| matters(name)).count(), 16);
}
