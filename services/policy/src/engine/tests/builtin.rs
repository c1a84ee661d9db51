//! The bundle of a new tenant.

use super::super::{Budget, Dialect, Input, Point, Session, Tool, User, builtin};
use super::*;

fn input(point: Point, id: &str, role: &str) -> Input {
    let user = User {
        id: id.to_owned(),
        role: Some(role.to_owned()),
        ..User::default()
    };
    Input::new(point, "acme", user)
}

fn rule(input: &Input) -> (Effect, String) {
    let decision = builtin().unwrap().evaluate(input);
    assert_eq!(decision.error, None, "{decision:?}");
    assert!(!decision.reasons.is_empty());
    (decision.effect, decision.rules.join(" "))
}

#[test]
fn its_own_tests_pass() {
    let outcomes = builtin().unwrap().run_tests();
    assert!(outcomes.len() >= 8);
    for test in outcomes {
        assert!(test.passed, "{test:?}");
    }
}

#[test]
fn it_is_v1_and_answers_with_an_object() {
    let bundle = builtin().unwrap();
    assert!(bundle.dialects().all(|(_, dialect)| dialect == Dialect::V1));
    assert_eq!(bundle.entry_points(), ["data.nexus.agent.policy.decision"]);
}

#[test]
fn users_start_runs_and_call_models_until_the_budget_is_spent() {
    for (point, name) in [(Point::RunStart, "run_start"), (Point::LlmCall, "llm_call")] {
        let mut input = input(point, "ann", "user");
        assert_eq!(rule(&input), (Effect::Allow, name.to_owned()));
        let mut session = Session {
            id: "s".to_owned(),
            budget: Some(Budget {
                tokens: Some(1),
                ..Budget::default()
            }),
            policy_context: None,
        };
        input.session = Some(session.clone());
        assert_eq!(rule(&input), (Effect::Allow, name.to_owned()));
        session.budget = Some(Budget {
            tokens: Some(0),
            ..Budget::default()
        });
        input.session = Some(session);
        assert_eq!(rule(&input), (Effect::Deny, "budget".to_owned()));
    }
    let nobody = input(Point::RunStart, "", "admin");
    assert_eq!(rule(&nobody), (Effect::Deny, "signed_in".to_owned()));
}

#[test]
fn tools_go_by_category_and_role() {
    let call = |role, category: Option<&str>| {
        let mut input = input(Point::ToolCall, "ann", role);
        input.tool = Some(Tool {
            name: "t".to_owned(),
            category: category.map(str::to_owned),
            ..Tool::default()
        });
        rule(&input)
    };
    for safe in ["http", "data_analysis", "text_processing"] {
        assert_eq!(
            call("user", Some(safe)),
            (Effect::Allow, "safe_tool".to_owned())
        );
    }
    for other in [Some("system"), Some("code"), None] {
        assert_eq!(call("user", other), (Effect::Deny, "tool".to_owned()));
        assert_eq!(
            call("admin", other),
            (Effect::Allow, "admin_tool".to_owned())
        );
    }
}
