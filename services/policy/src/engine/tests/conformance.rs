//! The Rego that people use, in the compiled form and against the interpreter.

use regorus::{Engine, Value};

use super::super::Form;
use super::*;

const INPUT: &str = r#"{
    "user": {"id": "ann", "roles": ["dev", "lead"]},
    "tool": {"name": "fetch", "arguments": {"url": "https://api.example.com/v1", "n": 3}},
    "time": "2026-03-14T09:30:00Z",
    "items": [3, 1, 2]
}"#;

fn data() -> Json {
    json!({
        "teams": {"core": ["ann", "bob"], "web": ["cy"]},
        "limits": {"dev": 10, "lead": 100},
        "hosts": ["*.example.com", "localhost"],
    })
}

/// Each is a body of `allow` that must be true, with the rules it needs.
const CASES: &[(&str, &str)] = &[
    ("input.user.id == \"ann\"", ""),
    ("\"lead\" in input.user.roles", ""),
    ("not \"admin\" in input.user.roles", ""),
    ("not input.user.nothing", ""),
    ("some role in input.user.roles\n data.limits[role] > 50", ""),
    (
        "some team, members in data.teams\n team == \"core\"\n \"ann\" in members",
        "",
    ),
    ("some i; input.items[i] == 2", ""),
    ("data.teams[_][_] == input.user.id", ""),
    ("every n in input.items { n > 0 }", ""),
    (
        "not all_small",
        "all_small if { every n in input.items { n < 3 } }",
    ),
    ("{1, 2} | {3} == {n | some n in input.items}", ""),
    ("{1, 2, 5} & {n | some n in input.items} == {1, 2}", ""),
    ("{1, 2} - {2} == {1}", ""),
    (
        "[d | some n in input.items; n > 1; d := n * 2] == [6, 4]",
        "",
    ),
    (
        "{k: w | some k, v in data.limits; w := v + 1} == {\"dev\": 11, \"lead\": 101}",
        "",
    ),
    ("count(union({{1}, {2}})) == 2", ""),
    (
        "sum(input.items) == 6\n max(input.items) == 3\n sort(input.items) == [1, 2, 3]",
        "",
    ),
    (
        "limit == 100",
        "limit := max([data.limits[r] | some r in input.user.roles])",
    ),
    (
        "level == \"low\"",
        "default level := \"low\"\nlevel := \"high\" if input.high",
    ),
    (
        "grade(85) == \"b\"",
        "grade(n) := \"a\" if n >= 90\nelse := \"b\" if n >= 80\nelse := \"c\"",
    ),
    ("double(3) == 6", "double(n) := n * 2"),
    (
        "kind(\"x\") == 1\n kind(\"y\") == 2",
        "kind(\"x\") := 1\nkind(\"y\") := 2",
    ),
    ("f([1, 2]) == 3", "f([a, b]) := a + b"),
    (
        "names == {\"ann\", \"bob\", \"cy\"}",
        "names contains n if { some t in data.teams; some n in t }",
    ),
    (
        "owner[\"ann\"] == \"core\"",
        "owner[n] := t if { some t, ns in data.teams; some n in ns }",
    ),
    (
        "tier == 2",
        "tier := 1 if input.none else := 2 if input.user else := 3",
    ),
    (
        "sprintf(\"%s has %d, %v\", [\"ann\", 3, [1]]) == \"ann has 3, [1]\"",
        "",
    ),
    (
        "regex.match(`^https://[a-z.]+/v[0-9]+$`, input.tool.arguments.url)",
        "",
    ),
    (
        "glob.match(\"*.example.com\", [\".\"], \"api.example.com\")",
        "",
    ),
    (
        "some h in data.hosts\n glob.match(h, [\".\"], \"api.example.com\")",
        "",
    ),
    (
        "not glob.match(\"*.example.com\", [\".\"], \"a.b.example.com\")",
        "",
    ),
    (
        "time.parse_rfc3339_ns(input.time) == 1773480600000000000",
        "",
    ),
    (
        "[h, m, _] := time.clock(time.parse_rfc3339_ns(input.time))\n h == 9\n m == 30",
        "",
    ),
    (
        "time.weekday(time.parse_rfc3339_ns(input.time)) == \"Saturday\"",
        "",
    ),
    ("time.now_ns() > 1700000000000000000", ""),
    (
        "startswith(input.tool.arguments.url, \"https://\")\n endswith(\"abc\", \"bc\")",
        "",
    ),
    (
        "split(\"a.b\", \".\") == [\"a\", \"b\"]\n concat(\"-\", [\"a\", \"b\"]) == \"a-b\"",
        "",
    ),
    (
        "lower(\"AB\") == \"ab\"\n trim_prefix(\"v1\", \"v\") == \"1\"\n replace(\"aa\", \"a\", \"b\") == \"bb\"",
        "",
    ),
    (
        "object.get(input, [\"tool\", \"version\"], \"none\") == \"none\"",
        "",
    ),
    ("object.keys(data.limits) == {\"dev\", \"lead\"}", ""),
    (
        "json.unmarshal(\"{\\\"a\\\": 1}\").a == 1\n json.marshal({\"a\": 1}) == `{\"a\":1}`",
        "",
    ),
    ("base64.decode(\"aGk=\") == \"hi\"", ""),
    ("hex.encode(\"hi\") == \"6869\"", ""),
    ("semver.compare(\"1.2.0\", \"1.10.0\") == -1", ""),
    (
        "is_string(input.user.id)\n type_name(input.items) == \"array\"\n to_number(\"3\") == 3",
        "",
    ),
    (
        "array.concat([1], [2]) == [1, 2]\n array.slice([1, 2, 3], 1, 3) == [2, 3]",
        "",
    ),
    ("x := input.items[0]; y = x; y == 3", ""),
    (
        "{\"a\": a, \"b\": [b, _]} := {\"a\": 1, \"b\": [2, 3]}\n a + b == 3",
        "",
    ),
    (
        "7 % 4 == 3\n 7 / 2 == 3.5\n abs(-1) == 1\n round(2.5) == 3",
        "",
    ),
    ("data.lib.helper(2) == 4", ""),
    ("lib.constant == 5", ""),
    ("net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")", ""),
    ("base64url.decode(\"aGk\") == \"hi\"", ""),
    ("not to_number(input.user.id)", ""),
];

