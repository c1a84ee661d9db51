//! Every way in which a decision can fail, one by one: each denies and says why.

use std::time::Duration;

use super::super::{DecisionError, Form, Limits};
use super::*;

/// The failure behind a decision that must be a denial.
fn failure(decision: Decision) -> DecisionError {
    assert_eq!(decision.effect, Effect::Deny);
    assert!(decision.obligations.is_empty());
    let error = decision.error.unwrap();
    assert_eq!(decision.reasons, [error.to_string()]);
    assert!(decision.bundle_digest.starts_with("sha256:"));
    error
}

fn fails(body: &str) -> DecisionError {
    failure(ask(&policy(body)))
}

fn rule(name: &str) -> String {
    format!("nexus.agent.policy.{name}")
}

#[test]
fn no_policy_at_all() {
    let decision = Decision::failed(DecisionError::NoPolicy, "", 0);
    assert_eq!(decision.effect, Effect::Deny);
    assert_eq!(decision.reasons, ["no policy is active"]);
}

#[test]
fn undefined_allow() {
    assert_eq!(
        fails("allow if input.nothing"),
        DecisionError::Undefined {
            rule: rule("allow")
        }
    );
}

#[test]
fn undefined_decision() {
    assert_eq!(
        fails("decision := {\"allow\": true} if input.nothing"),
        DecisionError::Undefined {
            rule: rule("decision")
        }
    );
}

#[test]
fn allow_that_is_not_a_boolean() {
    for (value, found) in [
        ("\"true\"", "a string"),
        ("1", "a number"),
        ("null", "null"),
        ("[true]", "an array"),
        ("{true}", "a set"),
        ("{\"allow\": true}", "an object"),
    ] {
        let not_boolean = |name| DecisionError::NotBoolean {
            rule: rule(name),
            found: found.to_owned(),
        };
        assert_eq!(fails(&format!("allow := {value}")), not_boolean("allow"));
        let object = format!("decision := {{\"allow\": {value}}}");
        assert_eq!(fails(&object), not_boolean("decision.allow"));
    }
}

#[test]
fn allow_as_a_set_of_people() {
    assert!(matches!(
        fails("allow contains \"ann\""),
        DecisionError::NotBoolean { found, .. } if found == "a set"
    ));
}

#[test]
fn an_object_of_the_wrong_shape() {
    for body in [
        "decision := true",
        "decision := {}",
        "decision := {\"reasons\": []}",
        "decision := {\"allow\": true, \"requires_approval\": true}",
        "decision := {\"allow\": true, \"reasons\": [1]}",
        "decision := {\"allow\": true, \"require_approval\": \"yes\"}",
        "decision := {\"allow\": true, \"require_approval\": {\"role\": \"admin\"}}",
        "decision := {\"allow\": true, \"require_approval\": {\"roles\": []}}",
        "decision := {\"allow\": true, \"require_approval\": {\"count\": 0}}",
        "decision := {\"allow\": true, \"require_approval\": {\"count\": -1}}",
        "decision := {\"allow\": true, \"require_approval\": {\"expires_seconds\": 0}}",
        "decision := {\"allow\": true, \"obligations\": [\"redact\"]}",
        "decision := {\"allow\": true, \"obligations\": {\"max_tokens\": \"ten\"}}",
        "allow := true\ndeny := 7",
        "allow := true\ndeny := {\"a\": \"b\"}",
        "allow := true\ndeny contains 7",
        "allow := true\nrequire_approval := 7",
        "allow := true\nobligations := true",
    ] {
        let error = fails(body);
        assert!(
            matches!(error, DecisionError::Malformed { .. }),
            "{body}: {error:?}"
        );
    }
}

#[test]
fn an_obligation_that_nobody_knows() {
    let unknown = DecisionError::UnknownObligation {
        key: "max_token".to_owned(),
    };
    assert_eq!(
        fails("allow := true\nobligations := {\"max_token\": 5}"),
        unknown
    );
    assert_eq!(
        fails("decision := {\"allow\": true, \"obligations\": {\"max_token\": 5}}"),
        unknown
    );
}

#[test]
fn a_rule_with_two_values_at_once() {
    for (body, name) in [
        (
            "allow := true if input.point\nallow := false if input.user",
            "allow",
        ),
        (
            "default allow := true\nallow := true if input.point\nallow := false if input.user",
            "allow",
        ),
        (
            "allow := true\ndeny := \"a\" if input.point\ndeny := \"b\" if input.user",
            "deny",
        ),
        (
            "allow := true\nrequire_approval := {\"count\": 1} if input.point\n\
             require_approval := {\"count\": 2} if input.user",
            "require_approval",
        ),
        (
            "allow := true\nobligations := {\"max_tokens\": 1} if input.point\n\
             obligations := {\"max_tokens\": 2} if input.user",
            "obligations",
        ),
        // In a rule that a denial depends on, where it would go unseen.
        (
            "allow := true\ndeny contains \"over\" if limit < 10\n\
             limit := 1 if input.point\nlimit := 2 if input.user",
            "limit",
        ),
    ] {
        assert_eq!(
            fails(body),
            DecisionError::Conflict { rule: rule(name) },
            "{body}"
        );
    }
}

#[test]
fn a_rule_with_one_of_several_values_is_no_conflict() {
    let body = "allow := true\ndeny contains \"over\" if limit > 10\n\
                limit := 1 if input.point\nlimit := 20 if input.nothing";
    assert!(ask(&policy(body)).is_allow());
    assert!(
        ask(&policy(
            "allow := true\nlimit := 1 if input.x\nlimit := 2 if input.y"
        ))
        .is_allow()
    );
}

