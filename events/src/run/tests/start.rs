//! `run.start`: what is accepted, and what it begins with.

use super::*;
use crate::catalog::Catalog;
use crate::command::StartRun;
use crate::tool::ToolPin;

fn refused(change: impl FnOnce(&mut StartRun)) -> String {
    let mut command = hello();
    change(&mut command);
    let limits = StartLimits { input_bytes: 100 };
    match validate(&command, &catalog(), limits) {
        Err(DomainError::Invalid { field, reason }) => {
            assert!(!reason.is_empty());
            field
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_is_checked_and_named() {
    assert_eq!(refused(|start| start.input = String::new()), "input");
    assert_eq!(refused(|start| start.input = " \n\t".into()), "input");
    assert_eq!(refused(|start| start.input = "x".repeat(101)), "input");
    assert_eq!(
        refused(|start| start.idempotency_key = Some(String::new())),
        "idempotency_key"
    );
    assert_eq!(
        refused(|start| start.idempotency_key = Some("x".repeat(257))),
        "idempotency_key"
    );
    let both = |start: &mut StartRun| {
        start.run_id = Some(run_id());
        start.idempotency_key = Some("key".into());
    };
    assert_eq!(refused(both), "idempotency_key");
    assert_eq!(
        refused(|start| start.agent = Some("nobody".into())),
        "agent"
    );
    assert_eq!(refused(|start| start.model = Some("huge".into())), "model");
    assert_eq!(
        refused(|start| start.tools = Some(vec!["calculator@9.0.0".into()])),
        "tools"
    );
    let many = |start: &mut StartRun| {
        start.metadata = (0..33).map(|n| (n.to_string(), String::new())).collect();
    };
    assert_eq!(refused(many), "metadata");
    let long_key = |start: &mut StartRun| {
        start.metadata.insert("k".repeat(65), "v".into());
    };
    assert_eq!(refused(long_key), "metadata");
    let long_value = |start: &mut StartRun| {
        start.metadata.insert("k".into(), "v".repeat(513));
    };
    assert_eq!(refused(long_value), "metadata");
}

#[test]
fn the_largest_that_is_allowed_is_accepted() {
    let command = StartRun {
        input: "x".repeat(100),
        idempotency_key: Some("k".repeat(256)),
        agent: Some("default".into()),
        model: Some(MODEL.into()),
        tools: Some(vec!["calculator".into()]),
        metadata: (0..32)
            .map(|n| (format!("{n:064}"), "v".repeat(512)))
            .collect(),
        ..StartRun::default()
    };
    assert_eq!(
        validate(&command, &catalog(), StartLimits { input_bytes: 100 }),
        Ok(())
    );
}

#[test]
fn an_unknown_name_is_told_what_is_known_and_cut() {
    let command = StartRun {
        model: Some("m".repeat(500)),
        ..hello()
    };
    let error = validate(&command, &catalog(), StartLimits { input_bytes: 100 });
    let text = error.expect_err("it is not known").to_string();
    assert!(text.contains("known: small") && text.len() < 150, "{text}");
}

#[test]
fn a_run_begins_pinned_to_agent_and_model_and_policy_judges_it() {
    let story = given([started()])
        .then(&["started"])
        .due(&["evaluate"])
        .is(Status::Pending);
    let info = story.run.info().expect("it began");
    assert_eq!(
        (info.agent.name.as_str(), info.agent.version.as_str()),
        ("default", "1")
    );
    assert_eq!((info.model.as_str(), info.max_turns), (MODEL, 16));
    assert_eq!(info.tools, ["calculator"]);
    assert_eq!(
        story.run.points_to_judge(),
        [PolicyPoint::RunStart, call_point(1)]
    );
    assert_eq!(story.run.turn, 1);
}

#[test]
fn the_model_is_the_callers_else_the_agents_first_else_the_default() {
    let mut catalog = catalog();
    for name in ["big", "huge"] {
        catalog.models.insert(name.into(), model());
    }
    let chosen = |catalog: &Catalog, model: Option<&str>| {
        let model = model.map(str::to_owned);
        let command = StartRun { model, ..hello() };
        choose(&command, catalog).expect("it is known").model
    };
    assert_eq!(chosen(&catalog, None), MODEL);
    let preferred = vec!["big".to_owned(), MODEL.to_owned()];
    catalog.agents.insert("default".into(), preferred);
    assert_eq!(chosen(&catalog, None), "big");
    assert_eq!(chosen(&catalog, Some("huge")), "huge");
    let started = start(&Run::default(), new_run(hello()), &catalog).expect("it is valid");
    assert_eq!(given([started]).run.info().expect("it began").model, "big");
}

#[test]
fn tools_are_sorted_and_named_once_and_none_is_none() {
    let tools = |names: &[&str]| {
        let tools = Some(names.iter().map(|&name| name.to_owned()).collect());
        let story = given([started_as(StartRun { tools, ..hello() })]);
        story.run.info().expect("it began").tools.clone()
    };
    assert_eq!(tools(&["calculator", "calculator"]), ["calculator"]);
    assert_eq!(tools(&[]), Vec::<String>::new());
}

#[test]
fn a_run_keeps_the_versions_that_it_began_with() {
    let pin = ToolPin {
        version: "2.1.0".into(),
        digest: "sha256:1".into(),
        ..ToolPin::default()
    };
    let tools = Some(vec!["calculator".into(), "weather@2.1.0".into()]);
    let command = StartRun { tools, ..hello() };
    let mut new = new_run(command.clone());
    new.pins = [("weather".to_owned(), pin.clone())].into();
    let story = given([start(&Run::default(), new, &catalog()).expect("it is valid")]);
    let info = story.run.info().expect("it began");
    assert_eq!(info.tools, ["calculator", "weather"]);
    assert_eq!(story.run.pin("weather"), Some(&pin));
    assert!(story.run.pin("calculator").expect("it is built in").builtin);
    assert_eq!(story.run.pin("teleport"), None);
    // The registry does not know it.
    given([])
        .asked(|run| start(run, new_run(command), &catalog()))
        .refused("invalid");
}

#[test]
fn a_run_from_before_tools_had_versions_has_those_of_the_platform() {
    let mut began = started();
    for event in &mut began {
        if let RunEvent::RunStarted(started) = event {
            started.pins.clear();
        }
    }
    let story = given([began]);
    assert!(
        story
            .run
            .pin("calculator")
            .expect("it is built in")
            .idempotent
    );
}

#[test]
fn starting_a_run_that_exists_is_nothing() {
    let again = |run: &Run| start(run, new_run(hello()), &catalog());
    given([started()]).asked(again).then_nothing();
    given(calling()).asked(again).then_nothing();
}

#[test]
fn an_unknown_agent_is_refused_even_without_validation() {
    let command = StartRun {
        agent: Some("nobody".into()),
        ..hello()
    };
    given([])
        .asked(|run| start(run, new_run(command), &catalog()))
        .refused("invalid");
}

#[test]
fn the_prompt_is_bounded_by_its_bytes_and_what_the_session_said_before() {
    let alone = given([started()]).run.context_tokens();
    let long = StartRun {
        input: "x".repeat(1_000),
        ..hello()
    };
    assert_eq!(given([started_as(long)]).run.context_tokens(), alone + 995);
    let mut new = new_run(hello());
    let previous = PreviousRun {
        run_id: run_id(),
        first_seq: 3,
        context_tokens: 5_000,
    };
    new.session.previous = Some(previous);
    let joined = start(&Run::default(), new, &catalog()).expect("it is valid");
    assert_eq!(given([joined]).run.context_tokens(), alone + 5_000);
}
