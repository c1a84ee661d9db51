//! Judgements of whole runs: asked, approved, judged again; void when the bundle or the step changed;
//! and what a policy obliges to at each point.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use nexus_events::catalog::{ModelInfo, Price};
use nexus_events::command::{Answer, DecideApproval, StartRun};
use nexus_events::ledger::Amounts;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::policy::{OnDoubt, SecretsDuty};
use nexus_events::run::{
    self, LlmCompleted, NewRun, ReservationGranted, RunEvent, SessionLink, Status, ToolPhase,
};
use nexus_events::{Actor, Aggregate, Position, RunId, Timestamp};
use serde_json::{Value as Json, json};

use super::*;
use crate::engine::{self, Bundle, DecisionError, Module};
use crate::input;

const EXAMPLE: &str = include_str!("../../bundles/example.rego");

fn in_force(text: &str) -> BundleInForce {
    let module = Module {
        path: "policy.rego".to_owned(),
        text: text.to_owned(),
    };
    let bundle = Bundle::compile(&[module], Json::Null).unwrap();
    // All the time that a busy machine needs.
    let limits = engine::Limits {
        wall: std::time::Duration::from_secs(60),
        ..engine::Limits::default()
    };
    BundleInForce::Ready(Arc::new(bundle.with_limits(limits)))
}

/// A bundle that gives this decision.
fn decides(decision: &str) -> BundleInForce {
    in_force(&format!(
        "package nexus.agent.policy\nimport rego.v1\ndecision := {decision}\n"
    ))
}

fn catalog() -> Catalog {
    let model = ModelInfo {
        provider: "local".into(),
        others: vec![],
        context_tokens: 8_000,
        max_output_tokens: 1_000,
        price: Price {
            input: 1_000_000,
            cached_input: 0,
            output: 2_000_000,
            ..Price::default()
        },
        tokenizer: None,
    };
    let models = ["small", "other"].map(|name| (name.to_owned(), model.clone()));
    Catalog {
        default_model: "small".into(),
        models: models.into(),
        ..Catalog::default()
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_353_377_328)
}

fn id() -> RunId {
    RunId::derive(&["judged"])
}

/// A run and the policy role's way with it.
struct Judged {
    run: Run,
    seq: u64,
    category: &'static str,
}

impl Judged {
    /// Just started, by a user with this role.
    fn started(role: &str) -> Self {
        let new = NewRun {
            given: None,
            run_id: id(),
            input: "hello".into(),
            command: StartRun {
                input: "hello".into(),
                ..StartRun::default()
            },
            pins: Default::default(),
            session: SessionLink {
                id: id().own_session(),
                previous: None,
                budget: None,
                policy_context: None,
            },
            parent: None,
            user: Actor {
                user: "ada".into(),
                roles: vec![role.to_owned()],
                ..Actor::default()
            },
            prompt_tokens: None,
            queued: None,
            trace_id: None,
        };
        let mut judged = Self {
            run: Run::default(),
            seq: 0,
            category: "data_analysis",
        };
        let events = run::start(&judged.run, new, &catalog()).unwrap();
        judged.record(&events);
        judged
    }

