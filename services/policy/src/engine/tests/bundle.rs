//! The bundle as a thing: its name, its bounds, its tests, and many threads that ask it.

use super::super::BundleErrorKind;
use super::*;

const A: &str = "package nexus.agent.policy\nallow if data.lib.yes\n";
const B: &str = "package lib\nyes if input.user.id in data.people\n";

fn digest(sources: &[Module], data: Json) -> String {
    Bundle::compile(sources, data).unwrap().digest().to_owned()
}

#[test]
fn the_digest_depends_on_content_alone() {
    let (a, b) = (module("a.rego", A), module("b.rego", B));
    let people = json!({"people": ["ann"], "z": {"y": 1, "x": [1, 2]}});
    let first = digest(&[a.clone(), b.clone()], people.clone());
    assert_eq!(first.len(), "sha256:".len() + 64);
    assert_eq!(first, digest(&[b.clone(), a.clone()], people.clone()));
    let reordered =
        serde_json::from_str("{\"z\":{\"x\":[1,2],\"y\":1},\"people\":[\"ann\"]}").unwrap();
    assert_eq!(first, digest(&[a.clone(), b.clone()], reordered));
    let renamed = module("c.rego", B);
    let edited = module("b.rego", &format!("{B}\n"));
    assert_ne!(first, digest(&[a.clone(), renamed], people.clone()));
    assert_ne!(first, digest(&[a.clone(), edited], people));
    assert_ne!(
        first,
        digest(&[a.clone(), b.clone()], json!({"people": ["bob"]}))
    );
    assert_eq!(
        digest(&[a.clone(), b.clone()], Json::Null),
        digest(&[a, b], json!({}))
    );
}

#[test]
fn the_digest_does_not_change_between_versions() {
    assert_eq!(
        digest(
            &[module("a.rego", "package a\nallow := true\n")],
            json!({"k": [1, "x"]})
        ),
        "sha256:fefbdd80b4775e3f164a90cf55f16c9fb6493b39f4d6d90bb8cdcddcd43a0ff1"
    );
}

#[test]
fn sizes_are_bounded() {
    let kind = |sources: &[Module], data: Json| Bundle::compile(sources, data).unwrap_err().kind;
    let a = module("a.rego", "package a\nallow := true\n");
    assert_eq!(kind(&[], Json::Null), BundleErrorKind::Size);
    assert_eq!(
        kind(&[a.clone(), a.clone()], Json::Null),
        BundleErrorKind::Size
    );
    assert_eq!(
        kind(&[module("", &a.text)], Json::Null),
        BundleErrorKind::Size
    );
    assert_eq!(
        kind(&[module("a\nb", &a.text)], Json::Null),
        BundleErrorKind::Size
    );
    let large = module(
        "b.rego",
        &format!("package b\n{}", "# x\n".repeat(1_100_000)),
    );
    assert_eq!(kind(&[a.clone(), large], Json::Null), BundleErrorKind::Size);
    let many: Vec<Module> = (0..129)
        .map(|i| module(&format!("{i}.rego"), &a.text))
        .collect();
    assert_eq!(kind(&many, Json::Null), BundleErrorKind::Size);
    assert_eq!(
        kind(std::slice::from_ref(&a), json!([1])),
        BundleErrorKind::Data
    );
    let deep = (0..70).fold(json!(1), |inner, _| json!({"a": inner}));
    assert_eq!(kind(std::slice::from_ref(&a), deep), BundleErrorKind::Data);
    let wide = json!({"a": "x".repeat(17 * 1024 * 1024)});
    assert_eq!(kind(std::slice::from_ref(&a), wide), BundleErrorKind::Data);
    assert_eq!(
        kind(&[a], json!({"a": {"allow": true}})),
        BundleErrorKind::Data
    );
}

#[test]
fn memory_bombs_are_refused() {
    for body in [
        "count(numbers.range(1, input.n)) > 0",
        "count(numbers.range_step(1, input.n, 1)) > 0",
        "bits.lsh(1, input.n) > 0",
        "sprintf(\"%4000000000d\", [input.n]) != \"\"",
    ] {
        let error = fault(&format!("package nexus.agent.policy\nallow if {body}\n"));
        assert_eq!(error.kind, BundleErrorKind::Forbidden, "{body}: {error}");
        assert_eq!(error.line, Some(2));
    }
}