const RUNAWAY: &str = "xs := [x | some x in data.xs]\n\
    allow if { count([1 | some a in xs; some b in xs; some c in xs; a + b + c > 0]) > 0 }";

fn runaway(limits: Limits) -> DecisionError {
    let text = format!("package nexus.agent.policy\n{RUNAWAY}\n");
    let xs: Vec<u32> = (0..1000).collect();
    let bundle = Bundle::compile(&[module("policy.rego", &text)], json!({"xs": xs}))
        .unwrap()
        .with_limits(limits);
    failure(ask(&bundle))
}

#[test]
fn a_runaway_policy_runs_out_of_time() {
    let error = runaway(Limits {
        steps: usize::MAX,
        wall: Duration::from_millis(20),
        ..Limits::default()
    });
    assert_eq!(error, DecisionError::TimeLimit { limit_ms: 20 });
}

#[test]
fn a_runaway_policy_runs_out_of_steps() {
    let error = runaway(Limits {
        steps: 10_000,
        wall: Duration::from_secs(60),
        ..Limits::default()
    });
    assert_eq!(error, DecisionError::StepLimit { limit: 10_000 });
}

#[test]
fn an_input_that_is_too_large() {
    let bundle = policy("allow := true");
    let limit = Limits::default().input_bytes;
    let too_large = DecisionError::InputTooLarge {
        limit_bytes: u64::try_from(limit).unwrap(),
    };
    let text = "x".repeat(limit);
    assert_eq!(failure(bundle.evaluate_json(&json!([text]))), too_large);
    assert_eq!(failure(bundle.evaluate_json(&json!({text: 1}))), too_large);
    let many = vec![0; limit / 8];
    assert_eq!(failure(bundle.evaluate_json(&json!(many))), too_large);
    assert!(
        bundle
            .evaluate_json(&json!(["x".repeat(limit / 2)]))
            .is_allow()
    );
}

#[test]
fn an_input_that_is_too_deep() {
    let bundle = policy("allow := true");
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({"a": inner}));
    assert!(bundle.evaluate_json(&nested(64)).is_allow());
    assert_eq!(
        failure(bundle.evaluate_json(&nested(65))),
        DecisionError::InputTooDeep { limit: 64 }
    );
}

#[test]
fn a_built_in_that_panics() {
    let bundle = policy("allow if sprintf(input.format, [1]) != \"\"");
    assert!(bundle.evaluate_json(&json!({"format": "%d"})).is_allow());
    let odd = bundle.evaluate_json(&json!({"format": "%½d"}));
    assert!(
        matches!(failure(odd), DecisionError::Evaluation { reason } if reason.contains("panicked"))
    );
    assert!(bundle.evaluate_json(&json!({"format": "%d"})).is_allow());
}

#[test]
fn a_regular_expression_that_is_too_large() {
    let bundle = policy("allow if not regex.match(input.pattern, \"b\")");
    assert!(bundle.evaluate_json(&json!({"pattern": "a"})).is_allow());
    let bomb = bundle.evaluate_json(&json!({"pattern": "(a{1000}){1000}"}));
    assert!(
        matches!(failure(bomb), DecisionError::Evaluation { reason } if reason.contains("regular"))
    );
}

#[test]
fn an_error_does_not_repeat_the_input() {
    let bundle = policy("allow if input.a.b.c + 1 > 0");
    let decision = bundle.evaluate_json(&json!({"a": {"b": {"c": "hunter2"}}}));
    assert!(!format!("{decision:?}").contains("hunter2"));
    assert_eq!(decision.effect, Effect::Deny);
}

/// Makes a policy one that only the interpreter takes.
const INTERPRETED: &str = "odd.head := 1";

fn fails_interpreted(body: &str) -> DecisionError {
    let bundle = policy(&format!("{body}\n{INTERPRETED}"));
    assert_eq!(bundle.form(), Form::Interpreted);
    failure(ask(&bundle))
}

#[test]
fn the_interpreter_fails_closed_as_well() {
    assert_eq!(
        fails_interpreted("allow if input.nothing"),
        DecisionError::Undefined {
            rule: rule("allow")
        }
    );
    assert!(matches!(
        fails_interpreted("allow := 1"),
        DecisionError::NotBoolean { .. }
    ));
    assert_eq!(
        fails_interpreted("allow := true if input.point\nallow := false if input.user"),
        DecisionError::Conflict {
            rule: rule("allow")
        }
    );
    assert_eq!(
        fails_interpreted("allow := true\nobligations.max_token := 5"),
        DecisionError::UnknownObligation {
            key: "max_token".to_owned()
        }
    );
    assert!(matches!(
        fails_interpreted("allow if sprintf(\"%½d\", [1]) != \"\""),
        DecisionError::Evaluation { .. }
    ));
    assert!(matches!(
        fails_interpreted("allow if a\na if b\nb if a"),
        DecisionError::Evaluation { .. }
    ));
}

#[test]
fn an_interpreted_runaway_runs_out_of_time() {
    let text = format!("package nexus.agent.policy\n{RUNAWAY}\n{INTERPRETED}\n");
    let xs: Vec<u32> = (0..1000).collect();
    let bundle = Bundle::compile(&[module("policy.rego", &text)], json!({"xs": xs})).unwrap();
    assert_eq!(bundle.form(), Form::Interpreted);
    assert_eq!(
        failure(ask(&bundle)),
        DecisionError::TimeLimit { limit_ms: 50 }
    );
}
