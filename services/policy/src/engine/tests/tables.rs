//! Rules of many bodies give the same answers with their index as without.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// One body of a rule, as text.
#[derive(Debug, Clone)]
struct Body(Vec<&'static str>);

const CONDITIONS: &[&str] = &[
    r#"input.tool.name == "a""#,
    r#"input.tool.name == "b""#,
    r#""c" == input.tool.name"#,
    r#"input.tool.name = "a""#,
    r#"input["tool"].name == "b""#,
    r#"input.tool.category in ["x", "y"]"#,
    r#"input.tool.category in {"y", "z"}"#,
    "input.user.level == 1",
    "input.user.level == 1.0",
    "input.user.level == null",
    "input.user.level == true",
    "input.user.level > 1",
    "not input.user.blocked",
    "input.user.blocked == false",
    "data.open[input.tool.name]",
    "shared",
    "1 / input.user.level > 0",
];

fn body() -> impl Strategy<Value = Body> {
    prop::sample::subsequence(CONDITIONS, 1..4)
        .prop_shuffle()
        .prop_map(Body)
}

fn policy_of(allow: &[Body], deny: &[Body], default: bool) -> String {
    let mut text = "package nexus.agent.policy\nimport rego.v1\n".to_owned();
    if default {
        text.push_str("default allow := false\n");
    }
    text.push_str("shared if input.tool.category == \"x\"\n");
    for body in allow {
        text.push_str(&format!("allow if {{ {} }}\n", body.0.join("; ")));
    }
    for (n, body) in deny.iter().enumerate() {
        let reason = n % 7;
        let body = body.0.join("; ");
        text.push_str(&format!(
            "deny contains \"reason {reason}\" if {{ {body} }}\n"
        ));
    }
    text
}

fn input() -> impl Strategy<Value = Json> {
    let name = prop::sample::select(vec![
        json!("a"),
        json!("b"),
        json!("c"),
        json!("d"),
        json!(1),
    ]);
    let category = prop::sample::select(vec![json!("x"), json!("y"), json!("z"), json!(["x"])]);
    let level = prop::sample::select(vec![json!(0), json!(1), json!(2), json!(null), json!(true)]);
    let tool = prop_oneof![
        4 => (name, category).prop_map(|(n, c)| json!({"name": n, "category": c})),
        1 => Just(json!(null)),
        1 => Just(json!(["name"])),
    ];
    (tool, level, any::<bool>()).prop_map(|(tool, level, blocked)| {
        json!({"tool": tool, "user": {"id": "ann", "level": level, "blocked": blocked}})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 512 }))]

    #[test]
    fn an_index_changes_no_answer(
        allow in prop::collection::vec(body(), 1..60),
        deny in prop::collection::vec(body(), 0..60),
        default in any::<bool>(),
        inputs in prop::collection::vec(input(), 1..12),
    ) {
        let text = policy_of(&allow, &deny, default);
        let data = json!({"open": {"a": true, "d": true}});
        let sources = [module("p.rego", &text)];
        let with = patient(Bundle::compile(&sources, data.clone()).unwrap());
        let without = patient(Bundle::compile_plain(&sources, data).unwrap());
        prop_assert_eq!(with.form(), Form::Compiled);
        for input in inputs {
            let (one, other) = (with.evaluate_json(&input), without.evaluate_json(&input));
            prop_assert_eq!(
                (&one.effect, &one.rules, &one.reasons, &one.error),
                (&other.effect, &other.rules, &other.reasons, &other.error),
                "{}\n{}", text, input
            );
        }
    }
}

fn large(rules: usize) -> Bundle {
    let mut text = "default allow := false\n".to_owned();
    for rule in 0..rules {
        text.push_str(&format!("allow if input.tool.name == \"tool_{rule}\"\n"));
    }
    policy(&text)
}

#[test]
fn of_a_large_rule_the_body_that_fired_is_named() {
    let bundle = large(500);
    assert!(bundle.tries(&json!({"tool": {"name": "tool_321"}})) == Some(1));
    let decision = bundle.evaluate_json(&json!({"tool": {"name": "tool_321"}}));
    assert_eq!(decision.effect, Effect::Allow);
    assert_eq!(decision.rules, ["nexus.agent.policy.allow@policy.rego:324"]);
    let decision = bundle.evaluate_json(&json!({"tool": {"name": "tool_500"}}));
    assert!(denies(&decision));
    let decision = large(2_000).evaluate_json(&json!({"tool": {"name": "tool_1999"}}));
    assert_eq!(
        decision.rules,
        ["nexus.agent.policy.allow@policy.rego:2002"]
    );
}

/// The property above would hold if no index were ever used.
#[test]
fn an_index_is_used_where_it_helps() {
    let input = json!({"tool": {"name": "tool_7"}});
    assert_eq!(large(16).tries(&input), Some(1));
    assert_eq!(large(15).tries(&input), None, "too small to be worth it");
    let same = "allow if { input.tool.name == \"tool_7\"; input.user.id != \"bob\" }\n";
    assert_eq!(
        policy(&same.repeat(40)).tries(&input),
        None,
        "all could be true"
    );
}

/// `input` that is not the input: no index may be made of it.
#[test]
fn what_only_looks_like_the_input_is_not_looked_up() {
    let bodies: String = (0..20)
        .map(|n| format!("allow if input.user.id == \"u{n}\"\n"))
        .collect();
    let text = format!(
        "package nexus.agent.policy\nimport rego.v1\nimport data.other as input\n\
         default allow := false\n{bodies}"
    );
    let sources = [module("p.rego", &text)];
    let data = json!({ "other": { "user": { "id": "u3" } } });
    let with = patient(Bundle::compile(&sources, data.clone()).unwrap());
    let without = patient(Bundle::compile_plain(&sources, data).unwrap());
    for user in ["u3", "u4", "nobody"] {
        let input = json!({ "user": { "id": user } });
        let (one, other) = (with.evaluate_json(&input), without.evaluate_json(&input));
        assert_eq!(
            (one.effect, one.rules),
            (other.effect, other.rules),
            "{user}"
        );
    }
}