#[test]
fn recursion_is_refused() {
    for body in [
        "allow if allow",
        "allow if a\na if b\nb if a",
        "allow if f(3)\nf(n) if { n > 0\n f(n - 1) }",
        "allow if data.nexus.agent.policy[input.rule]",
    ] {
        let error = fault(&format!("package nexus.agent.policy\n{body}\n"));
        assert_eq!(error.kind, BundleErrorKind::Compile, "{body}: {error}");
    }
}

fn chain(length: usize) -> String {
    let mut text = format!("package nexus.agent.policy\nallow if r0\nr{length} if input.user\n");
    for index in 0..length {
        text.push_str(&format!(
            "r{index} if {{ some x in [1]\n x > 0\n r{} }}\n",
            index + 1
        ));
    }
    text
}

#[test]
fn deep_calls_do_not_need_the_stack_of_the_caller() {
    for (length, stack_bytes) in [(14, 1536 * 1024), (62, 128 * 1024)] {
        let bundle = bundle(&chain(length));
        let decision = std::thread::Builder::new()
            .stack_size(stack_bytes)
            .spawn(move || ask(&bundle))
            .unwrap()
            .join()
            .unwrap();
        assert!(decision.is_allow(), "{decision:?}");
    }
    assert_eq!(fault(&chain(63)).kind, BundleErrorKind::Compile);
    assert_eq!(fault(&chain(1990)).kind, BundleErrorKind::Compile);
    assert_eq!(fault(&chain(2000)).kind, BundleErrorKind::Compile);
    let interpreted = bundle(&format!("{}odd.head := 1\n", chain(500)));
    let decision = ask(&interpreted);
    assert!(decision.is_allow(), "{decision:?}");
}

#[test]
fn a_bundle_runs_its_own_tests() {
    let bundle = policy(
        "allow if input.user.id == \"ann\"\n\
         test_ann if allow with input as {\"user\": {\"id\": \"ann\"}}\n\
         test_bob if allow with input as {\"user\": {\"id\": \"bob\"}}\n\
         test_false := false\n\
         test_error if { allow\n 1 / 0 == 1 }",
    );
    let outcomes: Vec<_> = bundle
        .run_tests()
        .into_iter()
        .map(|test| {
            (
                test.name,
                test.file,
                test.line,
                test.passed,
                test.reason.is_some(),
            )
        })
        .collect();
    let row = |name: &str, line, passed: bool| {
        let name = format!("nexus.agent.policy.{name}");
        (name, "policy.rego".to_owned(), line, passed, !passed)
    };
    assert_eq!(
        outcomes,
        [
            row("test_ann", 3, true),
            row("test_bob", 4, false),
            row("test_error", 6, false),
            row("test_false", 5, false),
        ]
    );
}

#[test]
fn a_runaway_test_ends() {
    let xs: Vec<u32> = (0..1000).collect();
    let text = "package nexus.agent.policy\nallow := true\n\
        test_runaway if count([1 | some a in data.xs; some b in data.xs; some c in data.xs]) > 0\n";
    let bundle = Bundle::compile(&[module("policy.rego", text)], json!({"xs": xs})).unwrap();
    let outcomes = bundle.run_tests();
    assert_eq!(outcomes.len(), 1);
    assert!(!outcomes[0].passed);
}

#[test]
fn eight_threads_get_their_own_answers() {
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    let bundle = Bundle::compile(
        &[module("a.rego", A), module("b.rego", B)],
        json!({"people": ["p0", "p2", "p4", "p6"]}),
    )
    .unwrap();
    is_shared(&bundle);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let bundle = &bundle;
            scope.spawn(move || {
                let input = json!({"user": {"id": format!("p{thread}")}});
                for _ in 0..500 {
                    assert_eq!(bundle.evaluate_json(&input).is_allow(), thread % 2 == 0);
                }
            });
        }
    });
}
