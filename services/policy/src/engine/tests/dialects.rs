//! Which dialect is taken, and where a fault is said to be.

use super::super::{BundleErrorKind, Dialect};
use super::*;

fn dialect(text: &str) -> Dialect {
    let bundle = bundle(text);
    let found: Vec<_> = bundle.dialects().map(|(_, dialect)| dialect).collect();
    assert_eq!(found.len(), 1);
    found[0]
}

#[test]
fn v1() {
    let text = "package nexus.agent.policy\nallow if input.user.id in [\"ann\"]\n";
    assert_eq!(dialect(text), Dialect::V1);
    assert!(ask(&bundle(text)).is_allow());
}

#[test]
fn v1_with_its_import() {
    let text = "package nexus.agent.policy\nimport rego.v1\nallow if input.user.id == \"ann\"\n";
    assert_eq!(dialect(text), Dialect::V1);
}

#[test]
fn v0() {
    let text = "package nexus.agent.policy\nallow { input.user.id == \"ann\" }\n";
    assert_eq!(dialect(text), Dialect::V0);
    assert!(ask(&bundle(text)).is_allow());
}

#[test]
fn v0_with_its_own_imports() {
    let text = "package nexus.agent.policy\nimport future.keywords.in\n\
                allow { input.user.id in [\"ann\"] }\n";
    assert_eq!(dialect(text), Dialect::V0);
    assert!(ask(&bundle(text)).is_allow());
}

#[test]
fn v0_without_the_imports_it_needs() {
    let text = "package nexus.agent.policy\n\nallow { input.user.id in [\"ann\"] }\n\
                deny[msg] { every x in [1] { x == 2 }\n msg := \"no\" }\n";
    assert_eq!(dialect(text), Dialect::V0FutureKeywords);
    assert!(ask(&bundle(text)).is_allow());
}

#[test]
fn dialects_mix_in_a_bundle() {
    let bundle = Bundle::compile(
        &[
            module(
                "b.rego",
                "package nexus.agent.policy\nallow { data.team.member }\n",
            ),
            module(
                "a.rego",
                "package team\nmember if input.user.id in data.members\n",
            ),
        ],
        json!({"members": ["ann"]}),
    )
    .unwrap();
    let dialects: Vec<_> = bundle.dialects().collect();
    assert_eq!(dialects, [("a.rego", Dialect::V1), ("b.rego", Dialect::V0)]);
    assert!(ask(&bundle).is_allow());
}

fn place(text: &str) -> (BundleErrorKind, Option<String>, Option<u32>, Option<u32>) {
    let error = fault(text);
    assert!(!error.reason.is_empty() && !error.reason.contains("-->"));
    (error.kind, error.file, error.line, error.column)
}

fn at(
    kind: BundleErrorKind,
    line: u32,
    column: u32,
) -> (BundleErrorKind, Option<String>, Option<u32>, Option<u32>) {
    (
        kind,
        Some("policy.rego".to_owned()),
        Some(line),
        Some(column),
    )
}

#[test]
fn a_syntax_fault_has_a_place() {
    let text = "package nexus.agent.policy\n\nallow if {\n  1 ==\n}\n";
    assert_eq!(place(text), at(BundleErrorKind::Syntax, 5, 1));
    let error = fault(text);
    assert_eq!(error.to_string(), "policy.rego:5:1: expecting expression");
}

#[test]
fn a_fault_in_v0_has_the_place_of_its_own_text() {
    let text = "package nexus.agent.policy # mine\nallow {\n  input.x in [1]\n  2 ==\n}\n";
    assert_eq!(place(text), at(BundleErrorKind::Syntax, 5, 1));
}

#[test]
fn an_unsafe_variable_has_a_place() {
    let text = "package nexus.agent.policy\nallow if {\n  nobody == 1\n}\n";
    assert_eq!(place(text), at(BundleErrorKind::Compile, 3, 3));
}

#[test]
fn an_unknown_function_has_a_place() {
    let text = "package nexus.agent.policy\nallow if frobnicate(input.x)\n";
    assert_eq!(place(text), at(BundleErrorKind::Compile, 2, 10));
}

#[test]
fn the_entry_point_must_be_there_and_clear() {
    assert_eq!(
        fault("package other\nx := 1\n").kind,
        BundleErrorKind::NoEntryPoint
    );
    let two = [
        module("a.rego", "package a\nallow := true\n"),
        module("b.rego", "package b\nallow := false\n"),
    ];
    let error = Bundle::compile(&two, Json::Null).unwrap_err();
    assert_eq!(error.kind, BundleErrorKind::AmbiguousEntryPoint);
    assert!(error.reason.contains("data.a, data.b"), "{error}");
}

#[test]
fn any_single_package_answers_and_the_usual_one_wins() {
    assert!(ask(&bundle("package my[\"odd-name\"]\nallow := true\n")).is_allow());
    let two = [
        module("a.rego", "package a\nallow := true\n"),
        module("b.rego", "package nexus.agent.policy\nallow := false\n"),
    ];
    let bundle = Bundle::compile(&two, Json::Null).unwrap();
    assert!(denies(&ask(&bundle)));
}
