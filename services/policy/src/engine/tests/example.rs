//! A policy as people write them: v0, with `in` and without its import. Taken as it is.

use super::super::{Approval, Budget, Dialect, Input, Point, Session, Tool, User};
use super::*;

const EXAMPLE: &str = include_str!("../../../bundles/example.rego");

fn input(role: &str, category: &str, tokens: u64, approval: Option<(&str, &str)>) -> Input {
    let user = User {
        id: "ann".to_owned(),
        role: Some(role.to_owned()),
        ..User::default()
    };
    Input {
        tool: Some(Tool {
            name: "some_tool".to_owned(),
            category: Some(category.to_owned()),
            ..Tool::default()
        }),
        session: Some(Session {
            id: "s1".to_owned(),
            budget: Some(Budget {
                tokens: Some(tokens),
                ..Budget::default()
            }),
            policy_context: None,
        }),
        approval: approval.map(|(status, approver)| Approval {
            status: status.to_owned(),
            approver: Some(approver.to_owned()),
            approvers: vec![approver.to_owned()],
        }),
        ..Input::new(Point::ToolCall, "acme", user)
    }
}

/// What the three rules say, written down a second time in another language.
fn expected(role: &str, category: &str, tokens: u64, approval: Option<(&str, &str)>) -> bool {
    let ordinary = role == "user"
        && ["http", "text_processing", "data_analysis"].contains(&category)
        && tokens > 1000;
    let sensitive = category == "system"
        && approval.is_some_and(|(status, approver)| status == "approved" && approver != "ann");
    ordinary || role == "admin" || sensitive
}

#[test]
fn the_whole_truth_table() {
    let bundle = bundle(EXAMPLE);
    let mut rows = 0;
    for role in ["user", "admin", "guest", ""] {
        for category in ["http", "text_processing", "data_analysis", "system", "code"] {
            for tokens in [0, 999, 1000, 1001, u64::MAX] {
                for approval in [
                    None,
                    Some(("pending", "bob")),
                    Some(("denied", "bob")),
                    Some(("approved", "bob")),
                    Some(("approved", "ann")),
                ] {
                    let decision = bundle.evaluate(&input(role, category, tokens, approval));
                    let row = format!("{role} {category} {tokens} {approval:?}: {decision:?}");
                    assert_eq!(decision.error, None, "{row}");
                    let allowed = expected(role, category, tokens, approval);
                    assert_eq!(decision.is_allow(), allowed, "{row}");
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 500);
}

#[test]
fn parts_that_are_absent_do_not_allow() {
    let bundle = bundle(EXAMPLE);
    let whole = serde_json::to_value(input("user", "http", 2000, None)).unwrap();
    assert!(bundle.evaluate_json(&whole).is_allow());
    for part in ["user", "tool", "session"] {
        let mut without = whole.clone();
        without.as_object_mut().unwrap().remove(part);
        assert!(denies(&bundle.evaluate_json(&without)), "without {part}");
    }
    let system = serde_json::to_value(input("user", "system", 2000, None)).unwrap();
    assert!(denies(&bundle.evaluate_json(&system)));
}

#[test]
fn it_says_which_rule_fired() {
    let bundle = bundle(EXAMPLE);
    let explain = |input: &Input| {
        let decision = bundle.evaluate(input);
        (decision.rules.join(" "), decision.reasons.join(" "))
    };
    let rule = |line: u32| format!("nexus.agent.policy.allow@policy.rego:{line}");
    assert_eq!(
        explain(&input("user", "http", 2000, None)),
        (
            rule(6),
            "Ordinary users run basic tools while their session can still pay for it.".to_owned()
        )
    );
    assert_eq!(
        explain(&input("admin", "system", 0, None)),
        (rule(13), "Administrators run every tool.".to_owned())
    );
    assert_eq!(
        explain(&input("user", "system", 0, Some(("approved", "bob")))),
        (rule(18), "Sensitive tools need a second person.".to_owned())
    );
    assert_eq!(
        explain(&input("user", "system", 0, None)),
        (
            "nexus.agent.policy.allow".to_owned(),
            "no rule allows it".to_owned()
        )
    );
}

#[test]
fn it_is_read_as_v0_with_the_keywords_imported() {
    let bundle = bundle(EXAMPLE);
    let dialects: Vec<_> = bundle.dialects().collect();
    assert_eq!(dialects, [("policy.rego", Dialect::V0FutureKeywords)]);
    assert_eq!(bundle.entry_points(), ["data.nexus.agent.policy.allow"]);
}

#[test]
fn what_an_approval_would_change_can_be_asked() {
    let bundle = bundle(EXAMPLE);
    assert!(bundle.approval_would_allow(&input("user", "system", 0, None)));
    assert!(!bundle.approval_would_allow(&input("user", "code", 0, None)));
}
