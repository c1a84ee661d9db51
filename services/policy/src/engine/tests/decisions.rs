//! The two forms of policy and what they can say besides yes and no.

use super::super::{ApprovalRequirement, Obligations};
use super::*;

fn need(roles: &[&str], count: u32, expires_seconds: u64) -> Effect {
    Effect::RequireApproval(ApprovalRequirement {
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        count,
        expires_seconds,
        ..ApprovalRequirement::default()
    })
}

#[test]
fn deny_stands_above_allow_and_gives_all_its_reasons() {
    let decision = ask(&policy(
        "allow := true\ndeny contains \"b\" if input.point\n\
         deny contains \"a\" if input.user.id == \"ann\"\ndeny contains \"c\" if input.nothing",
    ));
    assert!(denies(&decision));
    assert_eq!(decision.reasons, ["a", "b"]);
    assert_eq!(decision.rules, ["nexus.agent.policy.deny"]);
}

#[test]
fn deny_takes_several_forms() {
    for deny in [
        "deny := [\"no\"]",
        "deny := \"no\"",
        "deny if input.point",
        "deny contains \"no\"",
    ] {
        assert!(
            denies(&ask(&policy(&format!("allow := true\n{deny}")))),
            "{deny}"
        );
    }
    for deny in [
        "deny := []",
        "deny if input.nothing",
        "deny := false",
        "deny contains \"no\" if input.nothing",
    ] {
        assert!(
            ask(&policy(&format!("allow := true\n{deny}"))).is_allow(),
            "{deny}"
        );
    }
}

#[test]
fn deny_stands_even_where_allow_is_undefined() {
    let decision = ask(&policy("allow if input.nothing\ndeny contains \"no\""));
    assert!(denies(&decision));
    assert_eq!(decision.reasons, ["no"]);
}

const GUARDED: &str = "allow := true\n\
    require_approval := {\"roles\": [\"lead\", \"security\"], \"count\": 2, \"expires_seconds\": 60} \
    if input.point == \"tool.call\"";

#[test]
fn an_approval_is_required_until_somebody_else_gave_it() {
    let bundle = policy(GUARDED);
    let decide = |approval: Json| {
        bundle
            .evaluate_json(&json!({
                "point": "tool.call", "user": {"id": "ann"}, "approval": approval,
            }))
            .effect
    };
    let required = need(&["lead", "security"], 2, 60);
    assert_eq!(decide(Json::Null), required);
    assert_eq!(
        decide(json!({"status": "pending", "approver": "bob"})),
        required
    );
    assert_eq!(decide(json!({"status": "approved"})), required);
    assert_eq!(
        decide(json!({"status": "approved", "approver": ""})),
        required
    );
    assert_eq!(
        decide(json!({"status": "approved", "approver": "ann"})),
        required
    );
    let given = json!({"status": "approved", "approver": "bob"});
    assert_eq!(decide(given), Effect::Allow);
    let elsewhere = bundle.evaluate_json(&json!({"point": "run.start"}));
    assert_eq!(elsewhere.effect, Effect::Allow);
}

#[test]
fn an_approval_alone_allows_nothing() {
    let bundle = policy("default allow := false\nrequire_approval := true");
    let decision = ask(&bundle);
    assert_eq!(decision.effect, need(&["admin"], 1, 3600));
    assert_eq!(decision.rules, ["nexus.agent.policy.require_approval"]);
    let given =
        json!({"user": {"id": "ann"}, "approval": {"status": "approved", "approver": "bob"}});
    assert!(denies(&bundle.evaluate_json(&given)));
}

#[test]
fn obligations_go_with_permission_only() {
    let obligations = "obligations := {\"max_tokens\": 500, \"max_cost_usd_micros\": 20000, \
        \"timeout_ms\": 1000, \"model\": \"small\", \"redact\": {\"password\", \"card\"}}";
    let decision = ask(&policy(&format!("allow := true\n{obligations}")));
    assert_eq!(
        decision.obligations,
        Obligations {
            max_tokens: Some(500),
            max_cost_usd_micros: Some(20_000),
            timeout_ms: Some(1000),
            model: Some("small".to_owned()),
            redact: vec!["card".to_owned(), "password".to_owned()],
            permissions: None,
            filter: None,
        }
    );
    let denied = ask(&policy(&format!("allow := false\n{obligations}")));
    assert!(denies(&denied));
    assert!(denied.obligations.is_empty());
}

#[test]
fn an_object_says_it_all() {
    let decision = ask(&policy(
        "decision := {\"allow\": true, \"reasons\": {\"r\"}, \"rules\": [\"one\"], \"rule\": \"two\", \
         \"require_approval\": {\"roles\": [\"lead\"]}, \"obligations\": {\"max_tokens\": 7}}",
    ));
    assert_eq!(decision.effect, need(&["lead"], 1, 3600));
    assert_eq!(decision.reasons, ["r"]);
    assert_eq!(decision.rules, ["one", "two"]);
    assert_eq!(decision.obligations.max_tokens, Some(7));
    let bare = ask(&policy("decision := {\"allow\": false}\nallow := true"));
    assert!(denies(&bare));
    assert_eq!(bare.reasons, ["denied by the policy"]);
    assert_eq!(bare.rules, ["nexus.agent.policy.decision"]);
}

#[test]
fn the_body_that_fired_is_found_among_many() {
    let bodies: Vec<String> = (0..450)
        .map(|index| format!("allow if input.n == {index}"))
        .collect();
    let bundle = policy(&format!("default allow := false\n{}", bodies.join("\n")));
    for n in [0, 199, 200, 449] {
        let decision = bundle.evaluate_json(&json!({"n": n}));
        let line = n + 3;
        assert_eq!(
            decision.rules,
            [format!("nexus.agent.policy.allow@policy.rego:{line}")]
        );
    }
    assert!(denies(&bundle.evaluate_json(&json!({"n": 450}))));
}

#[test]
fn reasons_are_bounded() {
    let text = "package nexus.agent.policy\nallow := true\n\
        deny contains sprintf(\"%d%s\", [n, data.long]) if { some n in data.n }\n";
    let n: Vec<u32> = (0..600).collect();
    let data = json!({"n": n, "long": "é".repeat(600)});
    let bundle = patient(Bundle::compile(&[module("policy.rego", text)], data).unwrap());
    let decision = ask(&bundle);
    assert!(denies(&decision));
    assert_eq!(decision.reasons.len(), 64);
    assert!(decision.reasons.iter().all(|r| r.chars().count() == 512));
}

#[test]
fn a_decision_travels_as_json() {
    for body in [GUARDED, "allow := true", "allow := 7"] {
        let decision = ask(&policy(body));
        let json = serde_json::to_value(&decision).unwrap();
        let back: Decision = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(back, decision, "{json}");
    }
    let json = serde_json::to_value(ask(&policy(GUARDED))).unwrap();
    assert_eq!(json["effect"]["kind"], "require_approval");
    assert_eq!(json["effect"]["count"], 2);
}
