//! Questions to people over HTTP: who is asked what, and who may answer.

use nexus_events::policy::ApprovalRequirement;
use nexus_events::run::{ApprovalRequested, PolicyDecided, PolicyPoint, Run, subject_of};
use nexus_events::{ApprovalId, RunId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Api, answer, bus, record};

/// A run whose start people are asked about; the sequence of the question.
async fn asked(api: &Api) -> (RunId, String, u64) {
    let (run_id, _) = api.start("hello").await;
    let approval_id = ApprovalId::derive(&[&run_id.to_string()]);
    let now = bus().await.now();
    let decided = PolicyDecided {
        point: PolicyPoint::RunStart,
        allowed: false,
        reasons: vec!["so".into()],
        rules: vec![],
        bundle: "builtin".into(),
        duration_us: 1,
        error: None,
        void: None,
        approval: Some(ApprovalRequirement::default()),
        obligations: Default::default(),
        ..PolicyDecided::default()
    };
    let question = ApprovalRequested {
        approval_id,
        point: PolicyPoint::RunStart,
        tool: None,
        arguments: None,
        subject: subject_of(&Run::default(), &PolicyPoint::RunStart),
        bundle: "builtin".into(),
        reasons: vec!["so".into()],
        requester: "ada".into(),
        roles: vec!["admin".into()],
        count: 2,
        expires_at: now.plus_millis(3_600_000),
        escalate_at: None,
        escalate_to: vec![],
    };
    let events = vec![decided.into(), question.into()];
    let seq = record(&bus().await, &api.tenant, run_id, events).await;
    (run_id, approval_id.to_string(), seq)
}

async fn say(api: &Api, path: &str, (user, roles): (&str, &str), body: &Value) -> Answer {
    let request = api.request(Method::POST, path).json(body);
    let request = request
        .header("Nexus-User", user)
        .header("Nexus-Roles", roles);
    answer(request).await
}

#[tokio::test]
async fn a_question_is_listed_shown_and_answered_by_whoever_may() {
    let api = Api::new();
    let (run_id, id, seq) = asked(&api).await;
    let path = format!("/v1/approvals/{id}");
    let shown = api.get(&format!("{path}?min_seq={seq}")).await.ok(200);
    assert_eq!(
        (&shown["status"], &shown["count"]),
        (&json!("pending"), &json!(2))
    );
    let run = api.get(&format!("/v1/runs/{run_id}")).await.ok(200);
    assert_eq!(run["status"], "waiting");
    assert_eq!(run["waiting_for"][0]["approval_id"], id);
    for (query, found) in [
        ("status=pending", 1),
        ("status=denied", 0),
        ("role=admin&status=pending", 1),
        ("role=intern", 0),
        (&format!("run_id={run_id}"), 1),
    ] {
        let page = api.get(&format!("/v1/approvals?{query}")).await.ok(200);
        assert_eq!(
            page["items"].as_array().map(Vec::len),
            Some(found),
            "{query}"
        );
    }

    let approve = format!("{path}/approve");
    for who in [("ada", "admin"), ("bob", "intern")] {
        let refused = say(&api, &approve, who, &json!({})).await;
        assert_eq!(refused.problem(), (403, "forbidden"));
    }
    let body = json!({ "reason": "fine" });
    let done = say(&api, &approve, ("bob", "admin"), &body).await.ok(200);
    assert_eq!(
        (&done["run_id"], &done["approval_id"]),
        (&json!(run_id), &json!(id))
    );
    let again = say(&api, &approve, ("bob", "admin"), &body).await.ok(200);
    let seq = again["seq"].as_u64().unwrap();
    let shown = api.get(&format!("{path}?min_seq={seq}")).await.ok(200);
    assert_eq!(shown["answers"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["answers"][0]["reason"], "fine");

    let deny = format!("{path}/deny");
    let done = say(&api, &deny, ("eve", "admin"), &json!({})).await.ok(200);
    let seq = done["seq"].as_u64().unwrap();
    let shown = api.get(&format!("{path}?min_seq={seq}")).await.ok(200);
    assert_eq!(shown["status"], "denied");
    let run = api.get(&format!("/v1/runs/{run_id}")).await.ok(200);
    assert_eq!(run["error_code"], "approval_denied", "{run}");
    let late = say(&api, &approve, ("eve", "admin"), &json!({})).await;
    assert_eq!(late.problem(), (409, "wrong_state"));
}

#[tokio::test]
async fn what_is_not_a_question_or_an_answer_is_refused() {
    let (api, other) = (Api::new(), Api::new());
    let (_, id, seq) = asked(&api).await;
    let path = format!("/v1/approvals/{id}");
    api.get(&format!("{path}?min_seq={seq}")).await.ok(200);
    assert_eq!(other.get(&path).await.problem(), (404, "not_found"));
    let approve = format!("{path}/approve");
    let boss = ("bob", "admin");
    let foreign = say(&other, &approve, boss, &json!({})).await;
    assert_eq!(foreign.problem(), (404, "not_found"));
    let seen = say(&api, &approve, boss, &json!({ "subject": "sha256:0" })).await;
    assert_eq!(seen.problem(), (422, "invalid"));
    let changed = say(&api, &approve, boss, &json!({ "arguments": {} })).await;
    assert_eq!(changed.problem(), (422, "invalid"), "it is no tool call");
    let long = "x".repeat(2_001);
    for body in [
        json!({ "by": "ada" }),
        json!({ "reason": 1 }),
        json!({ "reason": long }),
    ] {
        let refused = say(&api, &approve, boss, &body).await;
        assert_eq!(refused.problem().0, 400, "{body}");
    }
    for path in [
        "/v1/approvals/nonsense",
        "/v1/approvals?status=maybe",
        "/v1/approvals?cursor=x",
    ] {
        assert_eq!(api.get(path).await.problem().0, 400, "{path}");
    }
    for roles in ["", "a,,b", &"x".repeat(65)] {
        let refused = say(&api, &approve, ("bob", roles), &json!({})).await;
        assert_eq!(refused.problem(), (400, "invalid"), "{roles:?}");
    }
}