    /// Its model wants a calculation.
    fn wanting_a_tool(role: &str) -> Self {
        let mut judged = Self::started(role);
        judged.judge(&decides(r#"{"allow": true}"#));
        let granted = ReservationGranted {
            turn: 1,
            call_id: None,
            reservation_id: run::reservation_id(id(), 1, None, 0),
            amounts: Amounts::default(),
            time_limited: false,
            max_output_tokens: 100,
            expires_at: now().plus_millis(600_000),
            ledger_seq: 1,
        };
        let answer = LlmCompleted {
            turn: 1,
            provider: "local".into(),
            model: "small".into(),
            text: "".into(),
            tool_calls: vec![ToolCall {
                id: "a".into(),
                name: "calculator".into(),
                arguments: json!({ "expression": "6*7" }),
            }],
            finish: FinishReason::ToolCalls,
            usage: Usage::default(),
            cost_usd_micros: 0,
            duration_ms: 1,
            time_to_first_token_ms: None,
            attempts: 1,
            response_id: None,
            route: "the only one".into(),
            routing: None,
            findings: vec![],
            cached: None,
        };
        judged.record(&[granted.into(), answer.into()]);
        judged
    }

    fn record(&mut self, events: &[RunEvent]) {
        self.seq += 1;
        for (event, index) in events.iter().zip(0..) {
            let at = Position {
                seq: self.seq,
                index,
                time: now(),
            };
            self.run.evolve(event, at);
        }
    }

    /// As the role does it: each point that is due, then the record.
    fn judge(&mut self, bundle: &BundleInForce) -> Vec<PolicyDecided> {
        let tenant = "acme".parse().unwrap();
        let mut decisions = vec![];
        for point in self.run.points_to_judge() {
            let input = input::build(&self.run, &point, &tenant, &catalog(), None, now());
            let mut input = input.unwrap();
            if let Some(tool) = &mut input.tool {
                tool.category = Some(self.category.to_owned());
            }
            decisions.push(judge(bundle, &self.run, point, input, &catalog()));
        }
        let events = run::record_policy(&self.run, decisions, now());
        self.record(&events);
        let decided = |event: RunEvent| match event {
            RunEvent::PolicyDecided(decided) => Some(decided),
            _ => None,
        };
        events.into_iter().filter_map(decided).collect()
    }

    /// The only judgement.
    fn judge_one(&mut self, bundle: &BundleInForce) -> PolicyDecided {
        let mut decided = self.judge(bundle);
        assert_eq!(decided.len(), 1, "{decided:?}");
        decided.remove(0)
    }

    fn answer(&mut self, user: &str, role: &str, arguments: Option<Json>) -> Result<(), String> {
        let command = DecideApproval {
            run_id: id(),
            approval_id: *self.run.approvals.keys().next().unwrap(),
            answer: Answer::Approve,
            reason: None,
            subject: None,
            arguments,
        };
        let actor = Actor {
            user: user.into(),
            roles: vec![role.into()],
            ..Actor::default()
        };
        let events = run::decide_approval(&self.run, &command, &actor, now());
        let events = events.map_err(|error| error.code().to_owned())?;
        self.record(&events);
        Ok(())
    }

    fn phase(&self) -> ToolPhase {
        self.run.tool_step(1, "a").unwrap().phase.clone()
    }
}

#[test]
fn the_example_policy_wants_a_second_person_for_system_tools() {
    let example = in_force(EXAMPLE);
    let mut judged = Judged::wanting_a_tool("user");
    judged.category = "system";
    let decided = judged.judge_one(&example);
    assert!(!decided.allowed);
    assert_eq!(decided.approval, Some(ApprovalRequirement::default()));
    assert_eq!(judged.phase(), ToolPhase::Approve);

    assert_eq!(judged.answer("ada", "admin", None), Err("forbidden".into()));
    assert_eq!(judged.answer("bob", "user", None), Err("forbidden".into()));
    judged.answer("bob", "admin", None).unwrap();
    let decided = judged.judge_one(&example);
    assert!(decided.allowed, "{decided:?}");
    assert_eq!(
        decided.reasons,
        ["Sensitive tools need a second person."],
        "the policy saw who approved"
    );
    assert!(matches!(judged.phase(), ToolPhase::Reserve { .. }));
}

#[test]
fn people_are_not_asked_where_their_answer_changes_nothing() {
    let mut judged = Judged::wanting_a_tool("user");
    judged.category = "code";
    let decided = judged.judge_one(&in_force(EXAMPLE));
    assert_eq!((decided.allowed, decided.approval), (false, None));
    assert!(judged.run.approvals.is_empty());
}

#[test]
fn a_policy_that_cannot_decide_asks_nobody() {
    let broken = BundleInForce::Broken {
        digest: "sha256:0".to_owned(),
        error: DecisionError::BundleUnusable {
            reason: "gone".to_owned(),
        },
    };
    let mut judged = Judged::wanting_a_tool("admin");
    let decided = judged.judge_one(&broken);
    assert_eq!(
        (decided.allowed, decided.approval.is_some()),
        (false, false)
    );
    assert!(decided.error.is_some());
}

#[test]
fn a_requirement_names_roles_number_and_time() {
    let bundle = decides(
        r#"{"allow": true, "require_approval": {"roles": ["auditor"], "count": 2,
            "expires_seconds": 5, "escalate_seconds": 2, "escalate_to": ["chief"]}}"#,
    );
    let mut judged = Judged::wanting_a_tool("user");
    judged.judge_one(&bundle);
    let asked = judged.run.approvals.values().next().unwrap().asked.clone();
    assert_eq!((asked.roles, asked.count), (vec!["auditor".to_owned()], 2));
    assert_eq!(asked.expires_at, now().plus_millis(5_000));
    assert_eq!(asked.escalate_at, Some(now().plus_millis(2_000)));
    judged.answer("bob", "auditor", None).unwrap();
    judged.answer("eve", "auditor", None).unwrap();
    assert!(judged.judge_one(&bundle).allowed);
}