/// What the compiler lacks, and the interpreter does.
const GAPS: &[(&str, &str)] = &[
    (
        "high with input.items as [200]",
        "high if input.items[0] > 100",
    ),
    (
        "count(names) == 3",
        "names contains n if some n in data.teams[_]",
    ),
    (
        "lim.max == 10\n lim == {\"max\": 10, \"min\": 1}",
        "lim.max := 10\nlim.min := 1",
    ),
    ("lim == {\"max\": 10}", "lim[\"max\"] := 10"),
    (
        "groups.a == {\"x\"}",
        "groups[n] contains \"x\" if n := \"a\"",
    ),
    (
        "walk(input.tool, [path, value])\n path == [\"arguments\", \"n\"]\n value == 3",
        "",
    ),
    ("groups.a == {\"x\"}", "groups.a contains \"x\""),
];

fn text(body: &str, rules: &str) -> String {
    format!(
        "package nexus.agent.policy\nimport rego.v1\nimport data.lib\n{rules}\n\
         default allow := false\nallow if {{\n {body}\n}}\n"
    )
}

const LIB: &str = "package lib\nimport rego.v1\nhelper(n) := n * 2\nconstant := 5\n";

fn run(cases: &[(&str, &str)], form: Form) {
    let input: Json = serde_json::from_str(INPUT).unwrap();
    let mut failed = Vec::new();
    for (body, rules) in cases {
        let sources = [
            module("policy.rego", &text(body, rules)),
            module("lib.rego", LIB),
        ];
        match Bundle::compile(&sources, data()) {
            Err(error) => failed.push(format!("{body}: {error}")),
            Ok(bundle) if bundle.form() != form => failed.push(format!("{body}: other form")),
            Ok(bundle) => {
                let decision = patient(bundle).evaluate_json(&input);
                if !decision.is_allow() {
                    failed.push(format!("{body}: {:?}", decision.reasons));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn each_feature_works_compiled() {
    run(CASES, Form::Compiled);
}

#[test]
fn what_the_compiler_lacks_is_interpreted() {
    run(GAPS, Form::Interpreted);
}

#[test]
fn the_interpreter_agrees() {
    for (body, rules) in CASES {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(false);
        let policy = text(body, rules);
        engine.add_policy("policy.rego".to_owned(), policy).unwrap();
        engine
            .add_policy("lib.rego".to_owned(), LIB.to_owned())
            .unwrap();
        engine.add_data_json(&data().to_string()).unwrap();
        engine.set_input_json(INPUT).unwrap();
        let allow = engine.eval_rule("data.nexus.agent.policy.allow".to_owned());
        assert!(matches!(allow, Ok(Value::Bool(true))), "{body}: {allow:?}");
    }
}