#[test]
fn an_approval_under_another_bundle_is_void_and_asked_anew() {
    let ask = r#"{"allow": true, "require_approval": {"roles": ["boss"]}}"#;
    let mut judged = Judged::wanting_a_tool("user");
    judged.judge_one(&decides(ask));
    let first = *judged.run.approvals.keys().next().unwrap();
    judged.answer("bob", "boss", None).unwrap();
    let other = decides(&ask.replace("boss", "chief"));
    let decided = judged.judge_one(&other);
    assert_eq!(decided.void, Some(first));
    assert!(decided.reasons.concat().contains("void"), "{decided:?}");
    assert_eq!(judged.phase(), ToolPhase::Approve);
    let anew = *judged.run.approvals.keys().next().unwrap();
    assert_ne!(first, anew);
    judged.answer("bob", "chief", None).unwrap();
    let decided = judged.judge_one(&other);
    assert_eq!((decided.allowed, decided.void), (true, None));
}

#[test]
fn a_bundle_that_allows_it_now_needs_no_approval_and_one_that_forbids_it_hears_none() {
    let ask = decides(r#"{"allow": true, "require_approval": true}"#);
    for (now, allowed) in [("true", true), ("false", false)] {
        let mut judged = Judged::wanting_a_tool("user");
        judged.judge_one(&ask);
        judged.answer("bob", "admin", None).unwrap();
        let decided = judged.judge_one(&decides(&format!(r#"{{"allow": {now}}}"#)));
        assert_eq!(decided.allowed, allowed, "{decided:?}");
        assert!(decided.void.is_some());
    }
}

#[test]
fn arguments_that_an_approver_changed_are_judged_as_they_are() {
    let bundle = in_force(
        r#"package nexus.agent.policy
           import rego.v1
           default decision := {"allow": false, "reasons": ["not these"]}
           decision := {"allow": true, "require_approval": true} if {
               not contains(input.tool.arguments.expression, "13")
           }"#,
    );
    for (expression, allowed) in [("1+1", true), ("13*13", false)] {
        let mut judged = Judged::wanting_a_tool("user");
        judged.judge_one(&bundle);
        let arguments = json!({ "expression": expression });
        judged.answer("bob", "admin", Some(arguments)).unwrap();
        let decided = judged.judge_one(&bundle);
        assert_eq!(decided.allowed, allowed, "{decided:?}");
        assert_eq!(decided.void, None);
        let step = judged.run.tool_step(1, "a");
        assert_eq!(step.is_some(), allowed, "denied, the model is told");
    }
}

#[test]
fn an_approved_start_is_nothing_for_its_model_call() {
    let bundle = in_force(
        r#"package nexus.agent.policy
           import rego.v1
           default decision := {"allow": true}
           decision := {"allow": true, "require_approval": true} if input.point == "run.start""#,
    );
    let mut judged = Judged::started("user");
    judged.judge_one(&bundle);
    assert_eq!(judged.run.status, Status::Pending);
    judged.answer("bob", "admin", None).unwrap();
    let decided = judged.judge(&bundle);
    assert!(decided.iter().all(|decided| decided.allowed), "{decided:?}");
    assert_eq!(decided.len(), 2);
    assert!(decided.iter().all(|decided| decided.void.is_none()));
    assert_eq!(judged.run.status, Status::Running);
}

/// What comes of an obligation at the start and the model call, and at the tool call.
fn obliged(key: &str, value: &str) -> (Judged, PolicyDecided, Judged, PolicyDecided) {
    let bundle = decides(&format!(
        r#"{{"allow": true, "obligations": {{"{key}": {value}}}}}"#
    ));
    let mut start = Judged::started("user");
    let mut decided = start.judge(&bundle);
    let last = decided.pop().unwrap();
    let mut tool = Judged::wanting_a_tool("user");
    let at_tool = tool.judge_one(&bundle);
    (start, last, tool, at_tool)
}

fn asks(run: &Run, call: Option<&str>) -> nexus_events::ledger::Ask {
    run::ask(run, 1, call, &catalog()).unwrap().unwrap()
}

#[test]
fn tokens_and_cost_lower_the_answer_and_are_no_business_of_a_tool() {
    let (start, call, tool, at_tool) = obliged("max_tokens", "50");
    assert!(call.allowed);
    assert_eq!(asks(&start.run, None).max_output_tokens, 50);
    assert!(!at_tool.allowed && at_tool.error.is_some(), "{at_tool:?}");
    assert!(tool.run.tool_step(1, "a").is_none(), "the model is told");

    let (start, call, _, at_tool) = obliged("max_cost_usd_micros", "3000");
    assert!(call.allowed);
    let ask = asks(&start.run, None);
    let affordable = (3_000 - ask.input_tokens) / 2;
    assert_eq!(ask.max_output_tokens, affordable);
    assert!(affordable < 1_000, "less than the model could");
    assert!(!at_tool.allowed);

    let (start, call, ..) = obliged("max_cost_usd_micros", "1");
    assert!(!call.allowed, "no answer can be had for it: {call:?}");
    assert_eq!(start.run.status, Status::Failed);
}

#[test]
fn time_is_bounded_for_model_and_tool() {
    let (start, call, tool, at_tool) = obliged("timeout_ms", "1500");
    assert!(call.allowed && at_tool.allowed);
    assert_eq!(asks(&start.run, None).time_ms, 1_500);
    assert_eq!(asks(&tool.run, Some("a")).time_ms, 1_500);
}

#[test]
fn another_model_is_taken_where_it_is_offered() {
    let (start, call, _, at_tool) = obliged("model", r#""other""#);
    assert!(call.allowed && !at_tool.allowed);
    assert_eq!(start.run.model, "other");
    let (start, call, ..) = obliged("model", r#""unheard-of""#);
    assert!(!call.allowed, "{call:?}");
    assert_eq!(start.run.status, Status::Failed);
}

#[test]
fn fields_are_left_out_of_what_the_model_writes_and_of_what_tools_get() {
    let (start, call, tool, at_tool) = obliged("redact", r#"["secret"]"#);
    assert!(call.allowed && at_tool.allowed);
    assert_eq!(start.run.turn_duties.redact, ["secret"]);
    assert_eq!(
        tool.run.tool_step(1, "a").unwrap().duties.redact,
        ["secret"]
    );
}

#[test]
fn the_content_filter_is_no_business_of_a_tool() {
    use nexus_events::content::{Action, Class};
    let (start, call, _, at_tool) = obliged("filter", r#"{"output": {"secret": "refuse"}}"#);
    assert!(call.allowed && !at_tool.allowed, "{call:?} {at_tool:?}");
    for duties in [&start.run.duties, &start.run.turn_duties] {
        let filter = duties.filter.as_ref().unwrap();
        assert_eq!(filter.output[&Class::Secret], Action::Refuse);
    }
    for wrong in [
        r#"{"output": {"secrets": "refuse"}}"#,
        r#"{"output": {"secret": "off"}}"#,
        r#"{"to": {}}"#,
    ] {
        let (_, call, ..) = obliged("filter", wrong);
        assert!(!call.allowed, "what is not known denies: {wrong}");
    }
}

#[test]
fn permissions_are_narrowed_of_tools_alone() {
    let document = r#"{"network": {"allowed_hosts": ["a.example"]}, "max_memory": "1MB"}"#;
    let (_, call, tool, at_tool) = obliged("permissions", document);
    assert!(!call.allowed && at_tool.allowed, "{call:?} {at_tool:?}");
    let duties = &tool.run.tool_step(1, "a").unwrap().duties;
    let permissions = duties.permissions.as_ref().unwrap();
    let network = permissions.network.as_ref().unwrap();
    assert_eq!(network.allowed_hosts, ["a.example"]);
    let (_, _, _, at_tool) = obliged("permissions", r#"{"netwrok": {}}"#);
    assert!(!at_tool.allowed, "a permission that is not known");
}

#[test]
fn doubts_and_secrets_are_of_tools_alone() {
    let (_, call, tool, at_tool) = obliged("on_doubt", r#""retry""#);
    assert!(!call.allowed && at_tool.allowed, "{call:?} {at_tool:?}");
    let duties = &tool.run.tool_step(1, "a").unwrap().duties;
    assert_eq!(duties.on_doubt, Some(OnDoubt::Retry));
    let (_, call, tool, at_tool) = obliged("secrets", r#""refuse""#);
    assert!(!call.allowed && at_tool.allowed, "{call:?} {at_tool:?}");
    let duties = &tool.run.tool_step(1, "a").unwrap().duties;
    assert_eq!(duties.secrets, Some(SecretsDuty::Refuse));
    for (key, value) in [("on_doubt", r#""done""#), ("secrets", r#""keep""#)] {
        let (_, _, _, at_tool) = obliged(key, value);
        assert!(!at_tool.allowed, "{key} = {value} is not for policy to say");
    }
}

#[test]
fn an_obligation_that_is_not_known_denies() {
    let (_, call, _, at_tool) = obliged("sing", "true");
    assert!(!call.allowed && !at_tool.allowed);
    assert!(call.error.is_some());
}
